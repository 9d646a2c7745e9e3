"""The chart of the page Compare: filters leave what they say, a reference is explained, the page is never empty."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import yaml
from streamlit.testing.v1 import AppTest

from pdc_core.runs import points_of, read_run
from ui.runs.compare import COSTS, compared_runs, labelled, points_table, stages
from ui.runs.curves import picked_run, reference_sentence
from ui.runs.others import published_points

Open = Callable[..., AppTest]


def copies(finished: Path, folder: Path, requests: list[dict]) -> None:
    """Copy a finished run, with other requests: for what only reads them."""
    for i, changed in enumerate(requests):
        path = folder / f"copy-{i}"
        shutil.copytree(finished, path)
        file = path / "run.yaml"
        text = file.read_text(encoding="utf-8")
        content = {**yaml.safe_load(text), **changed}
        file.write_text("\n".join([text.split("\n", 1)[0], yaml.safe_dump(content) + "# end\n"]), encoding="utf-8")


def chart(app: AppTest) -> dict:
    """The figure of accuracy against cost that a page shows."""
    return json.loads(app.get("plotly_chart")[0].proto.spec)


def drawn_runs(app: AppTest) -> set[str]:
    return {run for trace in chart(app)["data"] for run in trace.get("customdata", []) if run}


def test_filters_leave_the_runs_that_they_say(opened: Open, finished: Path, tmp_path: Path) -> None:
    old, new = {"created": "2026-01-01T00:00:00+00:00"}, {"created": "2999-01-01T00:00:00+00:00"}
    copies(finished, tmp_path / "runs", [old, {**old, "seed": 1}, {**new, "method": "l1"}])
    copies(finished, tmp_path / "runs" / "a-sweep", [{**old, "method": "fpgm"}])
    (tmp_path / "runs" / "a-sweep" / "copy-0").rename(tmp_path / "runs" / "a-sweep" / "member")
    (tmp_path / "runs" / "a-sweep" / "sweep.yaml").write_text("{}")
    app = opened("compare", runs=tmp_path / "runs", run="copy-1")
    assert not app.exception
    assert not app.warning
    assert app.selectbox(key="run_choice").value == "copy-1"
    assert {name.rpartition("/")[2] for name in drawn_runs(app)} == {"copy-0", "copy-1", "copy-2", "member"}
    names = [trace["name"] for trace in chart(app)["data"] if trace.get("showlegend", True) and "name" in trace]
    assert names[0] == "Pareto front"
    assert {"PDC", "L1 norm", "FPGM"} <= set(names)
    app.selectbox(key="since").set_value("Last hour").run()
    assert drawn_runs(app) == {"copy-2"}
    assert app.selectbox(key="run_choice").value == "copy-1"  # filters of the chart do not change what is below
    app.selectbox(key="since").set_value("Any time").run()
    app.selectbox(key="sweep").set_value("a-sweep").run()
    assert {name.rpartition("/")[2] for name in drawn_runs(app)} == {"member"}
    app.selectbox(key="sweep").set_value("Runs outside sweeps").run()
    assert drawn_runs(app) == {"copy-0", "copy-1", "copy-2"}
    app.selectbox(key="cost_axis").set_value("Parameters").run()
    app.selectbox(key="accuracy_axis").set_value("Change").run()
    assert not app.exception
    assert chart(app)["layout"]["xaxis"]["title"]["text"] == "Parameters [thousands]"


def test_one_run_shows_its_stages_and_its_uncertainty(opened: Open, finished: Path) -> None:
    traces = chart(opened("compare", runs=finished.parent))["data"]
    assert "stages of the run" in [trace.get("name") for trace in traces]
    assert any("error_y" in trace and trace["error_y"].get("array") for trace in traces)
    run = read_run(finished)
    assert run.results is not None
    frame = stages(run, COSTS["Latency, 64 images"])
    assert list(frame["stage"]) == ["before", "reconstructed", "folded"]
    assert list(frame["cost"]) == [1e3 * at.latency["64"] for at in run.results.networks.values()]


def test_without_a_run_there_is_a_chart(opened: Open) -> None:
    app = opened("compare", compared="ResNet-110 on cifar10", accuracy_axis="Change")
    assert not app.exception
    published = next(trace for trace in chart(app)["data"] if trace["name"] == "published")
    assert "PDC" in published["text"]
    assert not app.metric
    (table,) = app.dataframe
    assert table.value["source"].str.match(r"arXiv:|doi:").all()


def test_a_measured_sweep_is_named_by_its_version_and_date(
    opened: Open, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = points_of([read_run(finished)]).assign(versions="PDC 9.8, torch 2", date="2026-01-02T03:04:05+00:00")
    monkeypatch.setattr("ui.runs.others.measured_sweep", lambda: measured)
    alone = chart(opened("compare", runs=tmp_path))
    assert alone["layout"]["title"]["text"].startswith("ResNet-20 on digits")
    assert alone["layout"]["title"]["text"].endswith("measured with PDC 9.8, 2026-01-02")
    app = opened("compare", runs=finished.parent, show="Measured with PDC")
    over = next(trace for trace in chart(app)["data"] if "PDC 9.8" in trace.get("name", ""))
    assert over["marker"]["symbol"] == "circle-open"
    assert drawn_runs(app) == {finished.name}  # those of others cannot be opened


def test_published_results_are_there_where_network_and_cost_fit() -> None:
    found = published_points("ResNet-56 on cifar10, published weights", COSTS["MACs"], change=False)
    half = found[found["macs_cut"] == 0.5]
    assert len(half) >= 2
    assert list(half["cost"]) == pytest.approx([125.485696 / 2] * len(half))  # MACs of the whole network, in millions
    changes = published_points("ResNet-110 on cifar10", COSTS["MACs"], change=True)
    accuracies = published_points("ResNet-110 on cifar10", COSTS["MACs"], change=False)
    assert set(changes["method"]) - set(accuracies["method"]) == {"PDC"}  # its paper's abstract gives a change only
    assert not len(published_points("ResNet-20 on digits", COSTS["MACs"], change=False))
    assert not len(published_points("ResNet-56 on cifar10", COSTS["Parameters"], change=False))


def table(**methods: list[float]) -> pd.DataFrame:
    rows = [
        {"run": f"{method}{i}", "method": method, "settings": "a", "accuracy": accuracy, "before_accuracy": 0.9}
        for method, accuracies in methods.items()
        for i, accuracy in enumerate(accuracies)
    ]
    return pd.DataFrame(rows)


def test_a_rise_is_explained_by_training_as_long_without_pruning() -> None:
    said = reference_sentence(table(pdc=[0.93], whole=[0.94, 0.95]), "pdc0")
    assert "reaches **94.50 %** (mean of 2): +4.50 points over 90.00 % before" in said
    assert "The chosen run is 1.50 points below that." in said
    assert "above that" in reference_sentence(table(pdc=[0.96], whole=[0.94]), "pdc0")
    assert "chosen run" not in reference_sentence(table(whole=[0.94]), "whole0")
    other = table(pdc=[0.93], whole=[0.94]).assign(settings=["a", "b"])  # trained for longer, say: no reference
    assert "a run of the method `whole`" in reference_sentence(other, "pdc0")
    assert reference_sentence(table(pdc=[0.89]), "pdc0") == ""


def test_a_click_picks_the_run_of_the_marker() -> None:
    assert picked_run({"selection": {"points": [{"customdata": ""}, {"customdata": ["a/b"]}]}}) == "a/b"
    assert picked_run({"selection": {"points": [{"customdata": "c"}]}}) == "c"
    assert picked_run({"selection": {"points": [{}, {"customdata": ""}]}}) == ""


def test_runs_of_sweeps_are_compared_too(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PDC_RUNS", str(tmp_path))
    copies(finished, tmp_path, [{}])
    copies(finished, tmp_path / "s", [{"seed": 3}])
    (tmp_path / "s" / "sweep.yaml").write_text("{}")
    found = points_table({run.id: run for run in [*compared_runs().values(), read_run(tmp_path / "s" / "copy-0")]})
    assert sorted(found["sweep"])[-1] == "s"
    assert set(found["label"]) == {"ResNet-20 on digits"}
    assert list(labelled(found)["label"]) == list(found["label"])
