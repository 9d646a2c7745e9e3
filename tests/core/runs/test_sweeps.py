"""Sweeps: what is planned, done once, resumed bit for bit, and reported; and what ends them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from filelock import FileLock
from pydantic import ValidationError

import pdc_core as pdc
from pdc_core.runs import (
    Run,
    RunSpec,
    SweepSpec,
    create_run,
    create_sweep,
    list_runs,
    list_sweeps,
    points_of,
    read_run,
    read_sweep,
    request_pause,
    request_stop,
    run_sweep,
    run_worker,
)
from pdc_core.runs.recorder import WeakTeacher
from pdc_core.runs.sweeps import plans, processes, read_sweep_spec, remove_sweep, resume_sweep, seed_means, worker
from pdc_core.train import Stopped

ROOT = Path(__file__).parents[3]
QUICK = {"epochs": 1, "batch_size": 512}  # two steps


@pytest.fixture(autouse=True)
def _without_latencies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pdc_core.train.run.latency", lambda model, example: {1: 0.0})


def planned(**changes: Any) -> SweepSpec:
    return SweepSpec.model_validate({"base": {"training": QUICK}, "keeps": (0.5,), "methods": ("pdc", "l1"), **changes})


def what_came_out(folder: Path) -> dict[str, Any]:
    """Everything that has to be equal to the last bit, and nothing that is a time."""
    report = json.loads((folder / "report.json").read_text())
    numbers = {name: {k: v for k, v in report[name].items() if k != "latency"} for name in ("before", "folded")}
    history = [{k: v for k, v in row.items() if k != "seconds"} for row in read_run(folder).events]
    weights = {name: t.numpy().tobytes() for name, t in pdc.load(folder / "folded.safetensors").state_dict().items()}
    return {"numbers": numbers, "history": history, "weights": weights}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished sweep of two runs; to be read only."""
    folder = create_sweep(planned(), root=tmp_path_factory.mktemp("runs"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pdc_core.train.run.latency", lambda model, example: {1: 0.0})
        run_sweep(folder)
    return folder


def test_runs_are_planned_seed_by_seed_and_widest_first() -> None:
    names = [member.name for member in planned(keeps=(0.125, 0.5), seeds=(1, 0)).members]
    assert names == [
        "pdc-keep0.50-seed1", "l1-keep0.50-seed1", "pdc-keep0.125-seed1", "l1-keep0.125-seed1",
        "pdc-keep0.50-seed0", "l1-keep0.50-seed0", "pdc-keep0.125-seed0", "l1-keep0.125-seed0",
    ]  # fmt: skip
    whole = planned(methods=("whole", "l1"), keeps=(0.5,))
    assert [member.name for member in whole.members] == ["l1-keep0.50-seed0", "whole-seed0"]
    assert [member.name for member in planned(methods=("whole",), keeps=()).members] == ["whole-seed0"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"keeps": (0.5, 1.5)}, "1.5 is not a keep ratio"),
        ({"keeps": ()}, "at least one keep ratio"),
        ({"keeps": (0.5, 0.5)}, "0.5 is there twice"),
        ({"methods": ("pdc", "l3")}, "'l3' is unknown; choose pdc, l1"),
        ({"methods": ()}, "at least one of pdc, l1"),
        ({"seeds": ()}, "at least one number"),
        ({"seeds": (-1,)}, "greater than or equal to 0"),
        ({"rule": "taste"}, "'taste' is unknown; choose"),
        ({"base": {"kind": "teach"}}, "made of distil runs"),
        ({"base": {"budget": "2min"}}, "give images and epochs, not a budget"),
        ({"base": {"modle": "resnet20"}}, "base.modle"),
        ({"base": {"plan": 5}}, "base.plan"),
    ],
)
def test_a_sweep_that_cannot_be_says_why(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError) as error:
        planned(**changes)
    first = error.value.errors()[0]
    assert says in f"{'.'.join(map(str, first['loc']))}: {first['msg']}"


def test_the_plan_file_is_read_back_equal_and_needs_no_entry_of_a_single_run(tmp_path: Path) -> None:
    base = RunSpec(method="l1", keep=0.3, seed=7, data="clothing", residual="shared", training={"epochs": 3})
    spec = SweepSpec(base=base, keeps=(0.5, 0.25), seeds=(0, 1), rule="inertia")
    folder = create_sweep(spec, folder=tmp_path / "a")
    assert read_sweep_spec(folder).model_copy(update={"created": None}) == spec
    written = yaml.safe_load((folder / "sweep.yaml").read_text())
    assert not {"method", "keep", "plan", "seed"} & set(written["base"])
    assert written["base"]["residual"] == "shared"
    with pytest.raises(pdc.PDCError, match="holds a sweep already"):
        create_sweep(spec, folder=folder)
    (folder / "sweep.yaml").write_text((folder / "sweep.yaml").read_text()[:-20])
    with pytest.raises(pdc.PDCError, match="cut off"):
        read_sweep(folder)
    (folder / "sweep.yaml").write_text("format: 99\n")
    with pytest.raises(pdc.PDCError, match="newer version"):
        read_sweep(folder)


