"""Accuracy at equal counts, epochs, losses and seeds: PDC against common methods. Writes benchmarks/results/quality.*.

    python benchmarks/quality.py digits                                      # the whole table of a task
    python benchmarks/quality.py cifar10 --data DATA --checkpoints CHECKPOINTS
    python benchmarks/quality.py cifar10 ... --methods pdc l1 --keeps 0.4    # part of it; no row is run twice
    python benchmarks/quality.py --table                                     # only write the Markdown table again

One row per method, keep ratio and seed is appended to the CSV as soon as it is finished, so you can stop at any time.
DATA is a folder with cifar10.npz and fashion_mnist.npz, each with x_train, y_train, x_test and y_test (uint8 images);
CHECKPOINTS holds those of akamaster/pytorch_resnet_cifar10. Every method gets the plan's counts for the inner layers
(the trunk of the residual network stays whole) and the same images, epochs, learning rate and losses. The exception is
`l1_alone`: deletion and fine-tuning on labels without a teacher, as is common practice. `folding` and `folding_bn` are
not trained at all.

CIFAR-10: the published checkpoint has seen all 50,000 training images, so choices were made on test images 0 to 1,999,
reported as val_accuracy; test_accuracy refers to the other 8,000.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import itertools
import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

import pdc_core as pdc
from pdc_core.baselines import METHODS, PruningInput, train_baseline, train_small
from pdc_core.data import Split

RESULTS = Path(__file__).parent / "results"
COLUMNS = ("task", "method", "keep", "seed", "test_accuracy", "val_accuracy", "macs", "params", "seconds")
KEEPS, SEEDS, OUTSIDE_KEEP = (0.4, 0.2, 0.6), (0, 1, 2), 0.4
TRAINED = ("pdc", "l1", "fpgm", "random", "scratch", "l1_alone")
UNTRAINED = ("folding", "folding_bn")
OUTSIDE = ("torch_pruning_l1", "torch_pruning_group")
PUBLISHED = "resnet20-12fca82f.th"
FAST = {"precision": "bf16-mixed", "channels_last": True, "fold_when_tied": True}  # for training; measured in float32


@dataclass(frozen=True)
class Task:
    """A network, its data and how every method is trained on it."""

    name: str
    model: nn.Module
    data: pdc.Data
    settings: pdc.Training


def digits(folder: Path | None, checkpoints: Path | None) -> Task:
    """ResNet-20 on the digits that come with PDC, 8 epochs."""
    return Task("digits", pdc.load_model("resnet20"), pdc.load_data("digits"), pdc.Training.for_data("digits"))


def cifar10_images(folder: Path, images: int) -> pdc.Data:
    """Some of CIFAR-10's training images; the first 2,000 test images to choose, the others to measure on."""
    arrays = np.load(folder / "cifar10.npz")
    chosen = np.sort(np.random.RandomState(0).permutation(50_000)[:images])

    def split(part: str, index: np.ndarray | slice) -> Split:
        x = np.ascontiguousarray(arrays[f"x_{part}"][index].transpose(0, 3, 1, 2))
        return Split(torch.from_numpy(x), torch.from_numpy(arrays[f"y_{part}"][index].astype(np.int64)))

    info = pdc.describe_data("cifar10")
    return pdc.Data(
        "cifar10",
        train=split("train", chosen),
        val=split("test", slice(0, 2000)),
        test=split("test", slice(2000, None)),
        classes=info.classes,
        shape=info.shape,
        mean=info.mean,
        std=info.std,
        shift=4,
        flip=True,
    )


def cifar10(folder: Path | None, checkpoints: Path | None, images: int = 20_000, epochs: int = 2) -> Task:
    """The published ResNet-20, some of CIFAR-10's training images, two short epochs."""
    if folder is None or checkpoints is None:
        raise SystemExit("CIFAR-10 needs --data and --checkpoints.")
    data, model = cifar10_images(folder, images), pdc.load_model("resnet20", "cifar10", weights=checkpoints / PUBLISHED)
    return Task("cifar10", model, data, pdc.Training.for_data("cifar10", epochs=epochs, **FAST))


def cifar10_full(folder: Path | None, checkpoints: Path | None) -> Task:
    """All 50,000 training images, four epochs."""
    return replace(cifar10(folder, checkpoints, 50_000, 4), name="cifar10-full")


