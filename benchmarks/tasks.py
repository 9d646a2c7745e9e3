"""The `Pruner` in a plain loop against Torch-Pruning's sparse training: a U-Net that segments, and ResNet-20.

    python benchmarks/tasks.py                                  # every task, 3 seeds; writes results/tasks.*
    python benchmarks/tasks.py unet --methods pdc --seeds 0     # part of it; no row is run twice
    python benchmarks/tasks.py --table                          # only write the Markdown table again

Torch-Pruning is not among PDC's requirements: `pip install --no-deps torch-pruning`. Every method starts from the same
trained network, gets the same images, batches, epochs, optimiser and final widths, and so the same MACs:

- `pdc`: a `Pruner` attached to the optimiser for all epochs, its settings as they are, with the teacher's guidance.
- `group_norm`: Torch-Pruning's loop, group-norm regularisation for half the epochs (`pruner.regularize`), then
  `pruner.step()`, then fine-tuning for the other half, on labels alone as its examples do.
- `group_norm_teacher`: the same with the loss that `pdc` has, teacher included.
- `group_norm_pruned`: pruned at once by group norms, then trained for all epochs with that loss. No sparse training.

The strength of the regularisation and whether each half has a learning rate schedule of its own were chosen per task
on validation images with seed 10 (`--choose`), among those in CHOICES; then every method's learning rate among RATES:
on the U-Net 1 and 3, on clothing 0.3 and 1; on digits it is 1.
"""

from __future__ import annotations

import argparse
import copy
import datetime
import functools
import itertools
import math
import platform
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import quality
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import pdc_core as pdc
from pdc_core.data import Split
from pdc_core.losses import comparable_blocks
from pdc_core.pruner import Guidance

RESULTS = Path(__file__).parent / "results"
COLUMNS = ("task", "method", "keep", "seed", "measure", "test", "val", "before", "macs", "macs_before", "seconds")
METHODS, SEEDS = ("pdc", "group_norm", "group_norm_teacher", "group_norm_pruned"), (0, 1, 2)
RATES = (0.3, 1.0, 3.0)  # times the learning rate of the task's optimiser


@dataclass(frozen=True)
class Choice:
    """What a method is given: strength of the regularisation, a schedule for each half, times the learning rate."""

    reg: float = 5e-4
    own: bool = False
    rate: float = 1.0


CHOICES = [Choice(reg, own) for reg in (5e-4, 5e-3, 5e-2) for own in (False, True)]  # Torch-Pruning's examples: 5e-4
SETTINGS = pdc.Training()  # alpha, temperature and matching, as the Pruner has them


