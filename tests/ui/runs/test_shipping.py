"""The section «What ships» on Compare: measured by the command, kept in the run folder, offered as files."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from pdc_core.deployment import export_run, read_exported
from pdc_core.errors import PDCError
from pdc_core.runs import read_run
from ui.jobs import Job
from ui.runs import shipping

Open = Callable[..., AppTest]


@pytest.fixture
def run(finished: Path, tmp_path: Path):
    return read_run(shutil.copytree(finished, tmp_path / "runs" / "shipped"))


def test_what_was_measured_is_a_table_with_its_files(opened: Open, run) -> None:
    found = export_run(run, run.folder / "export", batch_sizes=(1, 4), seconds=0.01)
    app = opened("compare", runs=run.folder.parent, section="What ships")
    assert not app.exception
    table = next(each.value for each in app.dataframe if "runs in" in each.value)
    assert list(table["precision"]) == ["float32", "float32", "INT8"] * 2
    assert list(table["test accuracy"]) == [100 * v.test_accuracy for v in found.variants]
    assert list(table["4 images"]) == [1e3 * v.latency[4].median for v in found.variants]
    labels = [button.label for button in app.get("download_button")]
    assert {"before.onnx", "before-int8.onnx", "folded.onnx", "folded-int8.onnx", "Model card"} <= set(labels)


def test_nothing_is_measured_before_it_is_asked_for(opened: Open, run) -> None:
    app = opened("compare", runs=run.folder.parent, section="What ships")
    assert not app.exception
    assert "Measure what ships" in [button.label for button in app.button]
    assert read_exported(run.folder / "export") is None


@pytest.mark.parametrize(("says", "expected"), [("error: The disk is full.", "The disk is full."), ("", "exit code 1")])
def test_what_the_command_reports_is_progress_and_its_error_is_shown(
    run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, says: str, expected: str
) -> None:
    command = tmp_path / "python"
    command.write_text(f"#!/bin/sh\necho '3 of 6  folded.onnx: writing' >&2\necho '{says}' >&2\nexit 1\n")
    command.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(command))
    job: Job = Job(("export",), "page", lambda job: shipping._export(run, None, job))
    job.run()
    assert job.share == 0.5
    assert isinstance(job.error, PDCError)
    assert expected in str(job.error)
    assert "error:" not in str(job.error)