def as_shipped(name: str, folder: Path) -> pdc.Data:
    """A data set of torchvision's from a folder of npz files, split as for the network that comes with PDC."""
    info = pdc.describe_data(name)  # `load_data` holds the same images back, wherever it reads them from
    data = pdc.load_data(f"npz:{folder / name}.npz", mean=info.mean, std=info.std)
    shift = 2 if name == "fashion_mnist" else 4
    return replace(data, name=info.name, classes=info.classes, shift=shift, flip=True)


def fashion_mnist(folder: Path | None, checkpoints: Path | None) -> Task:
    """The ResNet-20 for Fashion-MNIST that comes with PDC, 20,000 training images, two epochs."""
    if folder is None:
        raise SystemExit("Fashion-MNIST needs --data.")
    data = as_shipped("fashion_mnist", folder)
    chosen = torch.from_numpy(np.sort(np.random.RandomState(0).permutation(len(data.train))[:20_000]))
    data = replace(data, train=Split(data.train.images[chosen], data.train.labels[chosen]))
    model = pdc.load_model("resnet20", "fashion_mnist")
    return Task("fashion_mnist", model, data, pdc.Training.for_data("fashion_mnist", epochs=2, **FAST))


TASKS: dict[str, Callable[[Path | None, Path | None], Task]] = {
    "digits": digits,
    "cifar10": cifar10,
    "fashion_mnist": fashion_mnist,
    "cifar10-full": cifar10_full,
}


def compressed(task: Task, method: str, keep: float, seed: int) -> nn.Module:
    """Return the small network that a method makes and trains."""
    graph = pdc.trace(task.model, torch.zeros(1, *task.data.shape))
    plan = pdc.Plan.uniform(graph, keep)
    if method in UNTRAINED:
        return METHODS[method](PruningInput(task.model, graph, plan, task.data, seed))
    if method == "pdc":
        return pdc.distil(task.model, plan, task.data, seed=seed, settings=task.settings).folded
    if method in OUTSIDE:
        small = pruned_by_torch_pruning(method, task.model, graph, plan)
        return train_small(small, task.model, plan, task.data, seed=seed, settings=task.settings).folded
    alone = {"alpha": 0.0, "matching": 0.0, "attention": 0.0} if method == "l1_alone" else {}
    settings = task.settings.model_copy(update=alone)
    name = method.removesuffix("_alone")
    return train_baseline(name, task.model, plan, task.data, seed=seed, settings=settings).folded


def row(task: Task, method: str, keep: float, seed: int) -> dict[str, object]:
    """Compress and train once; return a row of the table."""
    began = time.perf_counter()
    small = compressed(task, method, keep, seed)
    seconds, price = time.perf_counter() - began, pdc.cost(small, torch.zeros(1, *task.data.shape))
    return {
        "task": task.name,
        "method": method,
        "keep": keep,
        "seed": seed,
        "test_accuracy": round(pdc.evaluate(small, task.data, task.data.test).accuracy, 6),
        "val_accuracy": round(pdc.evaluate(small, task.data, task.data.val).accuracy, 6),
        "macs": price.macs,
        "params": price.params,
        "seconds": round(seconds, 1),
    }


def pruned_by_torch_pruning(method: str, model: nn.Module, graph: pdc.ChannelGraph, plan: pdc.Plan) -> nn.Module:
    """Prune with another library to the plan's counts, leaving out the trunk; norm statistics stay as they are."""
    import copy

    import torch_pruning as tp

    small, example = copy.deepcopy(model), torch.zeros(1, *graph.input_shape)
    modules = dict(small.named_modules())
    ratios = {modules[name]: 1 - (k + 1e-6) / plan.sizes[name] for name, k in plan.counts.items()}
    layers = [m for m in small.modules() if isinstance(m, nn.Conv2d | nn.Linear) and m not in ratios]
    kind, importance = (
        (tp.pruner.MagnitudePruner, tp.importance.MagnitudeImportance(p=1))
        if method == "torch_pruning_l1"
        else (tp.pruner.GroupNormPruner, tp.importance.GroupMagnitudeImportance(p=2))
    )
    kind(
        small, example, importance, pruning_ratio=0.0, pruning_ratio_dict=ratios, ignored_layers=layers, round_to=None
    ).step()
    counts = {name: modules[name].out_channels for name in plan.counts}
    if counts != plan.counts:
        raise RuntimeError(f"Torch-Pruning kept {counts}, the plan says {plan.counts}")
    return small.eval()


