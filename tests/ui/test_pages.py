"""Every page in Streamlit's own test runner: no exception, and numbers on screen are those of pdc_core."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

import pdc_core as pdc
from pdc_core import charts
from pdc_core.clustering import assign
from pdc_core.runs import RunSpec, create_run, run_worker
from pdc_core.train import Training
from ui.drawing import _enlarged, cut, percent, short
from ui.runs.progress import duration

ROOT = Path(__file__).resolve().parents[2]
PAGES = ["model", "filters", "plan", "distil", "compare", "learn"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs with one finished run of one epoch."""
    root = tmp_path_factory.mktemp("runs")
    model, data = pdc.load_model("resnet20", data="digits"), pdc.load_data("digits")
    import torch

    plan = pdc.Plan.uniform(pdc.trace(model, torch.zeros(1, *data.shape)), keep=0.25)
    run_worker(create_run(RunSpec(plan=plan, training=Training(epochs=1)), root=root))
    return root


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., AppTest]:
    """Open a page by name, with the runs of a folder (none by default)."""

    def open_page(name: str, runs: Path = tmp_path, **query: str) -> AppTest:
        monkeypatch.setenv("PDC_RUNS", str(runs))
        app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=120)
        app.switch_page(str(ROOT / "pages" / f"{name}.py"))
        for key, value in query.items():
            app.query_params[key] = value
        return app.run()

    return open_page


def _metrics(app: AppTest) -> dict[str, str]:
    return {metric.label: metric.value for metric in app.metric}


def _deltas(app: AppTest) -> dict[str, str]:
    return {metric.label: metric.delta for metric in app.metric}


def _network() -> tuple[pdc.ChannelGraph, pdc.Cost, float]:
    import torch

    model, data = pdc.load_model("resnet20", data="digits"), pdc.load_data("digits")
    example = torch.zeros(1, *data.shape)
    return pdc.trace(model, example), pdc.cost(model, example), pdc.evaluate(model, data, data.test).accuracy


@pytest.mark.parametrize("page", PAGES)
def test_every_page_opens_by_its_own_address_and_says_once_what_macs_are(
    opened: Callable[..., AppTest], page: str
) -> None:
    app = opened(page)
    assert not app.exception
    assert app.title[0].value == page.capitalize()
    assert sum("what the pruning literature calls FLOPs" in caption.value for caption in app.caption) == 1


def test_the_router_opens_the_first_page() -> None:
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=120).run()
    assert not app.exception
    assert app.title[0].value == "Model"


def test_model_shows_the_accuracy_macs_and_parameters_of_the_network(opened: Callable[..., AppTest]) -> None:
    graph, cost, accuracy = _network()
    app = opened("model")
    shown = _metrics(app)
    assert shown["Test accuracy"] == percent(accuracy)
    assert shown["MACs"] == short(cost.macs)
    assert shown["Parameters"] == short(cost.params)
    assert shown["Filters to cluster"] == f"{sum(group.size for group in graph.clusterable):,}"
    table = app.dataframe[0].value
    assert list(table["MACs"]) == [layer.macs for layer in cost.layers]
    assert table["Parameters"].sum() <= cost.params


def test_filters_shows_the_labels_that_assign_would_give(opened: Callable[..., AppTest]) -> None:
    import torch

    model = pdc.load_model("resnet20", data="digits")
    graph = pdc.trace(model, torch.zeros(1, *pdc.load_data("digits").shape))
    name = "layer2.1.conv1"
    app = opened("filters", layer=name)
    assert app.selectbox(key="layer").value == name
    plan = pdc.Plan.uniform(graph, keep=0.25)
    assert list(app.dataframe[0].value["cluster"]) == list(assign(model, graph, plan)[name])
    app.select_slider(key=f"k_{name}").set_value(3).run()
    assert not app.exception
    assert list(app.dataframe[0].value["cluster"]) == list(assign(model, graph, plan.replace({name: 3}))[name])
    assert any("distances are not to scale" in caption.value for caption in app.caption)


