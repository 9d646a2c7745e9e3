"""The one-page report: whole without a network, true to the run, and nothing in a run folder becomes markup."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

import pytest

import pdc_core as pdc
from pdc_core.cli import app
from pdc_core.report import html_report
from pdc_core.runs import RunSpec, create_run, read_run, run_command
from pdc_core.train import Training

_AT = {"test_accuracy": 0.9, "val_accuracy": 0.91, "macs": 1000, "params": 100, "latency": {"1": 0.001, "64": 0.02}}
_REPORT = {
    "before": _AT,
    "reconstructed": {**_AT, "test_accuracy": 0.8},
    "folded": {**_AT, "test_accuracy": 0.8125, "macs": 250},
    "max_abs_diff": 1e-6,
    "relative_diff": 1e-7,
    "same_predictions": True,
    "residual": "internal",
    "widths": [{"name": "<img src=x onerror=alert(1)>", "before": 16, "after": 4}],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    plan = pdc.Plan(counts={"</script><b>conv": 4}, sizes={"</script><b>conv": 16})
    path = create_run(RunSpec(plan=plan, training=Training(epochs=3), seed=5, data="npz:/a b/c.npz"), root=tmp_path)
    (path / "report.json").write_text(json.dumps(_REPORT))
    (path / "status.json").write_text(json.dumps({"state": "done"}))
    return path


def test_the_page_holds_the_numbers_and_needs_no_network(folder: Path) -> None:
    page = html_report(read_run(folder))
    assert "81.25%" in page
    assert "75.0% of the MACs cut" in page
    assert "Plotly.newPlot" in page
    scripts = re.split(r"<script[^>]*>.*?</script>", page, flags=re.DOTALL)
    assert len(scripts) > 3  # plotly itself, and one a chart
    assert not re.search(r"src=|href=|<link|@import", "".join(scripts))
    assert not re.search(r"<script[^>]+src=", page)


def test_names_in_a_run_folder_stay_text(folder: Path) -> None:
    page = html_report(read_run(folder))
    assert "<img src=x" not in page
    assert "</script><b>conv" not in page
    assert "&lt;/script&gt;&lt;b&gt;conv" in page


def test_the_page_shows_the_command_that_repeats_the_run(folder: Path) -> None:
    assert html.escape(run_command(read_run(folder).spec)) in html_report(read_run(folder))


def test_a_run_without_a_folded_network_is_refused(tmp_path: Path) -> None:
    path = create_run(RunSpec(kind="teach"), root=tmp_path)
    with pytest.raises(pdc.PDCError, match="no folded network"):
        html_report(read_run(path))


def test_the_command_line_writes_the_page(folder: Path) -> None:
    from typer.testing import CliRunner

    done = CliRunner().invoke(app, ["report", str(folder)])
    assert done.exit_code == 0, done.output
    assert (folder / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_only_what_was_folded_is_said_to_be_equal_and_on_as_many_images_as_were_compared(folder: Path) -> None:
    def written(**changes: object) -> str:
        (folder / "report.json").write_text(json.dumps({**_REPORT, **changes}))
        return html_report(read_run(folder))

    assert "no logit of the test images by more than 1.0e-06; every test image keeps its class" in written()
    assert "no logit of 2,048 test images by" in written(compared_images=2048, test_images=10_000)
    assert "no logit of the test images by" in written(compared_images=360, test_images=360)
    deleted = written(reconstructed=_REPORT["folded"])  # a baseline: the small network is what was trained
    assert "no logit" not in deleted
    assert "75.0% of the MACs cut" in deleted