def wanted(methods: list[str] | None, keeps: list[float] | None, seeds: list[int] | None) -> list[tuple]:
    """Return (method, keep, seed) in the order of running: the main comparison first."""
    every = [*TRAINED, *UNTRAINED, *OUTSIDE]
    chosen = [m for m in every if methods is None or m in methods]
    cells = list(itertools.product(SEEDS if seeds is None else seeds, KEEPS if keeps is None else keeps))
    first = [m for m in ("pdc", "l1") if m in chosen]
    order = [(m, k, s) for s, k in cells for m in first]
    order += [(m, k, s) for m in chosen if m not in first for s, k in cells]
    return [(m, k, s) for m, k, s in order if m not in OUTSIDE or k == OUTSIDE_KEEP]


def finished(path: Path, columns: Sequence[str] = COLUMNS) -> pd.DataFrame:
    """Return the rows measured so far; where there is no file yet, an empty table with these columns."""
    return pd.read_csv(path) if path.exists() else pd.DataFrame(columns=list(columns))


def append(path: Path, values: dict[str, object]) -> None:
    """Append one row, with the header if the file is new."""
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(values), lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(values)


def cell(percents: pd.Series, best: bool) -> str:
    """Return a cell of a table: mean ± standard deviation (how many), bold where it is the best of its column."""
    if percents.empty:
        return "not run"
    deviation = f" ± {percents.std():.2f}" if len(percents) > 1 else ""
    text = f"{percents.mean():.2f}{deviation} ({len(percents)})"
    return f"**{text}**" if best else text


def table(path: Path) -> str:
    """Return the Markdown table: mean and standard deviation over seeds, in percent."""
    rows = finished(path)
    lines = [
        "# Accuracy at equal counts, epochs, losses and seeds",
        "",
        f"Written by `python benchmarks/quality.py` on {datetime.date.today()}, torch {torch.__version__}, Python "
        f"{platform.python_version()}; what every row is given stands at the head of that file. Test accuracy in "
        "percent at the last epoch, mean ± standard deviation over seeds (n of them); MACs of conv + linear for one "
        "image, which the pruning literature calls FLOPs. Bold: the highest mean of a column.",
    ]
    for task, of_task in rows.groupby("task", sort=False):
        keeps = sorted(of_task.keep.unique(), reverse=True)
        sizes = {keep: of_task[of_task.keep == keep].iloc[0] for keep in keeps}
        lines += [
            "",
            f"## {task}",
            "",
            "| method | "
            + " | ".join(f"keep {k:g} ({size.macs:,} MACs, {size.params:,} parameters)" for k, size in sizes.items())
            + " |",
        ]
        lines.append("|---|" + "--:|" * len(keeps))
        means = of_task.groupby(["keep", "method"]).test_accuracy.mean()
        for method in [m for m in (*TRAINED, *UNTRAINED, *OUTSIDE) if m in set(of_task.method)]:
            cells = []
            for keep in keeps:
                values = 100 * of_task[(of_task.method == method) & (of_task.keep == keep)].test_accuracy
                cells.append(cell(values, len(values) > 0 and means[keep].idxmax() == method))
            lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run what is missing, one row at a time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", help=", ".join(TASKS))
    parser.add_argument("--data", type=Path, help="folder of npz files")
    parser.add_argument("--checkpoints", type=Path, help="folder of published checkpoints")
    parser.add_argument("--methods", nargs="*", choices=[*TRAINED, *UNTRAINED, *OUTSIDE])
    parser.add_argument("--keeps", nargs="*", type=float)
    parser.add_argument("--seeds", nargs="*", type=int)
    parser.add_argument("--out", type=Path, default=RESULTS / "quality.csv")
    parser.add_argument("--table", action="store_true", help="write the Markdown table and stop")
    given = parser.parse_args()
    if unknown := [name for name in given.tasks if name not in TASKS]:
        parser.error(f"there is no task {unknown[0]}; there are {', '.join(TASKS)}")
    for name in [] if given.table else given.tasks:
        task = TASKS[name](given.data, given.checkpoints)
        for method, keep, seed in wanted(given.methods, given.keeps, given.seeds):
            rows = finished(given.out)
            if ((rows.task == name) & (rows.method == method) & (rows.keep == keep) & (rows.seed == seed)).any():
                continue
            append(given.out, row(task, method, keep, seed))
            print(finished(given.out).tail(1).to_string(header=False), flush=True)
            given.out.with_suffix(".md").write_text(table(given.out), encoding="utf-8")
    given.out.with_suffix(".md").write_text(table(given.out), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
