"""The benchmark of rules: rows run once, the tables say what was not run, plans meet their cut."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import pytest

import pdc_core as pdc
from pdc_core.estimates import plan_from_rule


@pytest.fixture(scope="module")
def rules() -> ModuleType:
    sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
    try:
        return importlib.import_module("rules")
    finally:
        sys.path.pop(0)


def values(rule: str, cut: float, seed: int, accuracy: float = 0.9) -> dict[str, Any]:
    return {
        "task": "digits", "rule": rule, "cut": cut, "seed": seed, "test_accuracy": accuracy, "val_accuracy": 0.5,
        "macs": 1,
    }  # fmt: skip


def test_rows_that_are_there_are_not_run_again(
    rules: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, run = tmp_path / "rules.csv", []

    def row(bench: object, rule: str, cut: float, seed: int) -> dict[str, Any]:
        run.append((rule, cut, seed))
        return values(rule, cut, seed)

    monkeypatch.setattr(rules.Bench, "row", row)
    monkeypatch.setattr(rules.Bench, "joint", lambda bench, cut: "none of them")
    for _ in range(2):
        monkeypatch.setattr("sys.argv", ["rules.py", "digits", "--cuts", "0.5", "--seeds", "1", "--out", str(out)])
        rules.main()
        assert run == [(rule, 0.5, 1) for rule in rules.RULES]
    monkeypatch.setattr("sys.argv", ["rules.py", "digits", "--choose", "--seeds", "10", "--out", str(out)])
    rules.main()
    assert [rule for rule, _, _ in run[len(rules.RULES) :]] == ["mixed 0.25", "mixed 0.5"] * 2
    assert "0.8" not in {str(cut) for _, cut, _ in run[: len(rules.RULES)]}


def test_the_row_of_the_joint_rule_is_that_of_the_rule_whose_plan_it_takes(
    rules: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, run = tmp_path / "rules.csv", []

    def row(bench: object, rule: str, cut: float, seed: int) -> dict[str, Any]:
        run.append(rule)
        return values(rule, cut, seed, 0.9 + len(run) / 100)

    monkeypatch.setattr(rules.Bench, "row", row)
    monkeypatch.setattr(rules.Bench, "joint", lambda bench, cut: "inertia")
    monkeypatch.setattr("sys.argv", ["rules.py", "digits", "--cuts", "0.5", "--seeds", "1", "--out", str(out)])
    rules.main()
    assert run == list(rules.RULES[:-1])
    rows = pd.read_csv(out).set_index("rule")["test_accuracy"]
    assert rows["joint"] == rows["inertia"] == pytest.approx(0.93)


def test_a_table_has_means_of_the_rows_and_says_what_was_not_run(rules: ModuleType) -> None:
    rows = [values("mixed 0.5", 0.5, seed, accuracy) for seed, accuracy in enumerate((0.9, 0.92))]
    text = rules.table(pd.DataFrame([*rows, values("uniform", 0.5, 0, 0.8)]))
    digits, clothing = text.split("## clothing")[0], text.split("## clothing")[1].split("##")[0]
    assert "| mixed 0.5 | **91.00 ± 1.41 (2)** | not run | not run |" in digits
    assert "| uniform | 80.00 (1) | not run | not run |" in digits
    assert clothing.count("not run") == 3 * len(rules.RULES)


def test_every_rule_meets_the_cut_and_the_joint_one_is_the_default_of_budgets(rules: ModuleType) -> None:
    bench = rules.Bench(rules.TASKS["digits"](None, None))
    for rule in (*rules.RULES, "mixed 0.25"):
        plan = bench.plan(rule, 0.65)
        assert 0.65 <= 1 - pdc.plan_cost(bench.graph, plan).macs / pdc.plan_cost(bench.graph, {}).macs < 0.67
    whole, data = bench.plan("uniform", 0.0), bench.task.data
    default = plan_from_rule(bench.task.model, bench.graph, whole, 0.8, data=data, sensitivity=bench.found)
    assert bench.plan(rules.RULES[-1], 0.8) == default == bench.plan(bench.joint(0.8), 0.8)
    assert bench.plan("mixed 0.25", 0.8) != bench.plan("mixed 0.5", 0.8)
