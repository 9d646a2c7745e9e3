"""The table of what the length of a run should change: no row twice, means in their columns."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def length() -> ModuleType:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        return importlib.import_module("length")
    finally:
        sys.path.pop(0)


def test_rows_are_planned_once_and_those_that_were_run_are_among_them(length: ModuleType) -> None:
    planned = list(length.rows())
    assert len(set(planned)) == len(planned)
    assert min(row.seed for row in planned) >= 10  # choices are never made on the seeds of a table that reports
    done = pd.read_csv(ROOT / "benchmarks/results/length.csv")[list(length.Row._fields)]
    assert set(done.itertuples(index=False, name=None)) <= set(planned)


def test_a_column_is_a_length_and_a_keep_ratio_and_the_highest_mean_is_bold(length: ModuleType) -> None:
    rows = [
        (length.ONE, 0.02, 0.2, 10_000, 2, 10, 158, 0.75),
        (length.ONE, 0.02, 0.2, 10_000, 2, 11, 158, 0.77),
        (length.SIX, 0.05, 0.2, 10_000, 2, 10, 158, 0.74),
        (length.SIX, 0.05, 0.39, 10_000, 2, 10, 158, 0.85),
    ]
    lines = length.table(pd.DataFrame(rows, columns=length.COLUMNS)).splitlines()
    assert lines[-4:] == [
        "| schedule | learning rate | 158 steps, keep 0.2 | 158 steps, keep 0.39 |",
        "|---|--:|--:|--:|",
        "| one merge at once | 0.02 | **76.00 ± 1.41 (2)** | not run |",
        "| 6 merges over 0.3 of the run | 0.05 | 74.00 (1) | **85.00 (1)** |",
    ]
