"""Runs have names that a person reads: made from what they are and how they ended, or given."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import pdc_core as pdc
from pdc_core.runs import RunSpec, create_run, given_name, read_run, rename_run, run_name, run_names


def test_a_name_says_network_plan_seed_and_state(tmp_path: Path) -> None:
    plan = pdc.Plan(counts={"a": 4, "b": 8}, sizes={"a": 16, "b": 32})
    for spec, name in (
        (RunSpec(plan=plan), "resnet20 · keep 25% · queued"),
        (RunSpec(plan=plan, method="l1", seed=3), "resnet20 · l1 · keep 25% · seed 3 · queued"),
        (RunSpec(kind="teach", weights="random"), "resnet20 · trained from random weights · queued"),
    ):
        assert run_name(read_run(create_run(spec, tmp_path))) == name


def test_a_finished_run_is_called_by_its_accuracy(tmp_path: Path) -> None:
    fixture = Path(__file__).parents[2] / "fixtures" / "format1" / "finished_soft"
    shutil.copytree(fixture, tmp_path / "run")
    run = read_run(tmp_path / "run")
    assert run.results is not None
    assert run_name(run).endswith(f" · {run.results.result.test_accuracy:.1%}")


def test_a_given_name_is_kept_until_it_is_taken_back(tmp_path: Path) -> None:
    folder = create_run(RunSpec(kind="teach"), tmp_path)
    made = run_name(read_run(folder))
    assert rename_run(folder, "  my \t first\nrun ") == "my first run" == run_name(read_run(folder))
    assert rename_run(folder, " ") == made
    assert given_name(folder) == ""
    with pytest.raises(pdc.PDCError, match="has 61 characters; give at most 60"):
        rename_run(folder, "x" * 61)
    with pytest.raises(pdc.PDCError, match=r"The name holds <"):
        rename_run(folder, "<b>")
    (folder / "name.txt").write_text("by [hand](http://x)\n")
    assert given_name(folder) == "by hand(http://x)"
    with pytest.raises(pdc.PDCError, match="not a run folder"):
        rename_run(tmp_path, "x")


def test_runs_with_equal_names_are_told_apart(tmp_path: Path) -> None:
    runs = [read_run(create_run(RunSpec(kind="teach"), tmp_path)) for _ in range(3)]
    rename_run(runs[0].folder, "alone")
    names = run_names(runs)
    assert set(names) == {run.id for run in runs}
    assert names[runs[0].id] == "alone"
    assert len(set(names.values())) == 3