@dataclass(frozen=True)
class Task:
    """A trained network, its images and targets, and how it is trained on."""

    model: nn.Module
    train: tuple[Tensor, Tensor]
    val: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    measure: str
    score: Callable[[Tensor, Tensor], float]
    keep: float
    epochs: int
    optimizer: Callable[[nn.Module], torch.optim.Optimizer]
    batch: int = 64
    shift: int = 0  # pixels by which batches are moved, at most

    @functools.cached_property
    def graph(self) -> pdc.ChannelGraph:
        return pdc.trace(self.model, self.train[0][:1])

    @functools.cached_property
    def plan(self) -> pdc.Plan:
        return pdc.Plan.uniform(self.graph, self.keep)

    def evaluate(self, model: nn.Module, part: tuple[Tensor, Tensor]) -> float:
        """Return the score on images and targets."""
        with torch.no_grad():
            model.eval()
            return self.score(torch.cat([model(x) for x in part[0].split(250)]), part[1])

    def batches(self, epochs: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield images and targets in the order of a seed, shifted by a few pixels where the task says so."""
        draw, (x, y) = torch.Generator().manual_seed(seed), self.train
        for _ in range(epochs):
            for chosen in torch.randperm(len(x), generator=draw).split(self.batch):
                if len(chosen) == self.batch:
                    part = x[chosen]
                    if self.shift:
                        dy, dx = torch.randint(-self.shift, self.shift + 1, (2,), generator=draw).tolist()
                        part = part.roll((dy, dx), (2, 3))
                    yield part, y[chosen]

    def steps(self, epochs: int) -> int:
        """Return the steps of some epochs."""
        return epochs * (len(self.train[0]) // self.batch)


class UNet(nn.Module):
    """Three levels; what the way down puts out is read again on the way up. 3x3 convolutions with batch norm."""

    def __init__(self, classes: int = 6, width: int = 12) -> None:
        super().__init__()
        w = width
        self.one, self.two, self.deep = double(1, w), double(w, 2 * w), double(2 * w, 4 * w)
        self.up_two, self.up_one = double(6 * w, 2 * w), double(3 * w, w)
        self.head = nn.Conv2d(w, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        one = self.one(x)
        two = self.two(F.max_pool2d(one, 2))
        deep = F.interpolate(self.deep(F.max_pool2d(two, 2)), scale_factor=2.0)
        up = F.interpolate(self.up_two(torch.cat([two, deep], dim=1)), scale_factor=2.0)
        return self.head(self.up_one(torch.cat([one, up], dim=1)))


def double(before: int, after: int) -> nn.Sequential:
    """Return two convolutions with norms."""
    parts: list[nn.Module] = []
    for inputs in (before, after):
        parts += [nn.Conv2d(inputs, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*parts)


# Background 0, tops 1, trousers 2, dresses 3, shoes 4, bags 5: the ten classes of clothing, by what a pixel shows.
KINDS = torch.tensor([1, 2, 1, 3, 1, 4, 1, 4, 5, 4])


def segments(split: Split, seed: int) -> tuple[Tensor, Tensor]:
    """Return clothes in front of noise under uneven light (n, 1, 28, 28), and the kind of each pixel (n, 28, 28)."""
    draw = torch.Generator().manual_seed(seed)
    clothes, n = split.images.float() / 255, len(split)
    slope = torch.randn(n, 2, 1, 1, 1, generator=draw) * 0.3
    ramp = torch.linspace(-1, 1, 28)
    light = slope[:, 0] * ramp.view(1, 1, 28, 1) + slope[:, 1] * ramp.view(1, 1, 1, 28)
    masks = (clothes[:, 0] > 0.15) * KINDS[split.labels].view(-1, 1, 1)
    return clothes + light + 0.25 * torch.randn(clothes.shape, generator=draw), masks


def mean_iou(logits: Tensor, masks: Tensor) -> float:
    """Return the mean intersection over union of the kinds."""
    found = logits.argmax(dim=1)
    ious = []
    for kind in range(logits.shape[1]):
        a, b = found == kind, masks == kind
        ious.append(float((a & b).sum() / (a | b).sum()))
    return sum(ious) / len(ious)


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Return the share of images whose class is right."""
    return float((logits.argmax(dim=1) == labels).float().mean())


def adam(model: nn.Module) -> torch.optim.Optimizer:
    """Return the U-Net's optimiser."""
    return torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-4)


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    """Return ResNet-20's optimiser, with PDC's defaults."""
    s = SETTINGS
    return torch.optim.SGD(model.parameters(), lr=s.lr, momentum=0.9, nesterov=True, weight_decay=5e-4)


def unet() -> Task:
    """The U-Net on 3,000 images of clothing, trained for 12 epochs; 6 epochs of pruning."""
    data = pdc.load_data("clothing")
    few = Split(data.train.images[:3000], data.train.labels[:3000])
    parts = segments(few, 0), segments(data.val, 1), segments(data.test, 2)
    torch.manual_seed(0)
    task = Task(UNet(), *parts, "mean IoU", mean_iou, 0.5, 6, adam)
    train(task, task.model, lambda x, out, y, progress: F.cross_entropy(out, y), 12, seed=0)
    task.model.eval()
    return task


def resnet20(data: pdc.Data, epochs: int, images: int, shift: int) -> Task:
    """The ResNet-20 that comes with PDC, its inner layers kept at 0.2."""
    parts = [(data.prepare(s.images[:images]), s.labels[:images]) for s in (data.train, data.val, data.test)]
    model = pdc.load_model("resnet20", data.name)
    return Task(model, *parts, "accuracy", accuracy, 0.2, epochs, sgd, SETTINGS.batch_size, shift)


TASKS: dict[str, Callable[[], Task]] = {
    "unet": unet,
    "resnet20-digits": lambda: resnet20(pdc.load_data("digits"), 8, 2000, 1),
    "resnet20-clothing": lambda: resnet20(pdc.load_data("clothing"), 2, 4000, 2),
}
# What `--choose` found best.
CHOSEN: dict[tuple[str, str], Choice] = {
    ("unet", "pdc"): Choice(rate=3.0),
    ("unet", "group_norm"): Choice(5e-4, True, 3.0),
    ("unet", "group_norm_teacher"): Choice(5e-4, True, 3.0),
    ("unet", "group_norm_pruned"): Choice(rate=3.0),
    ("resnet20-digits", "group_norm"): Choice(5e-3),
    ("resnet20-digits", "group_norm_teacher"): Choice(5e-3),
    ("resnet20-clothing", "pdc"): Choice(rate=0.3),
    ("resnet20-clothing", "group_norm_pruned"): Choice(rate=0.3),
    ("resnet20-clothing", "group_norm"): Choice(5e-3),  # not chosen again: as for digits
    ("resnet20-clothing", "group_norm_teacher"): Choice(5e-3),
}
Loss = Callable[[Tensor, Tensor, Tensor, float], Tensor]  # of images, outputs, targets and the progress of the run


