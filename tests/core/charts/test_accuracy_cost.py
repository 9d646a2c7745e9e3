"""Accuracy against cost: one marker a run, curves through means, levels that are what they say, nothing cut off."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from pdc_core import charts
from pdc_core.analysis.trade_offs import mean_over_seeds

AXES, CHANGE = (charts.Axes("MACs", "[millions]", change=change) for change in (False, True))
_SEEDS = np.random.default_rng(0)


def runs(
    methods: tuple[str, ...] = ("pdc", "l1"), seeds: int = 3, keeps: int = 4, n_test: int | None = 1000
) -> pd.DataFrame:
    """A table of made-up runs of one network."""
    rows: list[dict[str, Any]] = [
        {
            "run": f"{method}-{keep}-{seed}", "method": method, "settings": "8 epochs", "plan": str(keep), "hover": "",
            "cost": 10.0 * (keep + 1), "accuracy": 0.8 + 0.02 * keep + 0.01 * _SEEDS.random(), "n_test": n_test,
            "before_cost": 50.0, "before_accuracy": 0.9,
        }
        for method in methods
        for keep in range(keeps)
        for seed in range(seeds)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def reference() -> pd.DataFrame:
    return runs(("whole",), keeps=1).assign(cost=50.0, accuracy=[0.91, 0.92, 0.93])


def trace(figure: Any, name: str, mode: str = "") -> Any:
    """The trace of a name, which the legend shows."""
    return next(t for t in figure.data if t.name == name and mode in (t.mode or ""))


def markers(figure: Any) -> dict[str, tuple[float, float]]:
    """Where the marker of every run is."""
    return {
        run: (x, y)
        for t in figure.data
        if t.customdata is not None and t.name != "chosen run"
        for run, x, y in zip(t.customdata, t.x, t.y, strict=True)
        if run
    }


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("axes", [AXES, CHANGE])
def test_every_run_is_one_marker_at_its_cost_and_accuracy(seeds: int, axes: charts.Axes) -> None:
    table = pd.concat([runs(seeds=seeds), reference()])
    found = markers(charts.accuracy_over_cost(table, axes, "ResNet"))
    base = 90 if axes.change else 0
    expected = {r.run: (r.cost, pytest.approx(100 * r.accuracy - base)) for r in table.itertuples()}
    assert found == expected


def test_curves_go_through_means_in_a_band_of_one_standard_deviation() -> None:
    table = runs()
    figure = charts.accuracy_over_cost(table, AXES, "ResNet")
    curve = trace(figure, "PDC", "lines+markers")
    own = table[table["method"] == "pdc"].groupby("cost")["accuracy"]
    assert list(curve.x) == [10, 20, 30, 40]
    assert list(curve.y) == pytest.approx(list(100 * own.mean()))
    low, high = (t for t in figure.data if t.legendgroup == "PDC" and t.line.width == 0)
    assert list(high.y - low.y) == pytest.approx(list(200 * own.std()))


def test_the_legend_is_as_long_for_sixty_runs_as_for_six_and_stands_beside_the_axes() -> None:
    few, many = (charts.accuracy_over_cost(runs(seeds=n, keeps=3), AXES, "ResNet") for n in (2, 10))
    assert len(markers(many)) == 60
    names = [[t.name for t in figure.data if t.showlegend is not False] for figure in (few, many)]
    assert names[0] == names[1] == ["Pareto front", "uncompressed:<br>90.00 %", "PDC", "L1 norm"]
    assert many.layout.legend.orientation == "v"
    assert many.layout.legend.x > 1
    assert many.layout.legend.yref == "paper"


def test_methods_keep_their_look_whatever_else_is_drawn() -> None:
    alone = charts.accuracy_over_cost(runs(("l1",)), AXES, "ResNet")
    beside = charts.accuracy_over_cost(runs(("fpgm", "pdc", "l1")), AXES, "ResNet")
    for figure in (alone, beside):
        curve = trace(figure, "L1 norm", "lines+markers")
        assert (curve.line.color, curve.marker.symbol) == (charts.ORANGE, "square")
    looks = [charts.method_look(name) for name in ("pdc", "l1", "fpgm", "folding", "folding_bn", "scratch", "random")]
    assert len({(look.colour, look.symbol) for look in looks}) == len(looks)
    assert charts.method_look("mine").name == "mine"  # one that was registered by a user


def test_other_settings_of_a_method_are_a_curve_of_their_own_under_one_name() -> None:
    short, long = runs(("pdc",)), runs(("pdc",)).assign(settings="80 epochs")
    figure = charts.accuracy_over_cost(pd.concat([short, long]), AXES, "ResNet")
    curves = [t for t in figure.data if t.name == "PDC" and t.mode == "lines+markers"]
    assert [len(t.x) for t in curves] == [4, 4]
    assert curves[0].line.dash != curves[1].line.dash
    assert [t.showlegend for t in curves] == [True, False]


def test_the_uncompressed_network_is_a_level_in_the_band_of_its_test_images() -> None:
    figure = charts.accuracy_over_cost(runs(), AXES, "ResNet")
    level = trace(figure, "uncompressed:<br>90.00 %")
    assert (list(level.x), list(level.y)) == ([0, 50], [90, 90])
    (band,) = (t for t in figure.data if t.fill == "toself")
    lower, upper = charts.wilson_interval(0.9, 1000)
    assert (min(band.y), max(band.y)) == pytest.approx((100 * float(lower), 100 * float(upper)))
    unknown = charts.accuracy_over_cost(runs(n_test=None), AXES, "ResNet", bars=True)
    assert not [t for t in unknown.data if t.fill == "toself"]
    assert all(t.error_y.array is None for t in unknown.data)
    assert list(trace(charts.accuracy_over_cost(runs(), CHANGE, "ResNet"), level.name).y) == [0, 0]


def test_runs_that_were_not_pruned_are_a_level_not_a_curve() -> None:
    figure = charts.accuracy_over_cost(pd.concat([reference(), runs()]), AXES, "ResNet")
    level = trace(figure, "trained as long,<br>not pruned:<br>92.00 %")
    assert (list(level.x), list(level.y)) == ([0, 50], pytest.approx([92, 92]))
    names = [t.name for t in figure.data if t.showlegend is not False]
    assert names[-1] == level.name  # the reference comes last
    change = charts.accuracy_over_cost(pd.concat([reference(), runs()]), CHANGE, "ResNet")
    assert trace(change, "trained as long,<br>not pruned:<br>+2.00 points").y[0] == pytest.approx(2)


@pytest.mark.parametrize("axes", [AXES, CHANGE])
def test_bars_are_wilson_intervals_of_what_they_stand_on(axes: charts.Axes) -> None:
    table = runs()
    curve = trace(charts.accuracy_over_cost(table, axes, "ResNet", bars=True), "PDC", "lines+markers")
    means = mean_over_seeds(table[table["method"] == "pdc"])["accuracy"]
    lower, upper = charts.wilson_interval(means, 1000)
    shift = 90 if axes.change else 0
    assert list(curve.y + curve.error_y.array) == pytest.approx(list(100 * upper - shift))
    assert list(curve.y - curve.error_y.arrayminus) == pytest.approx(list(100 * lower - shift))
    assert trace(charts.accuracy_over_cost(table, axes, "ResNet"), "PDC", "lines+markers").error_y.array is None


def test_the_front_is_of_means_and_the_uncompressed_network_competes() -> None:
    table = runs(("pdc",), seeds=2, keeps=2).assign(accuracy=[0.7, 0.9, 0.85, 0.85])  # a lucky seed of the cheaper plan
    front = trace(charts.accuracy_over_cost(table, AXES, "ResNet"), "Pareto front")
    assert (list(front.x), list(front.y)) == ([10, 20, 50], pytest.approx([80, 85, 90]))
    assert "Pareto front" not in [t.name for t in charts.accuracy_over_cost(table, AXES, "ResNet", front=False).data]


@pytest.mark.parametrize("axes", [AXES, CHANGE])
def test_the_axes_hold_everything_that_is_drawn(axes: charts.Axes) -> None:
    figure = charts.accuracy_over_cost(pd.concat([runs(), reference()]), axes, "ResNet", bars=True, chosen="pdc-0-0")
    low, high = figure.layout.yaxis.range
    assert figure.layout.xaxis.range[1] > 50
    for t in figure.data:
        reach = 0 if t.error_y.array is None else np.maximum(t.error_y.array, t.error_y.arrayminus)
        assert (np.asarray(t.y) - reach >= low).all()
        assert (np.asarray(t.y, float) <= high).all()
    assert high - low >= 2


def test_a_chosen_run_is_ringed_and_its_stages_are_joined() -> None:
    stages = pd.DataFrame(
        {"stage": ["before", "reconstructed", "folded"], "cost": [50, 50, 10], "accuracy": [0.9, 0.8, 0.8]}
    )
    figure = charts.accuracy_over_cost(runs(), CHANGE, "ResNet", chosen="pdc-0-0", stages=stages)
    assert list(trace(figure, "chosen run").customdata) == ["pdc-0-0"]
    line = trace(figure, "stages of the run")
    assert (list(line.x), list(line.y)) == ([50, 50, 10], pytest.approx([0, -10, -10]))


def test_results_of_others_are_hollow_and_cannot_be_opened() -> None:
    papers = pd.DataFrame(
        {"method": ["HRank", "PDC"], "cost": [25, 20], "before_cost": 50, "base_accuracy": [0.93, np.nan],
         "accuracy": [0.93, 0.94], "hover": ["a", "b"]}
    )  # fmt: skip
    figure = charts.accuracy_over_cost(
        runs(("pdc",)), AXES, "ResNet", measured=runs(("l1",)), measured_name="PDC 0.1", published=papers
    )
    published = trace(figure, "published")
    assert list(published.text) == ["HRank", "PDC"]
    assert all(symbol.endswith("-open") for symbol in published.marker.symbol)
    measured = trace(figure, "L1 norm<br>(PDC 0.1)", "lines+markers")
    assert measured.marker.symbol == "square-open"
    assert measured.line.dash == "dash"
    assert all(run.startswith("pdc") for run in markers(figure))


@pytest.mark.parametrize("axes", [AXES, CHANGE])
def test_a_chart_without_runs_shows_papers_and_where_they_started(axes: charts.Axes) -> None:
    papers = pd.DataFrame(
        {"method": ["HRank"], "cost": [25], "before_cost": 50, "base_accuracy": 0.93, "accuracy": 0.92, "hover": ""}
    )
    figure = charts.accuracy_over_cost(runs().iloc[:0], axes, "ResNet", published=papers)
    assert (trace(figure, "uncompressed").x[0], trace(figure, "uncompressed").y[0]) == (50, 0 if axes.change else 93)
    assert "1 published results" in figure.layout.meta["alt"]
    empty = charts.accuracy_over_cost(runs().iloc[:0], axes, "ResNet")
    assert "Nothing is left to draw" in empty.layout.meta["alt"]


def test_without_a_chosen_run_nothing_is_ringed_not_even_runs_without_a_name() -> None:
    figure = charts.accuracy_over_cost(runs().assign(run=""), AXES, "ResNet")
    assert not [t for t in figure.data if t.name == "chosen run" and len(t.x)]
