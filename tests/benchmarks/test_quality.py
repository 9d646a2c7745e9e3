"""The quality benchmark: rows run once and in order, the table says what was not run, peers get the plan's counts."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import pdc_core as pdc


def benchmark(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parents[2] / "benchmarks" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and the other benchmarks look it up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def quality() -> ModuleType:
    return benchmark("quality")


@pytest.fixture(scope="module")
def paired(quality: ModuleType) -> ModuleType:
    return benchmark("paired")


def values(task: str, method: str, keep: float, seed: int, accuracy: float) -> dict[str, Any]:
    measured = {"test_accuracy": accuracy, "val_accuracy": accuracy, "macs": int(1000 * keep), "params": 10}
    return {"task": task, "method": method, "keep": keep, "seed": seed, **measured, "seconds": 1.0}


def test_the_main_comparison_comes_first_and_peers_from_outside_at_one_ratio(quality: ModuleType) -> None:
    order = quality.wanted(None, None, None)
    assert order[:2] == [("pdc", 0.4, 0), ("l1", 0.4, 0)]
    assert {m for m, _, _ in order[:18]} == {"pdc", "l1"}
    assert len(order) == len(set(order)) == 9 * 8 + 3 * 2
    assert {k for m, k, _ in order if m.startswith("torch_pruning")} == {0.4}
    assert quality.wanted(["l1_alone", "pdc"], [0.5], [7, 3]) == [
        *(("pdc", 0.5, seed) for seed in (7, 3)),
        *(("l1_alone", 0.5, seed) for seed in (7, 3)),
    ]


def test_rows_that_are_there_are_not_run_again(
    quality: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, run = tmp_path / "quality.csv", []

    def row(task: Any, method: str, keep: float, seed: int) -> dict[str, Any]:
        run.append((method, keep, seed))
        if len(run) == 3:
            raise KeyboardInterrupt
        return values("digits", method, keep, seed, 0.9)

    monkeypatch.setattr(quality, "row", row)
    monkeypatch.setattr(sys, "argv", ["quality.py", "digits", "--methods", "pdc", "--seeds", "0", "--out", str(out)])
    with pytest.raises(KeyboardInterrupt):
        quality.main()
    quality.main()
    assert run == [("pdc", 0.4, 0), ("pdc", 0.2, 0), ("pdc", 0.6, 0), ("pdc", 0.6, 0)]
    assert list(pd.read_csv(out).keep) == [0.4, 0.2, 0.6]
    out.with_suffix(".md").unlink()
    monkeypatch.setattr(sys, "argv", ["quality.py", "--table", "--out", str(out)])
    quality.main()
    assert "## digits" in out.with_suffix(".md").read_text()
    monkeypatch.setattr(sys, "argv", ["quality.py", "letters"])
    with pytest.raises(SystemExit):
        quality.main()


def test_the_table_shows_means_marks_the_best_and_says_what_was_not_run(quality: ModuleType, tmp_path: Path) -> None:
    out = tmp_path / "quality.csv"
    for each in (("pdc", 0.4, 0, 0.9), ("pdc", 0.4, 1, 0.92), ("l1", 0.4, 0, 0.88), ("pdc", 0.2, 0, 0.7)):
        quality.append(out, values("digits", *each))
    text = quality.table(out)
    assert "| pdc | **91.00 ± 1.41 (2)** | **70.00 (1)** |" in text
    assert "| l1 | 88.00 (1) | not run |" in text
    assert "keep 0.4 (400 MACs, 10 parameters)" in text


@pytest.mark.parametrize("method", ["torch_pruning_l1", "torch_pruning_group"])
def test_peers_from_outside_get_the_plans_counts_and_leave_the_trunk(quality: ModuleType, method: str) -> None:
    pytest.importorskip("torch_pruning")
    net = pdc.load_model("resnet20")
    example = torch.zeros(1, 1, 8, 8)
    graph = pdc.trace(net, example)
    plan = pdc.Plan.uniform(graph, 0.4)
    small = quality.pruned_by_torch_pruning(method, net, graph, plan)
    assert pdc.cost(small, example).macs == pdc.plan_cost(graph, plan).macs
    assert net.layer1[0].conv1.out_channels == 16


def test_a_difference_has_one_error_over_seeds_and_one_over_images(paired: ModuleType) -> None:
    random = np.random.default_rng(0)
    first, second = ((random.random((3, 50)) < p).astype(float) for p in (0.9, 0.8))
    found = paired.difference(first, second)
    assert found["points"] == pytest.approx(100 * (first.mean() - second.mean()))
    images = [np.mean([first[s, i] - second[s, i] for s in range(3)]) for i in range(50)]
    assert found["error_images"] == pytest.approx(100 * np.std(images, ddof=1) / np.sqrt(50))
    assert found["error_seeds"] == pytest.approx(100 * np.std((first - second).mean(1), ddof=1) / np.sqrt(3))
    same = paired.difference(first[:2], first[:2])
    assert same == {"points": 0, "error_seeds": 0, "error_images": 0}


def test_a_pair_is_compared_again_in_its_own_line(
    paired: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "paired.csv"
    for keep, second in (("0.4", "folding_bn"), ("0.4", "folding_bn"), ("0.2", "folding_bn")):
        arguments = ["digits", keep, "folding", second, "--seeds", "0", "1", "--out", str(out)]
        monkeypatch.setattr(sys, "argv", ["paired.py", *arguments])
        paired.main()
    rows = pd.read_csv(out)
    assert list(rows.keep) == [0.4, 0.2]
    assert (rows.points < -20).all()  # statistics that fit the folded network are worth that much
    assert "| digits | 0.2 | folding | folding_bn | 2 | -" in out.with_suffix(".md").read_text()


@pytest.mark.parametrize(
    ("second", "seeds", "said"), [("folding_bn", ["0"], "no deviation"), ("magic", ["0", "1"], "no method magic")]
)
def test_a_pair_that_cannot_be_compared_says_why(
    paired: ModuleType,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    second: str,
    seeds: list,
    said: str,
) -> None:
    monkeypatch.setattr(sys, "argv", ["paired.py", "digits", "0.4", "folding", second, "--seeds", *seeds])
    with pytest.raises(SystemExit):
        paired.main()
    assert said in capsys.readouterr().err
