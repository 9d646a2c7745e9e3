"""What a training step of PDC costs, and what early folding saves: ratios of alternating steps in one run.

    python benchmarks/train.py [--steps 60]     # writes results/train.md
    python benchmarks/train.py --pruner         # only what a Pruner costs in a loop; writes results/train_pruner.md

ResNet-20, random images shaped like CIFAR-10, batches of 128, 0.4 of every inner group kept. The two sides of a ratio
take turns step by step, so that both see the same load on the machine. Ratios are of medians where steps are alike, and
of sums over a whole run otherwise. Peak memory is measured in a separate process per side, minus what it had before the
first step. What a `Pruner` adds to a step is measured in processor time of `optimizer.step()`, all threads together,
which other programs on the machine change less than they change time on the clock.
"""

from __future__ import annotations

import argparse
import copy
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

import pdc_core as pdc
from pdc_core.data import Data, Split
from pdc_core.losses import one_stage_loss
from pdc_core.train import Loop, PDCTask, Recorder, SupervisedTask, Training
from pdc_core.train.teacher import Teacher

RESULT = Path(__file__).parent / "results" / "train.md"
KEEP, BATCH = 0.4, 128


def images(steps: int) -> Data:
    """Return random images for one epoch of that many steps."""
    draw = torch.Generator().manual_seed(0)
    splits = [
        Split(
            torch.randint(0, 256, (n, 3, 32, 32), dtype=torch.uint8, generator=draw),
            torch.randint(0, 10, (n,), generator=draw),
        )
        for n in (steps * BATCH, 2, 2)
    ]
    return Data("random", *splits, tuple("0123456789"), (3, 32, 32), (0.5,) * 3, (0.25,) * 3, shift=4, flip=True)


def network(name: str = "resnet20") -> nn.Module:
    """Return a network with random weights, in eval mode."""
    return pdc.load_model(name, data="cifar10", weights=False)


def clustered(data: Data, name: str = "resnet20", **changes: object) -> Iterator[float]:
    """Yield the seconds of each step of PDC's one stage."""
    plain = {"schedule": "progressive", "tied_after": 0.5, "matching": 0.0}  # the loss of the other side
    settings = Training(epochs=1, batch_size=BATCH, lr=0.02, **(plain | changes))  # type: ignore[arg-type]
    model = network(name)
    graph = pdc.trace(model, torch.zeros(1, 3, 32, 32))
    labels = pdc.assign(model, graph, pdc.Plan.uniform(graph, KEEP))
    return Loop(data, settings, 0, Recorder()).trial(PDCTask(model, graph, labels, settings), 10**9)


def guided(data: Data, name: str = "resnet20") -> Iterator[float]:
    """Yield the seconds of each plain teacher-student step, without clusters and without our loop."""
    student, teacher = network(name).train(), Teacher(network(name), torch.ones(2, 3, 32, 32))
    optimizer = torch.optim.SGD(student.parameters(), 0.02, momentum=0.9, nesterov=True, weight_decay=5e-4)
    for first in range(0, len(data.train), BATCH):
        began = time.perf_counter()
        x, y = data.prepare(data.train.images[first : first + BATCH]), data.train.labels[first : first + BATCH]
        optimizer.zero_grad()
        loss, ce, kd = one_stage_loss(student(x), teacher(x), y, 4.0, 0.5)
        loss.backward()
        optimizer.step()
        torch.stack([loss, ce, kd]).tolist()  # training code reads its losses
        yield time.perf_counter() - began


def taught(data: Data) -> Iterator[float]:
    """Yield the seconds of each step of `teach`."""
    settings = Training(epochs=1, batch_size=BATCH, lr=0.1)
    return Loop(data, settings, 0, Recorder()).trial(SupervisedTask(network(), settings), 10**9)


def bare(data: Data) -> Iterator[float]:
    """Yield the seconds of each step of the shortest loop that teaches a network."""
    for seconds, _ in stepping(data, clock=time.perf_counter):
        yield seconds


def stepping(
    data: Data, schedule: str = "", clock: Callable[[], float] = time.process_time
) -> Iterator[tuple[float, float]]:
    """Yield the seconds of each step of that loop, with a pruner or without, and of `optimizer.step()` in it."""
    model = network().train()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    if schedule:
        example = torch.zeros(1, 3, 32, 32)
        plan = pdc.Plan.uniform(pdc.trace(network(), example), KEEP)
        images = data.prepare(data.train.images[:64])
        given = {"steps": 10**6, "images": images, "schedule": schedule, "merges": 1, "teacher": False}
        pdc.Pruner(model, plan, example, **given).attach(optimizer)  # type: ignore[arg-type]
    for first in range(0, len(data.train), BATCH):
        began = clock()
        x, y = data.prepare(data.train.images[first : first + BATCH]), data.train.labels[first : first + BATCH]
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        before = clock()
        optimizer.step()
        after = clock()
        loss.item()
        yield clock() - began, after - before


def pruner_rows(data: Data, skip: int = 3) -> list[str]:
    """Return what a pruner adds to a step: all of it happens in `optimizer.step()`, of which the medians are compared.

    Whole steps vary by more than the pruner costs where other programs run.
    """
    rows = []
    for schedule, what in (("tied", "all filters tied"), ("merge", "all merged"), ("progressive", "pulled together")):
        pairs = list(zip(stepping(data, schedule), stepping(data), strict=True))[skip:]
        own, whole, other = (
            statistics.median(times) for times in zip(*((a[1], b[0], b[1]) for a, b in pairs), strict=True)
        )
        rows.append(
            f"| a step with a `Pruner`, {what}, against one without | {(whole + own - other) * 1000:,.1f} ms | "
            f"{whole * 1000:,.1f} ms | {1 + (own - other) / whole:.3f} | 1.05 |"
        )
        print(rows[-1], flush=True)
    return rows