def test_every_run_is_done_as_it_would_be_alone_and_only_once(finished: Path, tmp_path: Path) -> None:
    sweep = read_sweep(finished)
    assert (sweep.state, sweep.alive, sweep.progress.done, sweep.progress.eta_seconds) == ("done", False, 2, 0.0)
    assert [run.id for run in sweep.runs] == [f"{sweep.id}/pdc-keep0.50-seed0", f"{sweep.id}/l1-keep0.50-seed0"]
    for run in sweep.runs:
        alone = create_run(RunSpec(method=run.spec.method, keep=0.5, training=QUICK), root=tmp_path)
        run_worker(alone)
        assert what_came_out(alone) == what_came_out(run.folder)
    written = {path: path.stat().st_mtime_ns for path in finished.rglob("report.json")}
    assert len(written) == 2
    assert run_sweep(finished).state == "done"
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("report.json")} == written


def test_runs_of_a_sweep_are_listed_with_it_and_not_among_the_others(finished: Path) -> None:
    root = finished.parent
    assert [sweep.id for sweep in list_sweeps(root)] == [finished.name]
    assert list_runs(root) == []
    points = points_of(read_sweep(finished).runs)
    assert list(points["sweep"]) == [finished.name] * 2
    assert list(points["method"]) == ["pdc", "l1"]
    (pdc_mean, l1_mean) = seed_means(read_sweep(finished))
    assert (pdc_mean.method, pdc_mean.keep, pdc_mean.runs, pdc_mean.of, pdc_mean.spread) == ("pdc", 0.5, 1, 1, None)
    assert l1_mean.accuracy == points["test_accuracy"].iloc[1]
    assert 0.4 < l1_mean.macs_cut < 0.6


KILLED = """
import os, signal, sys, torch
from pdc_core.runs import run_sweep

torch.set_num_threads(int(sys.argv[2]))
import pdc_core.train.run
sys.modules["pdc_core.train.run"].latency = lambda model, example: {1: 0.0}
def show(ended, of, active):
    if ended == 1 and any(step == 1 for step, _ in active.values()):
        os.kill(os.getpid(), signal.SIGKILL)
run_sweep(sys.argv[1], show=show)
"""


def test_a_sweep_that_is_killed_goes_on_where_it_was(finished: Path, tmp_path: Path) -> None:
    folder = create_sweep(planned(), folder=tmp_path / "a")
    command = [sys.executable, "-c", KILLED, str(folder), str(torch.get_num_threads())]
    killed = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=300)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    sweep = read_sweep(folder)
    assert (sweep.state, [run.state for run in sweep.runs]) == ("interrupted", ["done", "interrupted"])
    before = (sweep.runs[0].folder / "report.json").stat().st_mtime_ns
    assert run_sweep(folder).state == "done"
    assert (sweep.runs[0].folder / "report.json").stat().st_mtime_ns == before
    for name in ("pdc-keep0.50-seed0", "l1-keep0.50-seed0"):
        assert what_came_out(folder / name) == what_came_out(finished / name)


def test_a_sweep_that_ends_while_its_folders_are_made_makes_the_rest_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = create_sweep(planned(), folder=tmp_path / "a")
    made: list[Path] = []

    def create(spec: RunSpec, folder: Path) -> Path:
        if made:
            raise KeyboardInterrupt
        made.append(create_run(spec, folder=folder))
        return made[0]

    with monkeypatch.context() as patch:
        patch.setattr(worker, "create_run", create)
        with pytest.raises(KeyboardInterrupt):
            run_sweep(folder)
    assert (read_sweep(folder).state, len(read_sweep(folder).runs)) == ("stopped", 1)
    monkeypatch.setattr(worker, "run_worker", lambda folder, **_: None)
    run_sweep(folder)
    assert len(read_sweep(folder).runs) == 2


def test_a_run_that_fails_is_reported_and_the_others_are_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, said = create_sweep(planned(methods=("l1", "pdc")), folder=tmp_path / "a"), []

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("out of luck")

    with monkeypatch.context() as patch:
        patch.setattr("pdc_core.runs.training.train_baseline", fail)
        sweep = run_sweep(folder, say=said.append)
    assert sweep.state == "failed"
    assert [run.state for run in sweep.runs] == ["failed", "done"]
    assert sweep.failures == {"l1-keep0.50-seed0": "RuntimeError: out of luck"}
    assert sweep.status["message"] == "1 of 2 runs have no result. l1-keep0.50-seed0: RuntimeError: out of luck"
    assert any("out of luck" in sentence for sentence in said)
    assert run_sweep(folder).state == "done", "a failed run is tried again"


