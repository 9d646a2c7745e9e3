"""The table of long runs: every row is run once, goes on where it was interrupted, and shows in its column."""

from __future__ import annotations

import importlib
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
import torch

import pdc_core as pdc
from pdc_core.data import Split
from pdc_core.runs import FolderRecorder

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def long() -> ModuleType:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        return importlib.import_module("long")
    finally:
        sys.path.pop(0)


def test_no_row_is_planned_twice_and_whole_keeps_everything(long: ModuleType) -> None:
    planned = list(long.rows())
    assert len(set(planned)) == len(planned)
    assert {row.keep for row in planned if row.method == "whole"} == {1.0}
    assert {row.method for row in planned} == {*long.VARIANTS, *long.BASELINES}


def test_a_plan_by_sensitivity_has_the_macs_of_the_uniform_one_and_sees_training_images_alone(long: ModuleType) -> None:
    model = pdc.load_model("resnet20", "cifar10", weights="shipped")
    graph = pdc.trace(model, torch.zeros(1, 3, 32, 32))
    train = Split(torch.randint(0, 256, (64, 3, 32, 32), dtype=torch.uint8), torch.arange(64) % 10)
    row = long.Row("resnet20", 0.39, 30, "pdc", 0)
    even = long.plan_of(row, model, graph, train)
    assert set(even.keep.values()) <= {6 / 16, 12 / 32, 25 / 64}
    shared = long.plan_of(row._replace(method="pdc_sensitivity"), model, graph, train)
    one, other = (pdc.plan_cost(graph, plan).macs for plan in (even, shared))
    assert len(set(shared.keep.values())) > 3
    assert 0.97 * one < other <= one


def test_rows_are_run_once_and_stand_in_the_table(
    long: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = pdc.describe_data("cifar10")
    split = Split(torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8), torch.arange(8))
    data = pdc.Data("cifar10", split, split, split, info.classes, info.shape, info.mean, info.std)
    model = pdc.load_model("resnet20", "cifar10", weights="random")
    torch.save({"state_dict": model.state_dict()}, tmp_path / "resnet20.pt")
    planned = [long.Row("resnet20", 0.2, 1, "pdc", 0), long.Row("resnet20", 1.0, 1, "whole", 0)]
    monkeypatch.setattr(long, "rows", lambda: planned)
    monkeypatch.setattr(long, "images", lambda folder: replace(data))
    monkeypatch.setattr(long, "FILES", {"resnet20": "resnet20.pt"})
    monkeypatch.setattr(long, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(long, "FAST", {})
    monkeypatch.setattr(long, "FolderRecorder", partial(FolderRecorder, allow_weak_teacher=True))
    out = tmp_path / "long.csv"
    command = ["long.py", "--data", str(tmp_path), "--checkpoints", str(tmp_path), "--out", str(out), "--first", "1"]
    for done in (1, 2, 2):
        monkeypatch.setattr(sys, "argv", command)
        long.main()
        assert len(pd.read_csv(out)) == done
    found = pd.read_csv(out)
    assert found.method.tolist() == ["pdc", "whole"]
    assert found.macs_cut[0] > 0.5
    assert found.macs_cut[1] == 0
    text = out.with_suffix(".md").read_text()
    assert f"| pdc | **{100 * found.test_accuracy[0]:.2f} (1)** |" in text
    assert f"| whole | {100 * found.test_accuracy[1]:.2f} (1) |" in text


def test_the_table_says_what_choosing_would_add_and_what_others_published(long: ModuleType) -> None:
    rows = [
        ("resnet56", 0.39, 60, "pdc", 0, 0.9320, 0.9340, 0.9339, 0.61, 9),
        ("resnet20", 0.2, 30, "pdc", 0, 0.870, 0.872, 0.9174, 0.79, 9),
        ("resnet20", 0.2, 30, "pdc", 1, 0.874, 0.876, 0.9174, 0.79, 9),
        ("resnet20", 0.2, 30, "l1", 0, 0.820, 0.823, 0.9174, 0.79, 9),
    ]
    text = long.table(pd.DataFrame(rows, columns=long.COLUMNS))
    assert "keep 0.2, 79.0% of the MACs cut" in text
    assert "above the last (n = 3), the best of 2 seeds 0.20 above their mean." in text
    assert "The best epoch on the test images is 0.20 points above the last (n = 1)." in text
    assert "| C-SGD-5/8 | 2019 | 93.39 | 93.44 | +0.05 | 60.8% |" in text
    assert "FPGM" not in text  # 52.6% is too far from ours
