"""Runs as a table: one row each, equal settings are recognised, and the CSV file gives back what was written."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

import pdc_core as pdc
from pdc_core.runs import COLUMNS, RunSpec, points_of, read_points, read_run
from pdc_core.runs.read import Run
from pdc_core.train import Training

FINISHED = Path(__file__).resolve().parents[2] / "fixtures" / "format1" / "finished_soft"
SIZES = {"a": 16, "b": 64}
NETWORK = {"test_accuracy": 0.9, "val_accuracy": 0.9, "macs": 100, "params": 10, "latency": {"1": 0.001}}
REPORT = {"before": NETWORK, "folded": {**NETWORK, "macs": 40, "test_accuracy": 0.88}, "test_images": 360}


def run(seed: int = 0, keep: float = 0.5, method: str = "pdc", epochs: int = 2, report: dict | None = REPORT) -> Run:
    plan = pdc.Plan(counts={name: round(keep * n) for name, n in SIZES.items()}, sizes=SIZES)
    spec = RunSpec(
        plan=plan, seed=seed, method=method, training=Training(epochs=epochs), created="2026-01-01T00:00:00+00:00"
    )
    return Run(Path(f"{method}-{keep}-{seed}-{epochs}"), spec, "done", {}, False, report)


def test_a_run_is_a_row_with_its_request_and_its_results() -> None:
    table = points_of([run(), run(report=None)], sweep="s")
    assert tuple(table.columns) == COLUMNS
    (row,) = table.to_dict("records")
    expected = {
        "network": "resnet20", "data": "digits", "method": "pdc", "keep": 0.5, "seed": 0, "epochs": 2, "macs": 40,
        "test_accuracy": 0.88, "before_macs": 100, "before_accuracy": 0.9, "n_test": 360, "run": "pdc-0.5-0-2",
        "sweep": "s", "latency_1": 0.001, "before_latency_1": 0.001,
    }  # fmt: skip
    assert {name: row[name] for name in expected} == expected
    assert row["latency_64"] is None


def test_only_seeds_may_differ_in_one_mean_and_only_plans_and_methods_in_one_set_of_settings() -> None:
    table = points_of([run(0), run(1), run(keep=0.25), run(method="l1"), run(epochs=8)])
    assert list(table["settings"] == table["settings"][0]) == [True, True, True, True, False]
    assert list(table["plan"] == table["plan"][0]) == [True, True, False, True, True]


def test_a_written_table_is_read_back(tmp_path: Path) -> None:
    table = points_of([run(0), run(1)], sweep="s")
    file = tmp_path / "points.csv"
    table.to_csv(file, index=False)
    read = read_points(file)
    pd.testing.assert_frame_equal(read.astype(object).where(read.notna(), None), table, check_dtype=False)


def test_a_table_from_elsewhere_needs_few_columns(tmp_path: Path) -> None:
    needed = [
        "network",
        "data",
        "method",
        "macs",
        "params",
        "test_accuracy",
        "before_macs",
        "before_params",
        "before_accuracy",
    ]
    file = tmp_path / "points.csv"
    table = points_of([run(0), run(1, keep=0.25)])
    table[[*needed, "keep", "epochs"]].to_csv(file, index=False)
    read = read_points(file)
    assert tuple(read.columns) == COLUMNS
    assert read["plan"].nunique() == 2
    assert read["settings"].nunique() == 1
    table[needed[1:]].to_csv(file, index=False)
    with pytest.raises(pdc.PDCError, match=r"points\.csv is no table of runs: there is no column network\."):
        read_points(file)
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(pdc.PDCError, match="cannot be read as a table of runs"):
        read_points(file)


def test_a_run_of_an_earlier_version_is_a_row_too() -> None:
    found = read_run(FINISHED)
    (row,) = points_of([found]).to_dict("records")
    assert found.report is not None
    assert (row["run"], row["test_accuracy"]) == (FINISHED.name, found.report["folded"]["test_accuracy"])
    assert 0 < row["keep"] < 1
