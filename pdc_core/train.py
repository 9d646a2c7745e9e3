"""The one-stage loop: train, reconstruct at every step, fold at the end. Also the plain loop that teaches a network.

Runs on Lightning Fabric. Writes nothing itself: it tells a `Recorder` what happens and asks it whether to stop.
Batch order and augmentation derive from (seed, epoch, step), so a run can go on from any checkpoint.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from pdc_core.cluster import Labels, assign
from pdc_core.cost import Cost, cost, latency, plan_cost
from pdc_core.data import Data, Split
from pdc_core.distil import one_stage_loss
from pdc_core.errors import PDCError
from pdc_core.fold import check_equal, fold
from pdc_core.graph import trace
from pdc_core.plan import Plan
from pdc_core.reconstruct import SCHEDULES, Tie, spread, tie


class Training(BaseModel):
    """The settings of a run. Plain defaults are those chosen for digits, on validation images and seeds 3 to 8.

    Attributes
    ----------
    epochs, batch_size : passes over the training images, images a step.
    lr, momentum, weight_decay : of SGD with Nesterov momentum; the learning rate falls as a cosine to 0.
    temperature, alpha : T and alpha of the loss (`distil.one_stage_loss`).
    schedule, ramp : how the strength rises, and after which share of the run the filters are tied.
    weights : how filters count in a centroid, by their squared norm or uniformly.
    augment : share of the images of a step that are augmented (see `data`). A short distillation on digits does
        better without: 8 epochs are too few to learn the moved images as well.
    accelerator : where to train, as Lightning Fabric names it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(8, ge=1, le=100_000)
    batch_size: int = Field(32, ge=2)
    lr: float = Field(0.05, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(5e-4, ge=0)
    temperature: float = Field(4.0, gt=0)
    alpha: float = Field(0.5, ge=0, le=1)
    schedule: Literal["progressive", "tied"] = "progressive"
    ramp: float = Field(0.5, gt=0, le=1)
    weights: Literal["norm", "uniform"] = "norm"
    augment: float = Field(0.0, ge=0, le=1)
    accelerator: str = "auto"

    @classmethod
    def for_data(cls, data: str, **changes: Any) -> Training:
        """Return the defaults of `distil` for a data set: digits its own, every other one those of CIFAR-10."""
        known = {} if data == "digits" else {"lr": 0.02, "batch_size": 128, "augment": 1.0}
        return cls(**{**known, **changes})

    @classmethod
    def for_teaching(cls, **changes: Any) -> Training:
        """Return the defaults of `teach`: more epochs, a larger first step, every image augmented."""
        return cls(**{"epochs": 30, "lr": 0.1, "batch_size": 64, "augment": 1.0, **changes})


class Stopped(Exception):
    """Raised inside the loop when the recorder was asked to stop; what was recorded stays."""


class Recorder:
    """What a training loop tells, and asks. This one keeps nothing; `runs.FolderRecorder` writes a run folder."""

    def event(self, record: dict[str, Any]) -> None:
        """Take one line of history."""

    def progress(self, step: int, steps: int, epoch: int, epochs: int) -> None:
        """Take note that `step` of `steps` is done."""

    def labels(self, labels: Labels) -> None:
        """Take the labels as soon as they are known."""

    def stopping(self) -> bool:
        """Return whether somebody asked to stop."""
        return False

    def checkpoint(self, state: Callable[[], dict[str, Any]]) -> None:
        """Take what is enough to go on from here; `state` makes it when called."""

    def resume(self) -> dict[str, Any] | None:
        """Return the state to go on from, or None to begin."""
        return None


@dataclass(frozen=True)
class Evaluation:
    """Top-1 accuracy (0 to 1), mean cross entropy, and the predicted class of every example."""

    accuracy: float
    loss: float
    predictions: Tensor


@dataclass(frozen=True)
class Result:
    """What a run leaves behind.

    Attributes
    ----------
    folded : the small network, eval mode. After `teach`, the taught one.
    reconstructed : the same function at full width, its filters tied.
    labels : {group name: int array (n,)}.
    history : one dict per recorded step and per evaluation, in order.
    report : accuracies, MACs, parameters and latency before, reconstructed and folded, and how the last two agree.
    """

    folded: nn.Module
    reconstructed: nn.Module
    labels: Labels
    history: list[dict[str, Any]] = field(repr=False)
    report: dict[str, Any] = field(repr=False)


@torch.inference_mode()
def evaluate(model: nn.Module, data: Data, split: Split, batch_size: int = 512) -> Evaluation:
    """Measure a network in eval mode on one split, on the network's device.

    Raises
    ------
    PDCError
        The split is empty, the network is in train mode, or it gives another number of classes than the data has.
    """
    if len(split) == 0:
        raise PDCError(f"There is no image to measure with: this split of {data.name} is empty.")
    if model.training:
        raise PDCError("The network is in train mode; call model.eval() before measuring it.")
    device = next(model.parameters()).device
    logits = torch.cat([model(data.prepare(x.to(device))).float() for x in split.images.split(batch_size)])
    if logits.dim() != 2 or logits.shape[1] < len(data.classes):
        raise PDCError(
            f"The network gives outputs of shape {tuple(logits.shape[1:])} for the {len(data.classes)} classes of "
            f"{data.name}; load one that was built for this data."
        )
    y = split.labels.to(device)
    predictions = logits.argmax(dim=1)
    return Evaluation(float((predictions == y).float().mean()), float(F.cross_entropy(logits, y)), predictions.cpu())


def distil(
    model: nn.Module,
    plan: Plan,
    data: Data,
    *,
    epochs: int = 8,
    seed: int = 0,
    settings: Training | None = None,
    recorder: Recorder | None = None,
) -> Result:
    """Run PDC's single stage: cluster, train under the teacher while filters are pulled together, fold. No fine-tuning.

    Parameters
    ----------
    model : the trained network, in eval mode. It is the teacher and the student's start, and is not changed.
    plan : clusters kept per group.
    data : training, validation and test images. The test split is looked at once, at the end.
    epochs : passes over the training images; ignored when `settings` are given.
    seed : of the clustering, the batch order and the augmentation.
    settings : everything, see `Training`; by default those for the data set.
    recorder : told what happens; by default nobody is.

    Raises
    ------
    PDCError
        The plan does not fit the network, the data is empty or has other classes, or the loss stops being finite.

    Source: Niu et al., Image and Vision Computing 2023 (doi 10.1016/j.imavis.2023.104743), its abstract. Clustering
    vectors, schedule, ties of the norms and loss weights are our choice.
    """
    settings = settings or Training.for_data(data.name, epochs=epochs)
    recorder = recorder or Recorder()
    started = time.perf_counter()
    example = torch.zeros(1, *data.shape)
    teacher = copy.deepcopy(model).eval().requires_grad_(False)
    graph = trace(teacher, example, residual=plan.residual)
    labels = assign(teacher, graph, plan, seed=seed)
    recorder.labels(labels)
    before = _measured(teacher, data, cost(teacher, example))
    student = copy.deepcopy(model)
    loop = _Loop(student, data, settings, seed, recorder)
    teacher = teacher.to(loop.device)
    ties = tie(student, graph, labels, settings.weights)  # after the loop has moved the student to its device

    def loss(x: Tensor, y: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            z_t = teacher(x)
        total, ce, kd = one_stage_loss(loop.network(x), z_t, y, settings.temperature, settings.alpha)
        return {"loss": total, "ce": ce, "kd": kd}

    loop.run(loss, ties)
    student = student.to("cpu").eval()
    for each in tie(student, graph, labels, settings.weights):
        each.apply_(1.0)  # the last operation before folding is always a hard reconstruct
    small = fold(student, graph, labels)
    check = check_equal(student, small, data.prepare(data.test.images))
    report = {
        "before": before,
        "reconstructed": _measured(student, data, cost(student, example)),
        "folded": _measured(small, data, plan_cost(graph, plan)),
        "max_abs_diff": check.max_abs_diff,
        "relative_diff": check.relative,
        "same_predictions": check.same_predictions,
        "residual": plan.residual,
        "widths": [
            {"name": a.name, "before": a.out_channels, "after": b.out_channels}
            for a, b in zip(graph.layers, plan_cost(graph, plan).layers, strict=True)
        ],
    }
    networks = {"before": teacher.to("cpu"), "reconstructed": student, "folded": small}
    _add_latencies_(report, networks, example)
    report["seconds"] = time.perf_counter() - started
    return Result(small, student, labels, loop.history, report)


def teach(
    model: nn.Module,
    data: Data,
    *,
    epochs: int = 30,
    seed: int = 0,
    settings: Training | None = None,
    recorder: Recorder | None = None,
) -> Result:
    """Train a network from its present weights on labels alone; `model` itself is not changed.

    Parameters and errors are those of `distil`, without a plan and a teacher.
    """
    settings = settings or Training.for_teaching(epochs=epochs)
    recorder = recorder or Recorder()
    started = time.perf_counter()
    example = torch.zeros(1, *data.shape)
    student = copy.deepcopy(model)
    price = cost(student, example)
    before = _measured(student.eval(), data, price)
    loop = _Loop(student, data, settings, seed, recorder)

    def loss(x: Tensor, y: Tensor) -> dict[str, Tensor]:
        ce = F.cross_entropy(loop.network(x), y)
        return {"loss": ce, "ce": ce}

    loop.run(loss, ties=[])
    student = student.to("cpu").eval()
    report: dict[str, Any] = {"before": before, "taught": _measured(student, data, price)}
    _add_latencies_(report, {"before": student, "taught": student}, example)  # one architecture
    report["seconds"] = time.perf_counter() - started
    return Result(student, student, {}, loop.history, report)


def _measured(model: nn.Module, data: Data, price: Cost) -> dict[str, Any]:
    return {
        "test_accuracy": evaluate(model, data, data.test).accuracy,
        "val_accuracy": evaluate(model, data, data.val).accuracy,
        "macs": price.macs,
        "params": price.params,
    }


def _add_latencies_(report: dict[str, Any], networks: dict[str, nn.Module], example: Tensor) -> None:
    """Measure the networks of a report one right after the other, so that they meet the same machine."""
    for name, model in networks.items():
        report[name]["latency"] = {str(batch): seconds for batch, seconds in latency(model, example).items()}


class _Loop:
    """Epochs of SGD with a hook after every step: the part that `distil` and `teach` share."""

    def __init__(self, student: nn.Module, data: Data, settings: Training, seed: int, recorder: Recorder) -> None:
        from lightning_fabric import Fabric

        if len(data.train) < 2:
            raise PDCError(f"{data.name} has {len(data.train)} training images; training needs at least 2.")
        self.data, self.settings, self.seed, self.recorder = data, settings, seed, recorder
        self.fabric = Fabric(accelerator=settings.accelerator, devices=1)
        self.student = student.to(self.fabric.device)
        optimizer = torch.optim.SGD(
            student.parameters(),
            lr=settings.lr,
            momentum=settings.momentum,
            nesterov=settings.momentum > 0,
            weight_decay=settings.weight_decay,
        )
        self.network, self.optimizer = self.fabric.setup(student, optimizer)
        self.device = self.fabric.device
        self.batches = _batches(len(data.train), settings.batch_size)
        self.steps = settings.epochs * self.batches
        self.history: list[dict[str, Any]] = []

    def run(self, loss: Callable[[Tensor, Tensor], dict[str, Tensor]], ties: list[Tie]) -> None:
        """Train for all epochs, from the recorder's checkpoint if it has one."""
        schedule = SCHEDULES[self.settings.schedule]
        first = self._restore()
        for epoch in range(first, self.settings.epochs):
            began, sums = time.perf_counter(), 0.0
            self.student.train()
            order = torch.randperm(len(self.data.train), generator=_generator(self.seed, epoch))
            for i in range(self.batches):
                step = epoch * self.batches + i
                if self.recorder.stopping():
                    raise Stopped(f"Stopped at step {step} of {self.steps}.")
                parts = self._step(step, order[i * self.settings.batch_size : (i + 1) * self.settings.batch_size], loss)
                strength = schedule((step + 1) / self.steps, self.settings.ramp) if ties else 0.0
                for each in ties:
                    each.apply_(strength)
                sums += parts["loss"]
                if step % max(1, self.steps // 100) == 0 or step == self.steps - 1:
                    row = {
                        "epoch": (step + 1) / self.batches,
                        "strength": strength,
                        "lr": self._lr(step),
                        "deviation": spread(ties),
                    }
                    self._event({"kind": "train", "step": step + 1, **parts, **row})
                self.recorder.progress(step + 1, self.steps, epoch + 1, self.settings.epochs)
            self.student.eval()
            measured = evaluate(self.student, self.data, self.data.val)
            self._event(
                {
                    "kind": "evaluation",
                    "step": (epoch + 1) * self.batches,
                    "epoch": epoch + 1,
                    "val_accuracy": measured.accuracy,
                    "val_loss": measured.loss,
                    "train_loss": sums / self.batches,
                    "strength": strength,
                    "deviation": spread(ties),
                    "seconds": time.perf_counter() - began,
                }
            )
            self.recorder.checkpoint(lambda done=epoch + 1: self._state(done))  # type: ignore[misc]

    def _step(self, step: int, chosen: Tensor, loss: Callable[[Tensor, Tensor], dict[str, Tensor]]) -> dict[str, float]:
        x = self.data.prepare(self._images(step, chosen).to(self.device))
        y = self.data.train.labels[chosen].to(self.device)
        for group in self.optimizer.param_groups:
            group["lr"] = self._lr(step)
        self.optimizer.zero_grad(set_to_none=True)
        parts = loss(x, y)
        values = {name: float(part.detach()) for name, part in parts.items()}
        if not math.isfinite(values["loss"]):
            raise PDCError(
                f"The loss is {values['loss']} at step {step + 1} with learning rate {self._lr(step):.2g}; "
                "start again with a smaller learning rate."
            )
        self.fabric.backward(parts["loss"])
        self.optimizer.step()
        return values

    def _images(self, step: int, chosen: Tensor) -> Tensor:
        """Return a batch of training images, a share of them augmented; a function of (seed, step) alone."""
        images, generator = self.data.train.images[chosen], _generator(self.seed, step, 1)
        moved = self.data.augment(images, generator)
        pick = torch.rand(len(images), generator=generator) < self.settings.augment
        return torch.where(pick[:, None, None, None], moved, images)

    def _lr(self, step: int) -> float:
        return self.settings.lr * 0.5 * (1 + math.cos(math.pi * step / self.steps))

    def _event(self, record: dict[str, Any]) -> None:
        self.history.append(record)
        self.recorder.event(record)

    def _state(self, epoch: int) -> dict[str, Any]:
        return {
            "epoch": epoch,
            "model": self.student.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "history": copy.deepcopy(self.history),
        }

    def _restore(self) -> int:
        state = self.recorder.resume()
        if state is None:
            return 0
        self.student.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.history = list(state["history"])
        return int(state["epoch"])


def _batches(images: int, batch_size: int) -> int:
    """Return the steps of an epoch; a last batch of a single image is left out, since batch norm needs two."""
    return max(1, images // batch_size + (images % batch_size > 1))


def _generator(*key: int) -> torch.Generator:
    """Return a generator that depends on the key alone, the same on every platform."""
    state = np.random.SeedSequence(key).generate_state(2, dtype=np.uint32)
    return torch.Generator().manual_seed(int(state[0]) << 31 ^ int(state[1]))
