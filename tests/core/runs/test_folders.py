"""Run folders: a worker process does what was asked, readers never stumble, and one run has one worker."""

from __future__ import annotations

import csv
import json
import os
import platform
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import pdc_core as pdc
from pdc_core.runs import (
    RunSpec,
    launching,
    newest_checkpoint,
    read_spec,
    recorder,
    repair_run,
    run_worker,
    training,
    waiting,
    worker,
)
from pdc_core.runs.recorder import FolderRecorder
from pdc_core.runs.training import train_run
from pdc_core.train import Recorder, Stopped, Training

GRAPH = pdc.trace(pdc.load_model("resnet20"), torch.zeros(1, 1, 8, 8))
PLAN = pdc.Plan.uniform(GRAPH, 0.25, model="resnet20")


def spec(epochs: int = 1, seed: int = 0) -> RunSpec:
    hourly = 3600  # so that on a slow machine, too, every checkpoint is that of an epoch
    training = Training(epochs=epochs, batch_size=512, checkpoint_seconds=hourly)
    return RunSpec(plan=PLAN, training=training, seed=seed)


def wait_for(folder: Path, *states: str, seconds: float = 120) -> pdc.Run:
    """Wait until a run is in one of the states; a limit against hanging only."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        run = pdc.read_run(folder)
        if run.state in states:
            return run
        time.sleep(0.2)
    raise AssertionError(f"still {run.state}: {run.status}, {(folder / 'worker.log').read_text()}")


def test_a_run_leaves_everything_that_was_promised(tmp_path: Path) -> None:
    folder = pdc.create_run(spec(epochs=2), root=tmp_path)
    run_worker(folder)
    run = pdc.read_run(folder)
    assert run.state == "done"
    assert run.status["step"] == run.status["steps"] == 2 * 3  # 1,077 images in batches of 512
    assert [e["epoch"] for e in run.events if e["kind"] == "evaluation"] == [1, 2]
    assert {p.name for p in folder.iterdir()} >= {
        "run.yaml", "status.json", "events.jsonl", "history.csv", "last.ckpt", "labels.npz", "folded.safetensors",
        "report.json",
    }  # fmt: skip
    small, data = pdc.load(folder / "folded.safetensors"), pdc.load_data("digits")
    assert run.report is not None
    assert run.report["folded"]["test_accuracy"] == pdc.evaluate(small, data, data.test).accuracy
    assert pdc.cost(small, torch.zeros(1, 1, 8, 8)).macs == run.report["folded"]["macs"]


def test_a_launched_worker_outlives_its_parent_and_can_be_watched(tmp_path: Path) -> None:
    folder = pdc.create_run(spec(), root=tmp_path)
    assert pdc.read_run(folder).state == "queued"
    pid = pdc.launch(folder)
    assert os.getpgid(pid) != os.getpgid(0)
    run = wait_for(folder, "done", "failed")
    assert run.state == "done", run.status
    assert not run.alive
    assert [r.id for r in pdc.list_runs(tmp_path)] == [folder.name]


def test_a_killed_worker_shows_as_interrupted_and_the_run_goes_on(tmp_path: Path) -> None:
    folder = pdc.create_run(spec(epochs=60), root=tmp_path)
    pid = pdc.launch(folder)
    end = time.monotonic() + 120
    while not (folder / "last.ckpt").exists():
        assert time.monotonic() < end, (folder / "worker.log").read_text()
        time.sleep(0.1)
    os.kill(pid, signal.SIGKILL)
    killed = wait_for(folder, "interrupted")
    assert (killed.alive, killed.message) == (False, "Its process is gone.")  # not what it said last
    found = newest_checkpoint(folder)
    assert found is not None
    pdc.resume(folder)
    wait_for(folder, "running")
    pdc.request_finish(folder)  # ends the run where it is by then
    run = wait_for(folder, "done")
    assert run.report is not None
    assert found[1]["step"] <= run.report["ended_early"]["step"] < 180
    epochs = [e["epoch"] for e in run.events if e["kind"] == "evaluation"]
    assert epochs == list(range(1, len(epochs) + 1))
    with pytest.raises(pdc.PDCError, match="is done"):
        pdc.resume(folder)


@pytest.mark.parametrize(("request_", "state"), [(pdc.request_stop, "stopped"), (pdc.request_pause, "paused")])
def test_stop_and_pause_end_a_run_after_its_step_and_it_goes_on_from_there(
    tmp_path: Path, request_: Callable[[Path], None], state: str
) -> None:
    folder = pdc.create_run(spec(epochs=2), root=tmp_path)

    def ask_soon(step: int, steps: int) -> None:
        if step == 4:
            request_(folder)

    with pytest.raises(Stopped, match="after step 4 of 6"):
        run_worker(folder, show=ask_soon)
    run = pdc.read_run(folder)
    assert run.state == state
    assert run.report is None
    steps: list[int] = []
    run_worker(folder, show=lambda step, _: steps.append(step))
    assert steps == [5, 6]
    assert pdc.read_run(folder).state == "done"
    assert not (folder / "request").exists()


def test_settings_that_change_the_length_of_a_begun_run_are_refused(tmp_path: Path) -> None:
    folder = pdc.create_run(spec(epochs=2), root=tmp_path)
    with pytest.raises(Stopped):
        run_worker(folder, show=lambda step, _: pdc.request_pause(folder))
    text = (folder / "run.yaml").read_text()
    (folder / "run.yaml").write_text(text.replace("epochs: 2", "epochs: 3"))
    with pytest.raises(pdc.PDCError, match="a run of 6 steps, but the settings now say 9"):
        run_worker(folder)


def test_two_workers_never_share_a_run(tmp_path: Path) -> None:
    folder = pdc.create_run(spec(epochs=3), root=tmp_path)
    refused: list[str] = []

    def second(step: int, steps: int) -> None:
        if step == 1:

            def attempt() -> None:
                try:
                    run_worker(folder)
                except pdc.PDCError as error:
                    refused.append(str(error))

            thread = threading.Thread(target=attempt)
            thread.start()
            thread.join(30)

    run_worker(folder, show=second)
    assert "Another process trains" in refused[0]


def test_queued_runs_wait_for_their_turn(tmp_path: Path) -> None:
    folders = [pdc.create_run(spec(epochs=3, seed=s), root=tmp_path) for s in (0, 1)]
    for folder in folders:
        pdc.launch(folder)
    overlap = 0
    end = time.monotonic() + 180
    while time.monotonic() < end:
        states = [pdc.read_run(f).state for f in folders]
        overlap = max(overlap, states.count("running"))
        if states == ["done", "done"]:
            break
        time.sleep(0.1)
    assert states == ["done", "done"]
    assert overlap == 1


def test_a_run_that_fails_says_why_in_its_status(tmp_path: Path) -> None:
    folder = pdc.create_run(RunSpec(plan=PLAN, model="resnet32"), root=tmp_path)
    with pytest.raises(pdc.PDCError, match="no weights"):
        run_worker(folder)
    run = pdc.read_run(folder)
    assert run.state == "failed"
    assert "no weights" in run.status["message"]


def test_a_done_run_is_not_run_again_and_its_folder_is_not_taken(tmp_path: Path) -> None:
    folder = pdc.create_run(spec(), root=tmp_path)
    (folder / "report.json").write_text("{}")
    with pytest.raises(pdc.PDCError, match="is done"):
        run_worker(folder)
    with pytest.raises(pdc.PDCError, match="holds a run already"):
        pdc.create_run(spec(), folder=folder)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kind: distil", "needs a plan"),
        ("kind: bake", "kind"),
        ("model: [", "cannot be read"),
        ("just text", "not a valid run file"),
        ("kind: teach\ntraining: {lr: -1}", "training.lr"),
        ("kind: teach\nsurprise: 1", "surprise"),
        ("kind: teach\ntraining: {lr: -1, momentum: 9}", "training.lr"),
        ("kind: teach\ntraining: {warmup: 9}", "warmup of 9 epochs"),
        ("kind: distil\nkeep: 0.5\nplan: {}", "not both"),
        ("kind: teach\nformat: 99", "newer version of PDC"),
        ("kind: distil\nplan: 5", "plan"),
        ("kind: distil\nplan: [layer1]", "plan"),
    ],
)
def test_a_wrong_run_file_is_refused_with_the_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "run.yaml").write_text(text)
    with pytest.raises(pdc.PDCError, match=said):
        read_spec(tmp_path)


def test_a_launched_worker_is_asked_nothing_that_was_asked_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[list[str]] = []

    class Started:
        pid = 1

        def __init__(self, command: list[str], **options: object) -> None:
            started.append(command)
            assert not (folder / "request").exists()

        def wait(self) -> None: ...

    folder = pdc.create_run(spec(), root=tmp_path)
    pdc.request_stop(folder)
    monkeypatch.setattr(launching.subprocess, "Popen", Started)
    assert pdc.launch(folder) == 1
    worker = [sys.executable, "-m", "pdc_core", "run", "--queue", str(folder)]
    assert started == [[sys.executable, "-P", waiting.__file__, str(folder), *worker]]
    assert pdc.read_run(folder).status["message"] == "the worker is starting"


def test_a_run_here_forgets_earlier_requests_and_one_that_waits_for_its_turn_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, found = pdc.create_run(spec(), root=tmp_path), []
    monkeypatch.setattr(worker, "_work", lambda folder, *_: found.append((folder / "request").exists()))
    pdc.request_stop(folder)
    with pytest.raises(Stopped, match="while it waited"):
        run_worker(folder, queue=True)
    pdc.request_stop(folder)
    run_worker(folder)
    assert found == [False]


@pytest.mark.parametrize(
    ("raised", "state", "said"),
    [
        (KeyboardInterrupt(), "stopped", "Interrupted from the keyboard."),
        (ValueError("odd"), "failed", "ValueError: odd"),
        (pdc.PDCError("no weights"), "failed", "no weights"),
        (Stopped("Paused.", "paused"), "paused", "Paused."),
    ],
)
def test_however_a_run_ends_its_status_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raised: BaseException, state: str, said: str
) -> None:
    def end(*_: object) -> None:
        raise raised

    folder = pdc.create_run(spec(), root=tmp_path)
    monkeypatch.setattr(worker, "_work", end)
    with pytest.raises(type(raised)):
        run_worker(folder)
    run = pdc.read_run(folder)
    assert (run.state, run.status["message"]) == (state, said)


@pytest.mark.parametrize(
    ("host", "kill", "state"),
    [
        (platform.node(), None, "queued"),
        (platform.node(), ProcessLookupError(), "interrupted"),
        (platform.node(), PermissionError(), "queued"),  # the process of another user
        ("elsewhere", None, "interrupted"),
    ],
)
def test_a_queued_run_waits_as_long_as_its_process_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str, kill: OSError | None, state: str
) -> None:
    def signalled(pid: int, number: int) -> None:
        assert (pid, number) == (77, 0)
        if kill is not None:
            raise kill

    folder = pdc.create_run(spec(), root=tmp_path)
    (folder / "status.json").write_text(json.dumps({"state": "queued", "pid": 77, "host": host}))
    monkeypatch.setattr(os, "kill", signalled)
    assert pdc.read_run(folder).state == state


def test_a_run_is_trained_as_its_kind_and_method_say(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def catch(name: str) -> None:
        monkeypatch.setattr(training, name, lambda *given, **options: seen.update(name=name, given=given, **options))

    for name in ("teach", "distil", "train_baseline"):
        catch(name)
    settings, told = Training(epochs=3), Recorder()
    for given, name in (
        ({"kind": "teach"}, "teach"),
        ({"plan": PLAN}, "distil"),
        ({"plan": PLAN, "method": "l1"}, "train_baseline"),
    ):
        train_run(RunSpec(training=settings, seed=5, **given), told, print)
        assert (seen["name"], seen["seed"], seen["settings"], seen["recorder"]) == (name, 5, settings, told)
        assert [each for each in seen["given"] if isinstance(each, pdc.Plan)] == ([] if name == "teach" else [PLAN])
    assert seen["given"][0] == "l1"


def test_frames_are_on_the_disk_at_once_and_then_every_few_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(recorder.time, "monotonic", lambda: now[0])
    writes, sizes = FolderRecorder(tmp_path), []
    for seconds in (0.0, recorder.FRAMES_EVERY / 2, recorder.FRAMES_EVERY):
        now[0] = 1000 + seconds
        writes.frame(len(sizes), lambda: {"a": np.random.default_rng(0).normal(size=(4, 3))})
        sizes.append((tmp_path / "trajectory.npz").stat().st_size)
    assert sizes[0] == sizes[1] < sizes[2]


def test_a_root_with_foreign_folders_is_listed_without_them(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "run.yaml").write_text("kind: bake")
    folder = pdc.create_run(spec(), root=tmp_path)
    assert [r.id for r in pdc.list_runs(tmp_path)] == [folder.name]
    assert pdc.list_runs(tmp_path / "nowhere") == []


def test_a_folder_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(pdc.PDCError, match="cannot be written"):
        pdc.create_run(spec(), root=tmp_path / "file")


def test_the_environment_names_the_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PDC_RUNS", str(tmp_path / "elsewhere"))
    assert pdc.create_run(spec()).parent == tmp_path / "elsewhere"


def test_a_disk_that_fills_up_fails_the_run_with_one_sentence_and_it_goes_on_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = pdc.create_run(spec(epochs=2), root=tmp_path)
    synced, fsync = 0, os.fsync

    def full(handle: int) -> None:
        nonlocal synced
        synced += 1
        if synced > 2:  # the first checkpoint and its folder
            raise OSError(28, "No space left on device")
        fsync(handle)

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(pdc.PDCError, match="No space left on device"):
        run_worker(folder)
    run = pdc.read_run(folder)
    assert run.state == "failed"
    assert "Free some space" in run.status["message"]
    monkeypatch.setattr("os.fsync", fsync)
    steps: list[int] = []
    run_worker(folder, show=lambda step, _: steps.append(step))
    assert steps == [4, 5, 6]
    assert pdc.read_run(folder).state == "done"


def test_a_folder_that_may_not_be_written_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = pdc.create_run(spec(), root=tmp_path)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(30, "Read-only file system")

    monkeypatch.setattr("filelock.FileLock.acquire", refuse)  # tests may run as root, whom no mode stops
    with pytest.raises(pdc.PDCError, match="cannot be written: Read-only file system"):
        run_worker(folder)


def test_a_clock_that_jumps_does_not_disturb_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, real, calls = pdc.create_run(spec(epochs=2), root=tmp_path), time.time, [0]

    def jumping() -> float:
        calls[0] += 1
        return real() + (-7 * 86400 if calls[0] % 2 else 7 * 86400)

    monkeypatch.setattr("time.time", jumping)
    etas: list[float] = []

    def watch(step: int, steps: int) -> None:
        run = pdc.read_run(folder)
        assert run.alive
        assert run.state == "running"
        etas.append(run.status.get("eta_seconds") or 0.0)

    run_worker(folder, show=watch)
    run = pdc.read_run(folder)
    assert run.state == "done"
    assert all(0 <= eta < 600 for eta in etas)


def test_tensorboard_sees_every_evaluation_once_also_after_a_pause(tmp_path: Path) -> None:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    folder = pdc.create_run(spec(epochs=3), root=tmp_path)
    with pytest.raises(Stopped):
        run_worker(folder, tensorboard=True, show=lambda step, _: pdc.request_pause(folder) if step == 4 else None)
    run_worker(folder, tensorboard=True)
    seen = reader.EventAccumulator(str(folder / "tensorboard"))
    seen.Reload()
    evaluations = [e for e in pdc.read_run(folder).events if e["kind"] == "evaluation"]
    points = seen.Scalars("evaluation/val_accuracy")
    assert [p.step for p in points] == [e["step"] for e in evaluations] == [3, 6, 9]
    assert [p.value for p in points] == pytest.approx([e["val_accuracy"] for e in evaluations])


def test_without_the_package_tensorboard_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(pdc.PDCError, match="needs the package tensorboard"):
        run_worker(pdc.create_run(spec(), root=tmp_path), tensorboard=True)


def test_the_table_of_the_history_is_the_history(tmp_path: Path) -> None:
    folder = pdc.create_run(spec(epochs=2), root=tmp_path)
    run_worker(folder)
    with (folder / "history.csv").open(newline="") as file:
        rows = [{key: value for key, value in row.items() if value} for row in csv.DictReader(file)]
    assert rows == [{key: str(value) for key, value in event.items()} for event in pdc.read_run(folder).events]


def test_torn_files_of_a_finished_run_are_mended_from_what_is_whole(tmp_path: Path) -> None:
    folder = pdc.create_run(spec(), root=tmp_path)
    run_worker(folder)
    names = ("events.jsonl", "history.csv", "labels.npz")
    whole = {name: (folder / name).read_bytes() for name in names}
    assert repair_run(folder) == []
    for name in ("events.jsonl", "labels.npz"):
        (folder / name).write_bytes(whole[name][: len(whole[name]) // 2])
    assert repair_run(folder) == list(names)
    assert {name: (folder / name).read_bytes() for name in names} == whole


def test_a_plan_that_a_person_wrote_gets_the_sizes_of_its_groups(tmp_path: Path) -> None:
    by_hand = pdc.Plan(counts={"layer1.0.conv1": 4})
    found = read_spec(pdc.create_run(RunSpec(plan=by_hand), root=tmp_path)).plan
    assert found is not None
    assert found.counts == by_hand.counts
    assert found.sizes["layer1.0.conv1"] == 16
    assert found.keep == {"layer1.0.conv1": 0.25}
    with pytest.raises(pdc.PDCError, match="layer9"):
        pdc.create_run(RunSpec(plan=pdc.Plan(counts={"layer9": 4})), root=tmp_path)


def test_a_run_takes_no_folder_in_which_others_have_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "thesis.txt").write_text("years")
    monkeypatch.chdir(tmp_path)
    for folder in (tmp_path, Path("")):
        with pytest.raises(pdc.PDCError, match=r"holds other files \(thesis\.txt\); choose another folder"):
            pdc.create_run(spec(), folder=folder)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.txt"]
    begun = tmp_path / "begun"  # by a run that was killed while its folder was made
    begun.mkdir()
    (begun / "status.json").write_text("{}")
    (begun / ".run.yaml.1234.part").write_text("half")
    assert pdc.create_run(spec(), folder=begun) == begun


def test_a_run_is_not_removed_from_within(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = pdc.create_run(spec(), folder=tmp_path / "run")
    (folder / "inner").mkdir()
    for place in (folder, folder / "inner"):
        monkeypatch.chdir(place)
        with pytest.raises(pdc.PDCError, match="is the folder that you are in"):
            worker.remove_run(folder)
    monkeypatch.chdir(tmp_path)
    worker.remove_run(folder)
    assert not folder.exists()
