"""The typed report says what report.json says, and refuses what is no report in one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import pdc_core as pdc
from pdc_core.runs import Report, read_report

FINISHED = Path(__file__).resolve().parents[2] / "fixtures" / "format1" / "finished_soft"


def test_every_number_is_that_of_the_file_and_none_is_lost() -> None:
    content = json.loads((FINISHED / "report.json").read_text())
    report = read_report(FINISHED)
    assert report == read_report(FINISHED / "report.json") == Report.of(content)
    assert list(report.networks) == ["before", "reconstructed", "folded"]
    assert report.result.macs == content["folded"]["macs"]
    assert report.macs_cut == 1 - content["folded"]["macs"] / content["before"]["macs"]
    assert [width.after for width in report.widths] == [width["after"] for width in content["widths"]]
    said = report.model_dump(mode="json", exclude_none=True)
    assert said == content  # entries without a type of their own are kept too


def test_a_taught_network_is_the_result_of_its_run() -> None:
    network = {"test_accuracy": 0.5, "val_accuracy": 0.5, "macs": 10, "params": 5}
    report = Report.of({"before": network, "taught": {**network, "test_accuracy": 0.75}})
    assert report.result.test_accuracy == 0.75
    assert (report.macs_cut, report.widths, report.last) == (0.0, (), None)


def test_what_is_no_report_is_named(tmp_path: Path) -> None:
    with pytest.raises(pdc.PDCError, match=r"report\.json holds no report"):
        read_report(tmp_path)
    (tmp_path / "report.json").write_text('{"before": {"macs": "many"}}')
    with pytest.raises(pdc.PDCError, match=r"not a report of a run: before\.test_accuracy: Field required"):
        read_report(tmp_path)