def test_a_count_set_on_filters_is_the_count_of_the_plan(opened: Callable[..., AppTest]) -> None:
    app = opened("filters", layer="layer1.0.conv1")
    app.select_slider(key="k_layer1.0.conv1").set_value(7).run()
    app.switch_page(str(ROOT / "pages" / "plan.py")).run()
    assert not app.exception
    assert app.session_state["plan"].counts["layer1.0.conv1"] == 7
    assert app.query_params["plan"] == "7-4-4-8-8-8-16-16-16"


def test_plan_shows_what_plan_cost_predicts_for_every_position_of_the_slider(
    opened: Callable[..., AppTest],
) -> None:
    graph, cost, _ = _network()
    app = opened("plan")
    for share in (25, 50, 100, 1):
        app.slider(key="plan_share").set_value(share).run()
        after = pdc.plan_cost(graph, pdc.Plan.uniform(graph, keep=share / 100))
        assert _metrics(app)["MACs"] == short(after.macs)
        assert _deltas(app)["MACs"] == cut(cost.macs, after.macs)
        assert _metrics(app)["Parameters"] == short(after.params)


def test_a_link_restores_its_plan_and_a_broken_one_is_refused_in_a_sentence(
    opened: Callable[..., AppTest],
) -> None:
    app = opened("plan", plan="1-2-3-4-5-6-7-8-9")
    assert list(app.session_state["plan"].counts.values()) == list(range(1, 10))
    for broken in (
        "1-2",
        "0-4-4-8-8-8-16-16-16",
        "99-4-4-8-8-8-16-16-16",
        "a",
        "-1",
        "1;2",
        "²-4-4-8-8-8-16-16-16",
    ):
        app = opened("plan", plan=broken)
        assert not app.exception
        assert app.error[0].value.startswith("The plan in this link was not used.")
        assert app.session_state["plan"].counts["layer1.0.conv1"] == 4


def _upload(app: AppTest, name: str, content: bytes) -> AppTest:
    app.file_uploader[0].upload(name, content, "application/json").run()
    return app


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"counts": {"layer9.conv1": 4}}', "layer9.conv1"),
        (b'{"counts": {"layer1.0.conv1": 0}}', "allowed are"),
        (b'{"counts": {"layer1.0.conv1": 17}}', "allowed are 1 to 16"),
        (b'{"counts": {"layer1.0.conv1": 4}, "sizes": {"layer1.0.conv1": 64}}', "64"),
        (b"\x80\x04\x95pickle", "not"),
        (b"", "not"),
        (b"[1, 2]", "not"),
        (b'{"counts": {"layer1.0.conv1": "four"}}', "integer"),
    ],
)
def test_a_bad_plan_file_is_refused_and_the_plan_stays(
    opened: Callable[..., AppTest], content: bytes, reason: str
) -> None:
    app = _upload(opened("plan"), "plan.json", content)
    assert not app.exception
    assert app.error[0].value.startswith("plan.json was not loaded.")
    assert reason in app.error[0].value
    assert list(app.session_state["plan"].counts.values()) == [4, 4, 4, 8, 8, 8, 16, 16, 16]


def test_a_plan_file_is_taken_and_groups_it_does_not_name_keep_all_filters(
    opened: Callable[..., AppTest],
) -> None:
    app = _upload(opened("plan"), "plan.yaml", b"counts:\n  layer1.0.conv1: 2\n")
    assert not app.error
    assert list(app.session_state["plan"].counts.values()) == [2, 16, 16, 32, 32, 32, 64, 64, 64]


def test_distil_and_compare_show_the_report_of_a_finished_run(opened: Callable[..., AppTest], finished: Path) -> None:
    run = pdc.list_runs(finished)[0]
    assert run.report is not None
    base, folded = run.report["before"], run.report["folded"]
    app = opened("distil", runs=finished)
    assert not app.exception
    assert percent(folded["test_accuracy"]) in app.success[0].value
    app = opened("compare", runs=finished)
    assert not app.exception
    assert _metrics(app)["Test accuracy, folded"] == percent(folded["test_accuracy"])
    assert _metrics(app)["MACs, folded"] == short(folded["macs"])
    assert _deltas(app)["Parameters, folded"] == cut(base["params"], folded["params"])
    assert _metrics(app)["Largest logit change"] == f"{run.report['max_abs_diff']:.1e}"
    assert list(app.dataframe[0].value["macs"]) == [base["macs"], base["macs"], folded["macs"]]


