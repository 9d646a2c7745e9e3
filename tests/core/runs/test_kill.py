"""A run that is killed goes on and ends bit for bit as one that was not: four moments, and two processes at once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import pdc_core as pdc
from pdc_core.runs import RunSpec, run_worker
from pdc_core.train import Training

ROOT = Path(__file__).parents[3]
TRAINING = Training(epochs=2, batch_size=256, tied_after=0.5, checkpoint_steps=2)  # ten steps, tied from the fifth on

# What a worker does to itself: SIGKILL after a step, or in the middle of writing its n-th checkpoint.
WORKER = """
import os, signal, sys, torch
from pathlib import Path
from pdc_core.runs import checkpoint, run_worker

folder, moment, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
torch.set_num_threads(int(sys.argv[4]))
die = lambda: os.kill(os.getpid(), signal.SIGKILL)
writes = 0

def half_written(path, target):
    global writes
    writes += path.name.startswith(".last.ckpt.")
    if writes == count:
        path.write_bytes(path.read_bytes()[:5000])
        die()
    return os.replace(path, target)

if moment == "checkpoint":
    Path.replace = half_written
run_worker(folder, show=lambda step, steps: die() if moment == "step" and step == count else None)
"""


def new_run(folder: Path) -> Path:
    graph = pdc.trace(pdc.load_model("resnet20"), torch.zeros(1, 1, 8, 8))
    return pdc.create_run(RunSpec(plan=pdc.Plan.uniform(graph, 0.25), training=TRAINING), folder=folder)


def what_came_out(folder: Path) -> dict[str, Any]:
    """Everything that has to be equal to the last bit, and nothing that is a time."""
    report = json.loads((folder / "report.json").read_text())
    numbers = {name: {k: v for k, v in report[name].items() if k != "latency"} for name in ("before", "folded", "best")}
    history = [{k: v for k, v in row.items() if k != "seconds"} for row in pdc.read_run(folder).events]
    weights = {name: t.numpy().tobytes() for name, t in pdc.load(folder / "folded.safetensors").state_dict().items()}
    return {"numbers": numbers, "history": history, "weights": weights, "labels": (folder / "labels.npz").read_bytes()}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = new_run(tmp_path_factory.mktemp("kill") / "whole")
    run_worker(folder)
    return what_came_out(folder)


@pytest.mark.parametrize(
    ("moment", "count"),
    [("step", 1), ("checkpoint", 2), ("step", 3), ("step", 7)],
    ids=["after the first step", "during a checkpoint", "before the filters are tied", "after they are tied"],
)
def test_a_run_killed_at_any_moment_ends_as_if_nothing_had_happened(
    tmp_path: Path, uninterrupted: dict[str, Any], moment: str, count: int
) -> None:
    folder = new_run(tmp_path / "run")
    worker = subprocess.run(
        [sys.executable, "-c", WORKER, str(folder), moment, str(count), str(torch.get_num_threads())],
        cwd=ROOT,
        capture_output=True,
        timeout=300,
    )
    assert worker.returncode == -signal.SIGKILL, worker.stderr.decode()
    assert pdc.read_run(folder).state == "interrupted"
    run_worker(folder)  # at once: a killed owner leaves no lock behind
    assert what_came_out(folder) == uninterrupted


TWO = """
import atexit, hashlib, os, sys
from pathlib import Path
from pdc_core.train import PDCTask

after_step, seen = PDCTask.after_step, []

def digest(stage, progress):
    after_step(stage, progress)
    state = stage.student.state_dict().values()
    seen.append(hashlib.sha256(b"".join(t.numpy().tobytes() for t in state)).hexdigest())

PDCTask.after_step = digest
folder = Path(sys.argv[1])
atexit.register(lambda: (folder / f"rank{os.environ['RANK']}").write_text("\\n".join(seen)))
sys.argv = ["pdc", "run", str(folder)]
from pdc_core.cli import main
main()
"""


def test_two_processes_stay_equal_and_end_like_one(tmp_path: Path, uninterrupted: dict[str, Any]) -> None:
    folder, program = new_run(tmp_path / "run"), tmp_path / "two.py"
    program.write_text(TWO)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(program)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"}
    done = subprocess.run(
        [*launcher, str(folder)], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    ranks = [(folder / f"rank{rank}").read_text().split("\n") for rank in (0, 1)]
    assert len(ranks[0]) == 10
    assert ranks[0] == ranks[1]  # every weight and statistic, after every reconstruct
    two = what_came_out(folder)
    assert two["labels"] == uninterrupted["labels"]
    for name in ("before", "folded"):
        for split in ("val_accuracy", "test_accuracy"):
            away = abs(two["numbers"][name][split] - uninterrupted["numbers"][name][split])
            assert away <= (0.0 if name == "before" else 0.05)  # 18 images of 360
    losses = [[row["loss"] for row in run["history"] if row["kind"] == "train"] for run in (two, uninterrupted)]
    assert losses[0][0] == pytest.approx(losses[1][0], rel=0.5)  # the same images; batch norm sees half of them