def train(
    task: Task, model: nn.Module, loss: Loss, epochs: int, seed: int, run: tuple[float, float] = (0.0, 1.0),
    own_schedule: bool = True, before: Callable[[Any], Any] | None = None, regularize: Callable[[], Any] | None = None,
    rate: float = 1.0,
) -> None:  # fmt: skip
    """Train a network for a stretch `run` of the whole run; the learning rate falls as a cosine of it or of its own."""
    optimizer, steps = task.optimizer(model), task.steps(epochs)
    highest = [rate * group["lr"] for group in optimizer.param_groups]
    if before is not None:
        before(optimizer)
    for step, (x, y) in enumerate(task.batches(epochs, seed)):
        model.train()
        progress = run[0] + (run[1] - run[0]) * step / steps
        at = step / steps if own_schedule else progress
        for group, lr in zip(optimizer.param_groups, highest, strict=True):
            group["lr"] = lr * (1 + math.cos(math.pi * at)) / 2
        optimizer.zero_grad()
        loss(x, model(x), y, progress).backward()
        if regularize is not None:
            regularize()
        optimizer.step()


def by_pdc(task: Task, seed: int, chosen: Choice) -> nn.Module:
    """Return the network that the Pruner folds."""
    model, x = copy.deepcopy(task.model), task.train[0]
    pruner = pdc.Pruner(model, task.plan, x[:1], steps=task.steps(task.epochs), images=x[:512], seed=seed)

    def loss(x: Tensor, out: Tensor, y: Tensor, progress: float) -> Tensor:
        return (1 - SETTINGS.alpha) * F.cross_entropy(out, y) + pruner.guidance(x, out)

    train(task, model, loss, task.epochs, seed, before=pruner.attach, rate=chosen.rate)
    return pruner.fold()


def by_torch_pruning(task: Task, method: str, seed: int, chosen: Choice) -> nn.Module:
    """Return the network that Torch-Pruning makes, with the plan's counts."""
    import torch_pruning as tp

    model, plan, example = copy.deepcopy(task.model), task.plan, task.train[0][:1]
    modules = dict(model.named_modules())
    ratios = {modules[name]: 1 - (k + 1e-6) / plan.sizes[name] for name, k in plan.counts.items()}
    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear) and m not in ratios]
    pruner = tp.pruner.GroupNormPruner(
        model, example, tp.importance.GroupMagnitudeImportance(p=2), pruning_ratio=0.0, pruning_ratio_dict=ratios,
        ignored_layers=layers, round_to=None, reg=chosen.reg,
    )  # fmt: skip
    labels = pdc.assign(task.model, task.graph, plan)  # only to know which blocks keep their channels
    blocks = comparable_blocks(task.model, task.graph, labels)
    guide = Guidance(copy.deepcopy(task.model).eval(), model, task.train[0][:2], blocks, SETTINGS)

    def alone(x: Tensor, out: Tensor, y: Tensor, progress: float) -> Tensor:
        return F.cross_entropy(out, y)

    def guided(x: Tensor, out: Tensor, y: Tensor, progress: float) -> Tensor:
        return (1 - SETTINGS.alpha) * F.cross_entropy(out, y) + guide.loss(x, out, progress)

    loss = alone if method == "group_norm" else guided
    sparse = 0 if method == "group_norm_pruned" else task.epochs // 2
    share = sparse / task.epochs
    if sparse:
        pruner.update_regularizer()
        train(
            task, model, loss, sparse, seed, (0.0, share), chosen.own,
            regularize=lambda: pruner.regularize(model), rate=chosen.rate,
        )  # fmt: skip
    pruner.step()
    counts = {name: modules[name].out_channels for name in plan.counts}
    if counts != plan.counts:
        raise RuntimeError(f"Torch-Pruning kept {counts}, the plan says {plan.counts}")
    train(task, model, loss, task.epochs - sparse, seed + 1000, (share, 1.0), chosen.own, rate=chosen.rate)
    return model


