"""PDC's one stage: clusters are pulled together while a teacher guides the student.

Holds the schedules "progressive" and "tied", and what the other schedules share.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pdc_core.clustering import FloatArray, IntArray, Labels, check_labels, filter_vectors
from pdc_core.folding import fold, fold_unchecked_
from pdc_core.graph import ChannelGraph
from pdc_core.losses import comparable_blocks
from pdc_core.reconstruct import (
    GroupProjection,
    SummedGradients,
    deviation_of_bound,
    progressive,
    summed_gradients,
    tie,
    tied,
)
from pdc_core.registry import Variant
from pdc_core.train.loss import DistillationLoss
from pdc_core.train.settings import Training
from pdc_core.train.shrink import folded_momentum, gradient_scales, optimizer_slots, unfold
from pdc_core.train.tasks.base import TrainingTask
from pdc_core.train.tasks.registry import SCHEDULES
from pdc_core.train.teacher import Teacher


@dataclass(frozen=True)
class PDCInput:
    """What a schedule is given to make its task.

    Attributes
    ----------
    teacher : Module
        The uncompressed network, in eval mode.
    graph : ChannelGraph
        Its trace.
    settings : Training
        All settings of the run.
    images : Tensor, shape (b, c, h, w)
        Prepared training images, `settings.n_images` of them at most, to measure channels on.
    cluster : callable
        Makes labels {group name: int array (n,)} from a network in eval mode.
    """

    teacher: nn.Module
    graph: ChannelGraph
    settings: Training
    images: Tensor
    cluster: Callable[[nn.Module], Labels]


class PDCTask(TrainingTask):
    """PDC's one stage: a student whose clusters are pulled together while a teacher guides it.

    The strength rises as a cube until the filters are tied; subclasses replace `strength_at` or more.

    Parameters
    ----------
    teacher : Module
        The uncompressed network, in eval mode; the student starts as its copy.
    graph : ChannelGraph
        Its trace.
    labels : mapping of str to int array, shape (n,)
        The cluster of every filter, by group.
    settings : Training
        Losses, tied_after, centroid, tied_gradients and fold_when_tied are read here.
    """

    def __init__(
        self, teacher: nn.Module, graph: ChannelGraph, labels: Mapping[str, IntArray], settings: Training
    ) -> None:
        super().__init__(copy.deepcopy(teacher).requires_grad_(True))
        self.graph, self.settings = graph, settings
        self.teacher = Teacher(teacher, torch.ones(2, *graph.input_shape), settings.teacher_precision)
        self.labels = dict(labels)
        self.distillation = DistillationLoss(self.teacher, comparable_blocks(teacher, graph, self.labels), settings)
        self.strength = self.progress = 0.0
        self.ties: list[GroupProjection] = []
        self.gradients: list[SummedGradients] = []
        self.momentum_bound = False
        self.wide: nn.Module | None = None  # the student at full width, once it was folded during the run
        self.scales: dict[nn.Parameter, Tensor] = {}

    @classmethod
    def begin(cls, given: PDCInput) -> PDCTask:
        """Return the task at its start, its filters clustered."""
        return cls(given.teacher, given.graph, given.cluster(given.teacher), given.settings)

    def strength_at(self, progress: float) -> float:
        """Return the strength s, 0 to 1, at a progress of the run, 0 to 1."""
        return progressive(progress, self.settings.tied_after)

    def place(self, device: torch.device) -> None:
        assert self.teacher is not None
        self.teacher.to(device)
        self.distillation.watch(self.student)
        if self.wide is None:
            self.relabel(self.labels)

    def relabel(self, labels: Mapping[str, IntArray]) -> None:
        """Replace the clusters."""
        self.labels = dict(labels)
        self._bind()

    @property
    def tied(self) -> Labels:
        """The clusters that are pulled together at present."""
        return self.labels

    def _bind(self) -> None:
        self.ties = tie(self.student, self.graph, self.tied, self.settings.centroid)
        summed = self.settings.tied_gradients == "summed"
        self.gradients = summed_gradients(self.student, self.graph, self.tied) if summed else []
        self._bind_momentum()

    def _bind_momentum(self) -> None:
        """Tie the optimiser's memory along with the filters, as soon as it has one."""
        self.momentum_bound = bool(self.optimizer.state)
        if self.momentum_bound:
            for each in self.ties:
                each.extend(optimizer_slots(self.student, each, self.optimizer))

    def loss(self, network: nn.Module, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        return self.distillation.loss(network, x, y, self.progress)

    def before_step(self) -> None:
        self._scale_gradients_()
        for each in self.gradients:
            each.apply_(self.strength)

    def _scale_gradients_(self) -> None:
        """Give a network that was folded during the run the steps that it would have made at full width."""
        for p, scale in self.scales.items():
            if p.grad is not None:
                p.grad.mul_(scale)

    def after_step(self, progress: float) -> None:
        self.progress = progress
        self.strength = self.strength_at(progress)
        self._tie_(self.strength)

    def _tie_(self, strength: float) -> None:
        if self.ties and not self.momentum_bound:
            self._bind_momentum()
        for each in self.ties:
            each.apply_(strength)

    def fold_mid_run(self) -> dict[nn.Parameter, Tensor] | None:
        if not self.settings.fold_when_tied or self.wide is not None or self.strength < 1 or not self.ties:
            return None
        wide = self.student
        self.distillation.ours.close()  # a folded copy shall not carry the hooks
        small = fold(wide, self.graph, self.labels).train(wide.training)
        momentum = folded_momentum(wide, self.graph, self.labels, self.optimizer, small)
        self._go_on_with(small, wide)
        return momentum

    def _go_on_with(self, small: nn.Module, wide: nn.Module) -> None:
        self.student, self.wide, self.ties, self.gradients = small, wide, [], []
        self.distillation.watch(small)
        if self.settings.tied_gradients == "averaged":  # summed gradients are the folded network's own
            scales = gradient_scales(wide, self.graph, self.labels)
            self.scales = {p: scales[name] for name, p in small.named_parameters()}

    @property
    def settled(self) -> bool:
        return self.strength >= 1

    def figures(self) -> dict[str, float]:
        return {"strength": self.strength, "deviation": deviation_of_bound(self.ties)}

    def vectors(self) -> dict[str, FloatArray]:
        if self.wide is not None:  # folded: no filters are left that could move apart
            return {}
        return {name: filter_vectors(self.student, self.graph.group(name)) for name in self.labels}

    def state_dict(self) -> dict[str, Any]:
        labels = {name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in self.labels.items()}
        folded = self.wide is not None
        return {"labels": labels, "strength": self.strength, "progress": self.progress, "folded": folded}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.labels = {name: a.cpu().numpy() for name, a in state["labels"].items()}
        self.strength, self.progress = float(state["strength"]), float(state["progress"])
        if state["folded"] and self.wide is None:
            small = copy.deepcopy(self.student)
            small = fold_unchecked_(small, self.graph, check_labels(self.graph, self.labels))
            self._go_on_with(small, self.student)

    def settle_(self) -> None:
        for each in tie(self.student, self.graph, self.labels, self.settings.centroid) if self.wide is None else []:
            each.apply_(1.0)

    def finish(self) -> tuple[nn.Module, nn.Module]:
        self.distillation.ours.close()
        student = self.student.to("cpu").eval()
        if self.wide is not None:
            return unfold(student, self.wide.to("cpu"), self.graph, self.labels).eval(), student
        self.settle_()  # the last operation before folding is always a hard reconstruct
        return student, fold(student, self.graph, self.labels)


class TiedTask(PDCTask):
    """PDC's one stage with clusters that are tied from the first step on."""

    def strength_at(self, progress: float) -> float:
        return tied(progress, self.settings.tied_after)


SCHEDULES["progressive"] = Variant(PDCTask.begin, "pull filters together, gently at first, until they are tied")
SCHEDULES["tied"] = Variant(TiedTask.begin, "filters are identical from the first step")