def test_a_damaged_run_does_not_end_the_others_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, said = create_sweep(planned(), folder=tmp_path / "a"), []
    damaged = create_run(planned().base.model_copy(update={"keep": 0.5}), folder=folder / "pdc-keep0.50-seed0")
    (damaged / "run.yaml").write_text("kind: distil\n")
    trained: list[Path] = []

    def train(path: Path, **_: Any) -> None:
        read_run(path)
        trained.append(path)

    monkeypatch.setattr(worker, "run_worker", train)
    sweep = run_sweep(folder, say=said.append)
    assert [path.name for path in trained] == ["l1-keep0.50-seed0"]
    assert sweep.state == "failed"
    assert any(sentence.startswith("pdc-keep0.50-seed0 failed:") for sentence in said)


def test_pause_ends_a_sweep_within_its_run_and_it_can_be_resumed(finished: Path, tmp_path: Path) -> None:
    folder = create_sweep(planned(), folder=tmp_path / "a")

    def show(ended: int, of: int, active: Any) -> None:
        if ended == 0 and any(step == 1 for step, _ in active.values()):
            request_pause(folder)

    with pytest.raises(Stopped, match="Paused with 0 of 2 runs done"):
        run_sweep(folder, show=show)
    sweep = read_sweep(folder)
    assert (sweep.state, [run.state for run in sweep.runs]) == ("paused", ["paused", "queued"])
    assert not (folder / "request").exists()
    assert run_sweep(folder).state == "done"
    assert what_came_out(folder / "pdc-keep0.50-seed0") == what_came_out(finished / "pdc-keep0.50-seed0")


def test_stopping_one_run_leaves_the_sweep_at_work(tmp_path: Path) -> None:
    folder = create_sweep(planned(methods=("l1",), keeps=(0.5, 0.25)), folder=tmp_path / "a")

    def show(ended: int, of: int, active: Any) -> None:
        if any(step == 1 for step, _ in active.values()) and ended == 0:
            request_stop(folder / "l1-keep0.50-seed0")

    sweep = run_sweep(folder, show=show)
    assert (sweep.state, [run.state for run in sweep.runs]) == ("failed", ["stopped", "done"])
    assert sweep.status["message"] == "1 of 2 runs have no result: l1-keep0.50-seed0."


def test_a_weak_teacher_ends_a_sweep_at_once(tmp_path: Path) -> None:
    spec = planned(base={"weights": "random", "training": QUICK})
    folder = create_sweep(spec, folder=tmp_path / "a")
    with pytest.raises(WeakTeacher):
        run_sweep(folder)
    sweep = read_sweep(folder)
    assert (sweep.state, [run.state for run in sweep.runs]) == ("failed", ["failed", "queued"])


def test_several_runs_at_once_end_as_one_after_the_other(finished: Path, tmp_path: Path) -> None:
    folder = create_sweep(planned(), folder=tmp_path / "a")
    threads, most = torch.get_num_threads(), []

    def show(ended: int, of: int, active: Any) -> None:
        most.append(len(active))

    torch.set_num_threads(2)
    try:
        sweep = run_sweep(folder, jobs=2, show=show)
    finally:
        torch.set_num_threads(threads)
    assert sweep.state == "done", [(run.folder / "worker.log").read_text() for run in sweep.runs]
    assert max(most) == 2
    for name in ("pdc-keep0.50-seed0", "l1-keep0.50-seed0"):
        alone, beside = (json.loads((path / name / "report.json").read_text()) for path in (finished, folder))
        assert alone["folded"]["macs"] == beside["folded"]["macs"]
        assert alone["folded"]["val_accuracy"] == pytest.approx(beside["folded"]["val_accuracy"], abs=0.02)


def test_a_run_that_another_process_trains_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = create_sweep(planned(), folder=tmp_path / "a")
    first = create_run(planned().base.model_copy(update={"keep": 0.5}), folder=folder / "pdc-keep0.50-seed0")
    other = FileLock(first / "worker.lock", thread_local=False)
    other.acquire()
    trained: list[str] = []

    def train(path: Path, **_: Any) -> None:
        trained.append(path.name)
        threading.Timer(1.0, other.release).start()

    monkeypatch.setattr(worker, "run_worker", train)
    run_sweep(folder)
    assert trained == ["l1-keep0.50-seed0", "pdc-keep0.50-seed0"]