def row(name: str, task: Task, method: str, seed: int, chosen: Choice) -> dict[str, object]:
    """Prune and train once; return a row of the table."""
    torch.manual_seed(seed)
    began, example = time.perf_counter(), task.train[0][:1]
    small = by_pdc(task, seed, chosen) if method == "pdc" else by_torch_pruning(task, method, seed, chosen)
    seconds = time.perf_counter() - began
    return {
        "task": name,
        "method": method,
        "keep": task.keep,
        "seed": seed,
        "measure": task.measure,
        "test": round(task.evaluate(small, task.test), 6),
        "val": round(task.evaluate(small, task.val), 6),
        "before": round(task.evaluate(task.model, task.test), 6),
        "macs": pdc.cost(small, example).macs,
        "macs_before": pdc.cost(task.model, example).macs,
        "seconds": round(seconds, 1),
    }


def table(path: Path) -> str:
    """Return the Markdown table: mean and standard deviation over seeds, in percent."""
    rows = quality.finished(path, COLUMNS)
    lines = [
        "# The Pruner in a loop of one's own, against sparse training",
        "",
        f"Written by `python benchmarks/tasks.py` on {datetime.date.today()}, torch {torch.__version__}, Python "
        f"{platform.python_version()}; what every method is given stands at the head of that file. Test score in "
        "percent after the last epoch, mean ± standard deviation over seeds (n of them). MACs of conv + linear for one "
        "image, which the pruning literature calls FLOPs. Bold: the highest mean of a row.",
        "",
        "| task | before | MACs | " + " | ".join(METHODS) + " |",
        "|---|--:|--:|" + "--:|" * len(METHODS),
    ]
    for name, of_task in rows.groupby("task", sort=False):
        one = of_task.iloc[0]
        means = of_task.groupby("method").test.mean()
        cells = []
        for method in METHODS:
            values = 100 * of_task[of_task.method == method].test
            if values.empty:
                cells.append("not run")
                continue
            deviation = f" ± {values.std():.2f}" if len(values) > 1 else ""
            text = f"{values.mean():.2f}{deviation} ({len(values)})"
            cells.append(f"**{text}**" if means.idxmax() == method else text)
        cut = f"{one.macs_before:,} to {one.macs:,}"
        lines.append(f"| {name}, {one.measure} | {100 * one.before:.2f} | {cut} | " + " | ".join(cells) + " |")
    lines += [
        "",
        "Strength of the regularisation, whether each half of the epochs has a learning rate schedule of its own, and "
        "what the task's learning rate is multiplied by: "
        + "; ".join(f"{' '.join(at)} {c.reg:g}, {'yes' if c.own else 'no'}, {c.rate:g}" for at, c in CHOSEN.items())
        + "; 1 elsewhere. Seconds in the CSV were measured while other programs ran and say nothing about speed.",
    ]
    return "\n".join(lines) + "\n"


def choose(name: str, task: Task) -> None:
    """Print the validation score of sparse training under every choice, then of every method at every rate."""
    best = {method: CHOSEN.get((name, method), Choice()) for method in METHODS}
    for method in ("group_norm", "group_norm_teacher"):
        found = {choice: row(name, task, method, 10, choice)["val"] for choice in CHOICES}
        print(name, method, found, flush=True)
        best[method] = max(found, key=lambda choice: float(str(found[choice])))
    for method, rate in itertools.product(METHODS, RATES):
        tried = replace(best[method], rate=rate)
        print(name, method, tried, row(name, task, method, 10, tried)["val"], flush=True)


def main() -> None:
    """Run what is missing, one row at a time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", help=", ".join(TASKS))
    parser.add_argument("--methods", nargs="*", choices=METHODS, default=METHODS)
    parser.add_argument("--seeds", nargs="*", type=int, default=SEEDS)
    parser.add_argument("--out", type=Path, default=RESULTS / "tasks.csv")
    parser.add_argument("--choose", action="store_true", help="print validation scores of CHOICES and stop")
    parser.add_argument("--table", action="store_true", help="write the Markdown table and stop")
    given = parser.parse_args()
    if unknown := [name for name in given.tasks if name not in TASKS]:
        parser.error(f"there is no task {unknown[0]}; there are {', '.join(TASKS)}")
    for name in [] if given.table else given.tasks or TASKS:
        task = TASKS[name]()
        if given.choose:
            choose(name, task)
            continue
        for seed in given.seeds:
            for method in given.methods:
                rows = quality.finished(given.out, COLUMNS)
                if ((rows.task == name) & (rows.method == method) & (rows.seed == seed)).any():
                    continue
                quality.append(given.out, row(name, task, method, seed, CHOSEN.get((name, method), Choice())))
                print(quality.finished(given.out, COLUMNS).tail(1).to_string(header=False), flush=True)
                given.out.with_suffix(".md").write_text(table(given.out), encoding="utf-8")
    if not given.choose:
        given.out.with_suffix(".md").write_text(table(given.out), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
