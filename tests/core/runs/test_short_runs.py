"""Runs on some images or in a time budget, and runs that name a teacher: in run.yaml, in a folder, and resumed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import pdc_core as pdc
from pdc_core.cli import app
from pdc_core.data import subset
from pdc_core.runs import (
    RunSpec,
    create_run,
    read_run,
    read_spec,
    request_pause,
    run_command,
    run_worker,
    training,
    worker,
)
from pdc_core.runs.teachers import load_teacher, written_teacher
from pdc_core.train import Forecast, Stopped, Training, forecast
from tests.training import DIGITS, MODEL, PLAN, same_networks

SHORT = Training(epochs=2, batch_size=64, lr=0.02)


def test_a_run_trains_on_the_images_that_it_names(tmp_path: Path) -> None:
    folder = create_run(RunSpec(plan=PLAN, images=200, training=SHORT, seed=4), root=tmp_path)
    result = run_worker(folder)
    alone = pdc.distil(MODEL, PLAN, subset(DIGITS, 200, 4), seed=4, settings=SHORT)
    assert same_networks(result.folded, alone.folded)
    run = read_run(folder)
    assert run.results is not None
    assert run.results.train_images == 200


def quick(*_: object, **__: object) -> Forecast:
    """A forecast by which 10 seconds are two epochs of 256 images."""
    found = forecast(MODEL, DIGITS, SHORT)
    return type(found)(**{**vars(found), "mean_seconds": 1.0, "epoch_seconds": 0.5, "fixed_seconds": 0.4, "share": 0.5})


def test_a_budget_becomes_images_and_epochs_before_the_first_step_and_resumes_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pdc_core.runs.budget.forecast", quick)
    monkeypatch.setattr("pdc_core.runs.budget.time.perf_counter", lambda: 0.0)
    monkeypatch.setattr(training.time, "perf_counter", lambda: 0.0)
    folder, said = create_run(RunSpec(plan=PLAN, budget="10s", training=SHORT), root=tmp_path), []
    assert read_spec(folder).budget == 10
    monkeypatch.setattr(worker, "clear_request", lambda folder: None)
    request_pause(folder)
    with pytest.raises(Stopped):
        run_worker(folder, say=said.append)
    spec = read_spec(folder)
    assert (spec.budget, spec.budgeted, spec.images, spec.training.epochs) == (None, 10, 256, 2)
    assert said[0].startswith("A budget of 10 s: 256 of 1,077 training images, 2 epochs. Other work keeps this machine")
    monkeypatch.setattr("pdc_core.runs.budget.forecast", None)  # nothing is timed again
    (folder / "request").unlink()
    resumed = run_worker(folder)
    alone = pdc.distil(MODEL, PLAN, subset(DIGITS, 256), settings=SHORT)
    assert same_networks(resumed.folded, alone.folded)
    assert "--images 256" in run_command(read_spec(folder))


def test_a_budget_too_short_for_two_epochs_is_refused_before_training(tmp_path: Path) -> None:
    folder = create_run(RunSpec(plan=PLAN, budget=0.01, training=SHORT), root=tmp_path)
    with pytest.raises(pdc.PDCError, match=r"is too short: .* give at least .*, or no budget"):
        run_worker(folder)
    assert not (folder / "last.ckpt").exists()


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"budget": "soon"}, "soon is no time"),
        ({"budget": "-3s"}, "give a number above 0"),
        ({"budget": 10, "training": Training(devices=2)}, "a budget is timed in one process"),
        ({"kind": "teach", "teacher": "resnet56"}, "a teacher is for distil runs"),
        ({"images": 1}, "greater than or equal to 2"),
    ],
)
def test_what_a_run_cannot_be_is_said(given: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        RunSpec(**{"keep": 0.5, **given})  # type: ignore[arg-type]


def test_several_processes_do_not_each_choose_a_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = create_run(RunSpec(plan=PLAN, budget=60, training=SHORT), root=tmp_path)
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        with pytest.raises(pdc.PDCError, match="one process turns into images and epochs; for several processes give"):
            run_worker(folder)
    assert read_spec(folder).budget == 60


@pytest.mark.parametrize(
    "option", [("--budget", "soon"), ("--budget", "0.1s"), ("--teacher", "nobody"), ("--images", "5")]
)
def test_the_command_line_says_it_in_one_line_and_leaves_nothing(
    option: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises((pdc.PDCError, SystemExit)):
        app(["distil", "--keep", "0.5", "--epochs", "1", *option], standalone_mode=False)
    assert not list(tmp_path.glob("runs/*"))


def test_a_recipe_is_run_on_fewer_images_and_a_folder_is_not(
    tmp_path: Path, pdc_command: Callable[..., tuple[int, str, str]]
) -> None:
    recipe, out = tmp_path / "short.yaml", tmp_path / "run"
    recipe.write_text("keep: 0.5\ndata: digits\ntraining: {epochs: 1, batch_size: 64}\n")
    code, _, err = pdc_command("run", recipe, "--images", 128, "--out", out, "--json")
    assert code == 0, err
    assert read_spec(out).images == 128
    for option in (("--images", 200), ("--budget", "1min")):
        code, _, err = pdc_command("run", out, *option)
        assert code == 1
        assert "--data, --images, --budget and --out are for recipes" in err
    code, _, err = pdc_command("run", recipe, "--budget", "soon")
    assert code == 1
    assert "error: --budget soon: soon is no time" in err


def test_a_teacher_is_a_name_a_file_or_a_finished_run(tmp_path: Path) -> None:
    deeper = pdc.load_model("resnet32", "digits", weights="random", seed=1)
    file, bare, finished = tmp_path / "deeper.safetensors", tmp_path / "own.pt", tmp_path / "runs" / "done"
    pdc.save(deeper, file)
    torch.save(MODEL.state_dict(), bare)
    create_run(RunSpec(plan=PLAN), folder=finished)
    with pytest.raises(pdc.PDCError, match="has no network to teach with yet"):
        load_teacher(str(finished), "resnet20", "digits")
    pdc.save(deeper, finished / "folded.safetensors")
    for source, same in ((str(file), deeper), ("done", deeper), (str(bare), MODEL), (f"resnet20:{bare}", MODEL)):
        written = written_teacher(source, tmp_path / "runs")
        assert str(tmp_path) in written
        assert same_networks(load_teacher(written, "resnet20", "digits"), same)
    assert written_teacher("resnet56:published", tmp_path) == "resnet56:published"
    assert same_networks(load_teacher("resnet20", "resnet32", "digits"), MODEL)
    with pytest.raises(pdc.PDCError, match=r"The teacher nobody is not known: give NAME:WEIGHTS"):
        load_teacher("nobody", "resnet20", "digits")


def test_a_run_names_its_teacher_and_refuses_one_for_other_images(tmp_path: Path) -> None:
    pdc.save(pdc.load_model("resnet20", "clothing"), tmp_path / "clothing.safetensors")
    with pytest.raises(pdc.PDCError, match=r"takes images \(1, 28, 28\), digits has \(1, 8, 8\)"):
        create_run(RunSpec(plan=PLAN, teacher=str(tmp_path / "clothing.safetensors")), root=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
    folder = create_run(RunSpec(plan=PLAN, teacher="resnet20", images=128, training=SHORT), root=tmp_path / "runs")
    run_worker(folder)
    run = read_run(folder)
    assert run.results is not None
    assert run.results.teacher is not None
    assert run.results.teacher.name == "resnet20"
    assert run.results.teacher.test_accuracy == run.results.before.test_accuracy
