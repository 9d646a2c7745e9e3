"""The page Compare: the numbers of a run's report, its classes, links to runs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

import pdc_core as pdc
from pdc_core.runs import read_run
from ui.drawing import cut, percent, short
from ui.runs.compare import image_by_image

PAGES = Path(__file__).parents[3] / "pages"
Open = Callable[..., AppTest]
Texts = Callable[[AppTest], dict[str, str]]
Press = Callable[[AppTest, str], AppTest]


def test_distil_and_compare_show_the_report_of_a_finished_run(
    opened: Open, finished: Path, metrics: Texts, deltas: Texts
) -> None:
    run = read_run(finished)
    assert run.report is not None
    base, folded = run.report["before"], run.report["folded"]
    app = opened("distil", runs=finished.parent)
    assert not app.exception
    assert percent(folded["test_accuracy"]) in app.success[0].value
    app = opened("compare", runs=finished.parent)
    assert not app.exception
    assert metrics(app)["Test accuracy, folded"] == percent(folded["test_accuracy"])
    assert metrics(app)["MACs, folded"] == short(folded["macs"])
    assert deltas(app)["Parameters, folded"] == cut(base["params"], folded["params"])
    assert metrics(app)["Largest logit change"] == f"{run.report['max_abs_diff']:.1e}"
    assert list(app.dataframe[0].value["macs"]) == [base["macs"], base["macs"], folded["macs"]]


@pytest.mark.parametrize("page", ["distil", "compare"])
def test_a_link_opens_the_run_that_it_names(opened: Open, finished: Path, tmp_path: Path, page: str) -> None:
    older = finished
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


def test_compare_explains_a_run_class_by_class_and_against_a_pinned_one(opened: Open, finished: Path) -> None:

    run = read_run(finished)
    data = pdc.load_data("digits")
    before, folded = pdc.load_model("resnet20", data="digits"), pdc.load(run.folder / "folded.safetensors")
    said = [pdc.evaluate(model, data, data.test).predictions.numpy() for model in (before, folded)]

    image_by_image(run).wait(120)
    app = opened("compare", runs=finished.parent, section="Classes")
    assert not app.exception
    assert any(f"disagree on {np.sum(said[0] != said[1]):,} of 360" in text.value for text in app.markdown)
    app.selectbox(key="cost_axis").set_value("Latency, 64 images").run()
    assert not app.exception
    labels = {button.label for button in app.get("download_button")}
    assert {"Folded network", "Plan (JSON)", "History (CSV)", "Report (HTML)"} <= labels


def test_compare_without_a_run_says_what_to_do(opened: Open) -> None:
    assert "No finished run yet" in opened("compare").info[0].value