@pytest.mark.parametrize("page", ["distil", "compare"])
def test_a_link_opens_the_run_that_it_names(
    opened: Callable[..., AppTest], finished: Path, tmp_path: Path, page: str
) -> None:
    older = pdc.list_runs(finished)[0].folder
    for name in (older.name, "another"):
        shutil.copytree(older, tmp_path / "runs" / name)
    for name in (older.name, "another"):
        app = opened(page, runs=tmp_path / "runs", run=name)
        assert not app.exception
        assert app.selectbox(key="run_choice").value == name
        assert not app.warning
    app = opened(page, runs=tmp_path / "runs", run="gone")
    assert not app.exception
    assert "'gone', which is not here" in app.warning[0].value
    (second,) = {older.name, "another"} - {app.selectbox(key="run_choice").value}
    app.selectbox(key="run_choice").set_value(second).run()
    assert not app.warning
    assert app.query_params["run"] in (second, [second])
    assert app.selectbox(key="run_choice").value == second


def test_compare_explains_a_run_class_by_class_and_against_a_pinned_one(
    opened: Callable[..., AppTest], finished: Path
) -> None:
    import numpy as np

    run = pdc.list_runs(finished)[0]
    data = pdc.load_data("digits")
    before, folded = pdc.load_model("resnet20", data="digits"), pdc.load(run.folder / "folded.safetensors")
    said = [pdc.evaluate(model, data, data.test).predictions.numpy() for model in (before, folded)]
    from ui.runs.compare import image_by_image

    image_by_image(run).future.result(timeout=120)
    app = opened("compare", runs=finished, section="Class by class")
    assert not app.exception
    assert any(f"disagree on {np.sum(said[0] != said[1]):,} of 360" in text.value for text in app.markdown)
    app.selectbox(key="cost_axis").set_value("Time of 64 images").run()
    assert not app.exception
    labels = {button.label for button in app.get("download_button")}
    assert {"Folded network", "Plan (JSON)", "History (CSV)", "Report (HTML)"} <= labels


def test_compare_without_a_run_says_what_to_do(opened: Callable[..., AppTest]) -> None:
    assert "No finished run yet" in opened("compare").info[0].value


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "1 s"), (59.4, "59 s"), (60, "1 min 0 s"), (200, "3 min 20 s"), (7260, "2 h 1 min")],
)
def test_times_are_written_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize("page", ["model", "filters", "plan", "learn"])
def test_a_lecture_shows_the_page_with_fewer_controls(opened: Callable[..., AppTest], page: str) -> None:
    def controls(app: AppTest) -> int:
        return sum(len(app.get(kind)) for kind in ("button", "selectbox", "expander", "number_input", "radio"))

    full, lecture = opened(page), opened(page, lecture="1")
    assert not lecture.exception
    assert controls(lecture) < controls(full)
    assert [title.value for title in lecture.title] == [title.value for title in full.title]


def test_letters_of_figures_grow_in_a_lecture_but_for_title_and_legend() -> None:
    chart = charts.before_after_bars(
        pd.DataFrame({"name": ["a"], "before": [4], "after": [1]}), "MACs", "for one image"
    )
    large = _enlarged(chart)
    assert large.layout.xaxis.tickfont.size > chart.layout.xaxis.tickfont.size
    assert large.layout.yaxis.title.font.size > chart.layout.yaxis.title.font.size
    assert large.layout.title == chart.layout.title
    assert large.layout.legend.font.size == chart.layout.font.size
    assert large.layout.height == chart.layout.height
    assert [list(trace.x) for trace in large.data] == [list(trace.x) for trace in chart.data]
