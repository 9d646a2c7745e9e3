"""`pdc sweep`, and the other commands on the folder of a sweep."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import pytest
import typer
from filelock import FileLock

from pdc_core.cli import app
from pdc_core.cli.sweeping import KEEPS, METHODS, SEEDS
from pdc_core.runs import SweepSpec, create_sweep, read_sweep
from pdc_core.runs.sweeps import read_sweep_spec

QUICK = ("--epochs", 1, "--batch-size", 512)
COMMANDS = typer.main.get_group(app).commands


@pytest.fixture(autouse=True)
def _quick_and_apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("pdc_core.train.run.latency", lambda model, example: {1: 0.0})
    monkeypatch.setenv("PDC_RUNS", str(tmp_path))


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep that nobody has begun; to be read only."""
    spec = SweepSpec(base={"training": {"epochs": 1}}, keeps=(0.5, 0.25), methods=("pdc", "l1"))
    return create_sweep(spec, folder=tmp_path_factory.mktemp("sweep") / "a")


def test_a_sweep_ends_with_the_means_and_goes_on_by_name(pdc_command, tmp_path: Path) -> None:
    folder = tmp_path / "a"
    asked = ("--keeps", "0.5", "--methods", "l1", "--seeds", "0,1", *QUICK, "--setting", "momentum=0.8")
    code, out, err = pdc_command("sweep", *asked, "--out", folder, "--json")
    assert code == 0
    said = json.loads(out)
    assert (said["state"], said["done"], said["runs"], said["failures"]) == ("done", 2, 2, {})
    (mean,) = said["means"]
    runs = [json.loads((folder / f"l1-keep0.50-seed{i}" / "report.json").read_text())["folded"] for i in (0, 1)]
    assert mean["accuracy"] == pytest.approx(sum(run["test_accuracy"] for run in runs) / 2)
    assert mean["spread"] == pytest.approx(abs(runs[0]["test_accuracy"] - runs[1]["test_accuracy"]) / 2**0.5)
    assert mean["macs"] == runs[0]["macs"]
    assert "2 runs, about" in err
    assert "l1-keep0.50-seed1: test accuracy" in err
    assert read_sweep(folder).spec.base.training.momentum == 0.8

    for again in (("sweep", folder), ("run", folder), ("resume", folder)):
        code, out, _ = pdc_command(*again)
        assert code == 0
        assert f"{100 * mean['accuracy']:.2f}% ± {100 * mean['spread']:.2f}" in out
    (row,) = json.loads(pdc_command("list", "--json")[1])
    assert (row["run"], row["kind"], row["step"], row["steps"]) == ("a", "sweep", 2, 2)
    assert "2 / 2 runs" in pdc_command("list")[1]
    assert "l1-keep0.50-seed1" in pdc_command("show", folder)[1]
    assert json.loads(pdc_command("show", folder, "--json")[1])["means"] == [mean]
    assert "a is done, 2 of 2 runs done" in pdc_command("status", folder)[1]
    assert pdc_command("rm", folder)[:2] == (0, "Removed a.\n")
    assert not folder.exists()


def test_a_sweep_takes_every_option_of_distil_that_all_its_runs_share() -> None:
    distil, sweep = ({p.name for p in COMMANDS[name].params} for name in ("distil", "sweep"))
    assert distil - sweep == {"keep", "plan", "clusters", "method", "seed"}
    assert sweep - distil == {"folder", "keeps", "methods", "seeds", "rule", "jobs"}
    assert inspect.signature(SweepSpec).parameters["rule"].default == "uniform"


def test_a_dry_run_writes_nothing(pdc_command, tmp_path: Path) -> None:
    code, out, _ = pdc_command("sweep", "--dry-run", "--json", *QUICK)
    assert code == 0
    said = json.loads(out)
    count = len(KEEPS.split(",")) * len([m for m in METHODS.split(",") if m != "whole"]) * len(SEEDS.split(","))
    assert said["runs"] == len(said["each"]) == count + METHODS.split(",").count("whole")
    assert said["seconds"] == pytest.approx(sum(said["each"].values()))
    assert said["each"]["l1-keep0.10-seed0"] < said["each"]["pdc-keep0.10-seed0"]
    assert said["macs"]["l1-keep0.10-seed0"] < said["macs"]["l1-keep0.80-seed0"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        (("--keeps", "0.5,half"), "'half' is no such number; give ratios"),
        (("--keeps", "0.5,2"), "2 is not a keep ratio"),
        (("--seeds", "0.5"), "'0.5' is no such number; give whole numbers"),
        (("--methods", "l3"), "'l3' is unknown"),
        (("--rule", "taste"), "'taste' is unknown"),
        (("--model", "resnet21"), "resnet21"),
        (("nowhere",), "nowhere"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(pdc_command, tmp_path: Path, args, reason: str) -> None:
    code, out, err = pdc_command("sweep", *args, *(QUICK if args[0].startswith("--") else ()))
    assert (code, out) == (1, "")
    assert reason in err
    assert len(err.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_options_of_a_new_sweep_are_refused_for_an_old_one(pdc_command, planned: Path) -> None:
    code, _, err = pdc_command("sweep", planned, "--keeps", "0.5", "--epochs", 3)
    assert code == 1
    assert "--keeps, --epochs: a sweep folder says itself what it is" in err


def test_a_sweep_that_cannot_be_read_is_named_by_list(pdc_command, tmp_path: Path) -> None:
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "sweep.yaml").write_text("keeps: [2]\n")
    code, out, err = pdc_command("list")
    assert code == 0
    assert "not listed" in err
    assert "torn/sweep.yaml is not a valid sweep file" in err
    assert "No runs under" in out


def test_a_recipe_describes_a_sweep(pdc_command, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("base:\n  training: {epochs: 1, batch_size: 512}\nkeeps: [0.5]\nmethods: [l1]\nseeds: [3]\n")
    code, out, _ = pdc_command("run", recipe, "--out", tmp_path / "a", "--json")
    assert code == 0
    assert json.loads(out)["runs"] == 1
    assert read_sweep_spec(tmp_path / "a").members == read_sweep_spec(recipe).members
    assert pdc_command("run", recipe, "--data", "clothing")[0] == 1


def test_status_show_and_requests_of_a_sweep(pdc_command, planned: Path) -> None:
    assert "0 of 4 runs done" in pdc_command("status", planned)[1]
    assert pdc_command("show", planned)[1].count("not begun") == 4
    code, _, err = pdc_command("pause", planned)
    assert code == 1
    assert "No worker trains" in err
    code, _, err = pdc_command("finish", planned)
    assert code == 1
    assert "is a sweep" in err
    with FileLock(planned / "worker.lock"):
        assert json.loads(pdc_command("stop", planned, "--json")[1]) == {"run": "a", "requested": "stop"}
        assert pdc_command("rm", planned)[0] == 1
    assert (planned / "request").read_text() == "stop"
    (planned / "request").unlink()


def test_the_recipe_of_the_sweep_that_comes_with_pdc_is_one() -> None:
    recipe = Path(__file__).parents[2] / "recipes" / "clothing_resnet20_sweep.yaml"
    spec = read_sweep_spec(recipe)
    assert (spec.base.model, spec.base.data, len(spec.members)) == (
        "resnet20",
        "clothing",
        33,
    )