def test_processes_share_cores_and_take_turns_at_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert processes.share_of_machine(0, 1) == {}
    assert processes.share_of_machine(2, 3) == {"OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2"}
    assert processes.share_of_machine(0, 16)["OMP_NUM_THREADS"] == "1"
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [processes.share_of_machine(i, 3)["CUDA_VISIBLE_DEVICES"] for i in range(3)] == ["0", "1", "0"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    assert [processes.share_of_machine(i, 2)["CUDA_VISIBLE_DEVICES"] for i in range(2)] == ["4", "6"]


def test_a_sweep_waits_for_its_turn_and_a_run_for_a_sweep(tmp_path: Path) -> None:
    folder = create_sweep(planned(), folder=tmp_path / "b-sweep")
    run = create_run(RunSpec(keep=0.5, training=QUICK), folder=tmp_path / "c-run")
    request_stop(run)
    with FileLock(folder / "worker.lock"), pytest.raises(Stopped, match="while it waited"):  # the sweep waits too
        run_worker(run, queue=True)
    with FileLock(tmp_path / ".queue.lock"):
        request_stop(folder)
        with pytest.raises(Stopped, match="while it waited"):
            run_sweep(folder, queue=True)
    assert read_sweep(folder).state == "stopped"
    assert read_sweep(folder).runs == ()


@pytest.mark.parametrize("rule", ["inertia", "sensitivity"])
def test_other_rules_save_as_many_macs_as_the_uniform_plan(
    rule: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    spec = planned(keeps=(0.5, 0.2), rule=rule)
    graph, uniform = plans.uniform_plans(spec)
    measured: list[int] = []
    real = plans.sensitivity

    def few(*arguments: Any, **options: Any) -> Any:
        measured.append(1)
        return real(*arguments, **options, images=8, keeps=(0.25,), merge_images=8)

    monkeypatch.setattr(plans, "sensitivity", few)
    found = plans.sweep_plans(spec)
    assert len(measured) == (rule == "sensitivity"), "once for all ratios"
    for keep in (0.5, 0.2):
        macs, wanted = (pdc.plan_cost(graph, each[keep]).macs for each in (found, uniform))
        assert 0.97 * wanted < macs <= wanted
    assert any(found[keep].counts != uniform[keep].counts for keep in (0.5, 0.2))
    assert found[None].counts == uniform[None].counts


def test_what_is_left_is_estimated_from_the_runs_most_like_it(tmp_path: Path) -> None:
    folder = create_sweep(planned(keeps=(0.5, 0.4), seeds=(0, 1)), folder=tmp_path / "a")
    _, known = plans.uniform_plans(read_sweep(folder).spec)
    assert read_sweep(folder).progress.eta_seconds is None
    seconds = {"pdc-keep0.50-seed0": 40.0, "l1-keep0.50-seed0": 20.0}
    network = {"test_accuracy": 1.0, "val_accuracy": 1.0, "macs": 1, "params": 1}
    for member in read_sweep(folder).spec.members:
        run = create_run(read_sweep(folder).spec.run_of(member, known[member.keep]), folder=folder / member.name)
        if member.name in seconds:
            (run / "report.json").write_text(json.dumps({"before": network, "seconds": seconds[member.name]}))
            (run / "status.json").write_text(json.dumps({"state": "done"}))
    at = read_sweep(folder).progress
    assert (at.done, at.total, at.share) == (2, 8, 0.25)
    assert at.eta_seconds == pytest.approx(3 * 40 + 3 * 20)
    status = {"state": "running", "pid": os.getpid(), "step": 3, "steps": 4, "eta_seconds": 25.0}
    (folder / "pdc-keep0.40-seed0" / "status.json").write_text(json.dumps(status))
    with FileLock(folder / "pdc-keep0.40-seed0" / "worker.lock"):
        at = read_sweep(folder).progress
    assert at.eta_seconds == pytest.approx(25 + 100 + 40 + 3 * 20)


def test_a_sweep_at_work_is_not_removed_nor_resumed_twice(finished: Path, tmp_path: Path) -> None:
    folder = create_sweep(planned(), folder=tmp_path / "a")
    with FileLock(folder / "worker.lock"):
        for refused in (remove_sweep, resume_sweep):
            with pytest.raises(pdc.PDCError, match="at work"):
                refused(folder)
        with pytest.raises(pdc.PDCError, match="Another process"):
            run_sweep(folder)
    with pytest.raises(pdc.PDCError, match="nothing left to do"):
        resume_sweep(finished)
    remove_sweep(folder)
    assert not folder.exists()


def test_a_run_is_not_asked_what_a_killed_sweep_was(finished: Path, tmp_path: Path) -> None:
    folder = create_sweep(planned(methods=("l1",)), folder=tmp_path / "a")
    member = create_run(planned().base.model_copy(update={"keep": 0.5}), folder=folder / "l1-keep0.50-seed0")
    request_stop(folder)
    run_worker(member)
    assert isinstance(found := read_run(member), Run)
    assert found.state == "done"
