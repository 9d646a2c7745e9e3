"""Kill runs at random moments, damage their files, resume them, and compare bit for bit with undisturbed runs.

    python benchmarks/kill.py [--moments 20]        # per kind of run; writes results/kill.md

Every second kill is followed by a simulated power cut: one file of the folder is truncated at a random length. Weights,
labels, every loss and accuracy of the history, and the report's numbers must be equal; times and latencies may differ.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # a fork of a process whose OpenMP threads run would wait for them forever
import lightning_fabric  # noqa: F401  imported once here, so that workers, which are forks, start at once
import sklearn.cluster
import sklearn.datasets  # noqa: F401

from pdc_core.export import load
from pdc_core.runs import RunSpec, create_run, newest_checkpoint, read_run, repair_run, run_worker
from pdc_core.train import Training

RESULT = Path(__file__).parent / "results" / "kill.md"
TRAINING: dict[str, Any] = {"epochs": 2, "batch_size": 128, "checkpoint_steps": 2, "augment": 0.5}
CUT = ["last.ckpt", "previous.ckpt", "events.jsonl", "status.json", "history.csv", "labels.npz", "trajectory.npz"]
FORK = multiprocessing.get_context("fork")


def spec(kind: str) -> RunSpec:
    """Return a short run on the digits, of the kind "teach", "distil" or "distil, folded when tied"."""
    if kind == "teach":
        return RunSpec(kind="teach", training=Training(**TRAINING))
    return RunSpec(keep=0.25, training=Training(**TRAINING, tied_after=0.5, fold_when_tied="folded" in kind))


def start(folder: Path) -> Any:
    """Start a worker on a run folder."""
    worker = FORK.Process(target=run_worker, args=(folder,))
    worker.start()
    return worker


def outcome(folder: Path) -> dict[str, Any]:
    """Return everything that must be equal bit for bit."""
    report = json.loads((folder / "report.json").read_text())
    numbers = {
        name: {key: value for key, value in part.items() if key != "latency"}
        for name, part in report.items()
        if isinstance(part, dict)
    }
    return {
        "numbers": numbers,
        "history": [{k: v for k, v in row.items() if k != "seconds"} for row in read_run(folder).events],
        "weights": {n: t.numpy().tobytes() for n, t in load(folder / "folded.safetensors").state_dict().items()},
        "labels": (folder / "labels.npz").read_bytes(),
    }


def kill(kind: str, root: Path, moment: float, chance: random.Random, cut: bool) -> dict[str, Any]:
    """Kill a new run after some seconds, perhaps damage a file, resume it; return what happened."""
    folder = create_run(spec(kind), root=root)
    worker = start(folder)
    time.sleep(moment)
    done = not worker.is_alive()
    if not done:
        os.kill(worker.pid, signal.SIGKILL)
    worker.join()
    reached = read_run(folder).status.get("step", 0)
    damaged = ""
    if cut:
        there = [name for name in CUT if (folder / name).exists()]
        if there:
            damaged = chance.choice(there)
            content = (folder / damaged).read_bytes()
            (folder / damaged).write_bytes(content[: chance.randrange(max(1, len(content)))])
    state, found = read_run(folder).state, newest_checkpoint(folder)
    if state == "done":
        repair_run(folder)  # what `resume` does with a finished run
    else:
        start(folder).join()
    return {
        "kind": kind,
        "moment": moment,
        "reached": reached,
        "damaged": damaged,
        "state": state,
        "from": found[1]["step"] if found else 0,
        "folder": folder,
    }


def main() -> None:
    """Kill, resume, compare, write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--moments", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chance, rows, lines = random.Random(options.seed), [], []
    with tempfile.TemporaryDirectory() as temporary:
        for kind in ("teach", "distil", "distil, folded when tied"):
            root = Path(temporary) / kind.replace(" ", "-")
            whole = create_run(spec(kind), root=root / "whole")
            began = time.monotonic()
            start(whole).join()
            length, expected = time.monotonic() - began, outcome(whole)
            same = 0
            for i in range(options.moments):
                seen = kill(kind, root, chance.uniform(0, length), chance, cut=i % 2 == 1)
                seen["same"] = outcome(seen["folder"]) == expected
                same += seen["same"]
                rows.append(seen)
                print(
                    f"{kind}: killed after {seen['moment']:.2f} s at step {seen['reached']}, "
                    f"{'cut off ' + seen['damaged'] if seen['damaged'] else 'no file damaged'}, was {seen['state']}, "
                    f"went on from step {seen['from']}: {'identical' if seen['same'] else 'DIFFERENT'}",
                    flush=True,
                )
            lines.append(f"| {kind} | {options.moments} | {same} | {length:.1f} s |")
            write(rows, lines, options)
    if not all(row["same"] for row in rows):
        raise SystemExit("Some runs did not end as they would have.")


def write(rows: list[dict[str, Any]], lines: list[str], options: argparse.Namespace) -> None:
    """Write the table of results."""
    steps = [
        f"| {r['kind']} | {r['moment']:.2f} s | {r['reached']} | {r['damaged'] or '–'} | {r['state']} | {r['from']} | "
        f"{'yes' if r['same'] else 'NO'} |"
        for r in rows
    ]
    RESULT.write_text(
        "\n".join(
            [
                "# Runs that are killed",
                "",
                f"Written by `python benchmarks/kill.py --moments {options.moments} --seed {options.seed}`. ResNet-20 "
                "on digits, 2 epochs of 9 steps, a checkpoint after every 2 steps and every epoch. SIGKILL at a "
                "random moment; after every other kill a random file of the folder is cut off at a random length. "
                "Identical: weights, labels, every loss and accuracy of history and report, bit for bit, as in a run "
                "that nobody touched.",
                "",
                "| run | kills | identical afterwards | length of a run |",
                "|---|---|---|---|",
                *lines,
                "",
                "| run | killed after | at step | file cut off | state shown | went on from step | identical |",
                "|---|---|---|---|---|---|---|",
                *steps,
                "",
            ]
        )
    )


if __name__ == "__main__":
    main()