def in_turn(one: Iterator[float], other: Iterator[float], skip: int = 3) -> tuple[float, float]:
    """Return the seconds per step of two alternating trials; the first steps are warm-up and do not count."""
    pairs = list(zip(one, other, strict=True))[skip:]
    first, second = (sum(seconds) / len(pairs) for seconds in zip(*pairs, strict=True))
    return first, second


def best_of_turns(one: Iterator[float], other: Iterator[float], skip: int = 3) -> tuple[float, float]:
    """Return the median seconds per step of two alternating trials whose steps are all alike."""
    pairs = list(zip(one, other, strict=True))[skip:]
    first, second = (sorted(seconds)[len(pairs) // 2] for seconds in zip(*pairs, strict=True))
    return first, second


def reclustering() -> tuple[float, float]:
    """Return seconds of clustering every layer of ResNet-56, and of an epoch of 50,000 images of its one stage."""
    model = network("resnet56")
    graph = pdc.trace(model, torch.zeros(1, 3, 32, 32))
    plan = pdc.Plan.uniform(graph, KEEP)
    pdc.assign(model, graph, plan)
    began = time.perf_counter()
    pdc.assign(model, graph, plan)
    once = time.perf_counter() - began
    steps = sorted(list(clustered(images(6), "resnet56"))[1:])
    return once, steps[len(steps) // 2] * 50_000 / BATCH


def memory(side: str) -> int:
    """Return the bytes that a few steps of one side need, in a separate process, on top of what it had before."""
    program = [sys.executable, __file__, "--memory", side]
    done = subprocess.run(program, capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1])


def used() -> int:
    """Return this program's peak memory in bytes, not counting its parent's (Linux)."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) * 1024


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--pruner", action="store_true", help="measure only steps with a Pruner attached")
    parser.add_argument("--memory", choices=["pdc", "plain"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory:
        data = images(4)
        copy.deepcopy(network())(torch.zeros(2, 3, 32, 32))
        before = used()
        for _ in clustered(data, schedule="tied") if options.memory == "pdc" else guided(data):
            pass
        print(used() - before)
        return
    data, rows, load = images(options.steps), [], os.getloadavg()[0]
    if options.pruner:
        path = RESULT.with_name("train_pruner.md")
        write(path, "# What a Pruner costs in a loop", pruner_rows(data), options, load)
        return

    def row(what: str, ours: float, theirs: float, limit: object, unit: str = "ms", scale: float = 1000) -> None:
        ratio = ours / theirs
        rows.append(f"| {what} | {ours * scale:,.1f} {unit} | {theirs * scale:,.1f} {unit} | {ratio:.3f} | {limit} |")
        print(rows[-1], flush=True)

    row("a PDC step against a plain teacher-student step", *best_of_turns(clustered(data), guided(data)), 1.05)
    row("the loop against a bare loop of ten lines (`teach`)", *best_of_turns(taught(data), bare(data)), 1.05)
    rows += pruner_rows(data)
    for ramp, limit in ((0.5, 0.88), (0.3, 0.8)):
        pair = in_turn(clustered(data, tied_after=ramp, fold_when_tied=True), clustered(data, tied_after=ramp), skip=0)
        row(f"a whole run with `fold_when_tied` against one without, tied after {ramp} of it", *pair, limit)
    early = {"fold_when_tied": True, "channels_last": True}
    pair = best_of_turns(clustered(data, schedule="tied", **early), clustered(data, schedule="tied"))
    row("a step after merging at once, by today's defaults, against one not folded and not channels last", *pair, 0.77)
    whole = {"schedule": "tied", "matching": 1.0}
    fast = {**whole, **early, "precision": "bf16-mixed", "compile": True}
    pair = best_of_turns(clustered(data, **fast), clustered(data, **whole))
    row("the same with block outputs compared; ours in bfloat16 and compiled, as in long.py", *pair, "–")
    row("clustering every layer of ResNet-56 against an epoch of 50,000 images", *reclustering(), 0.02, "s", 1)
    peaks = memory("pdc"), memory("plain")
    row("peak memory of PDC steps against plain teacher-student steps", *peaks, "–", "MiB", 2**-20)
    write(RESULT, "# What training costs", rows, options, load)


def write(path: Path, title: str, rows: list[str], options: argparse.Namespace, load: float) -> None:
    """Write a table, and how it was measured."""
    command = f"python benchmarks/train.py {'--pruner ' if options.pruner else ''}--steps {options.steps}"
    lines = [
        title,
        "",
        f"Written by `{command}` on {platform.machine()}, {torch.get_num_threads()} thread(s), torch "
        f"{torch.__version__}; when it began, {load:.1f} processes were at work on {os.cpu_count()} cores. "
        f"ResNet-20, images as of CIFAR-10, batches of {BATCH}, keep {KEEP}. Both sides of a ratio make their steps in "
        "turn, in one process; a whole run is given in time per step. What a `Pruner` adds is the processor time, "
        "of all threads together, that `optimizer.step()` takes more.",
        "",
        "| what | ours | the other | ratio | limit |",
        "|---|---|---|---|---|",
        *rows,
        "",
    ]
    path.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
