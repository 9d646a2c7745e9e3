"""PDC's one stage: filters become identical by a schedule, while a teacher guides the student.

How filters are tied stands in `reconstruct.tying` and beside it; this task adds the teacher's loss, folding in the
middle of a run, and what a checkpoint needs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pdc_core.clustering import FloatArray, IntArray, Labels, check_labels, filter_vectors
from pdc_core.copies import twin
from pdc_core.folding import fold, fold_unchecked_
from pdc_core.graph import ChannelGraph
from pdc_core.losses import comparable_blocks, matched_blocks
from pdc_core.reconstruct import SCHEDULES, Tying, TyingInput
from pdc_core.train.loss import DistillationLoss
from pdc_core.train.settings import Training
from pdc_core.train.shrink import folded_momentum, gradient_scales, unfold
from pdc_core.train.tasks.base import TrainingTask
from pdc_core.train.teacher import Teacher


class PDCTask(TrainingTask):
    """PDC's one stage: a student whose filters become identical by a schedule, while a teacher guides it.

    Parameters
    ----------
    teacher : Module
        The uncompressed network, in eval mode; the student starts as its copy, and it is the teacher unless there is a
        `guide`.
    graph : ChannelGraph
        Its trace.
    labels : mapping of str to int array, shape (n,), or callable
        The cluster of every filter, by group; or what makes it from a network in eval mode, which schedule "recluster"
        needs.
    settings : Training
        Losses, schedule, tied_after, centroid, tied_gradients and fold_when_tied are read here.
    images : Tensor, shape (b, c, h, w), optional
        Prepared images on which channels are measured, which schedule "merge" needs.
    guide : Module, optional
        Another network that teaches, in eval mode, for the same images and classes.
    """

    def __init__(
        self,
        teacher: nn.Module,
        graph: ChannelGraph,
        labels: Mapping[str, IntArray] | Callable[[nn.Module], Labels],
        settings: Training,
        images: Tensor | None = None,
        guide: nn.Module | None = None,
    ) -> None:
        super().__init__(twin(teacher).requires_grad_(True))
        self.graph, self.settings = graph, settings
        example = torch.ones(2, *graph.input_shape)
        self.teacher = Teacher(guide or teacher, example, settings.teacher_precision, settings.compile)
        cluster = labels if callable(labels) else lambda network: dict(labels)
        given = TyingInput(self.student, graph, settings, cluster, images)
        self.tying: Tying = SCHEDULES[settings.schedule](given)
        self.labels = self.tying.labels
        blocks = comparable_blocks(teacher, graph, self.labels)
        pairs = blocks if guide is None else matched_blocks(teacher, guide, blocks, example)
        self.distillation = DistillationLoss(self.teacher, pairs, settings)
        self.wide: nn.Module | None = None  # the student at full width, once it was folded during the run
        self.scales: dict[nn.Parameter, Tensor] = {}

    def place(self, device: torch.device) -> None:
        assert self.teacher is not None
        self.teacher.to(device)
        self.distillation.watch(self.student)
        if self.wide is None:
            self.tying.optimizers = (self.optimizer,)
            self.tying.begin()

    def before_epoch(self, epoch: int, progress: float) -> None:
        if epoch > 0:
            self.tying.recluster(progress)
            self.labels = self.tying.labels

    def loss(self, network: nn.Module, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        return self.distillation.loss(network, x, y, self.tying.progress)

    def before_step(self) -> None:
        for p, scale in self.scales.items():  # a network that was folded makes the steps of the one at full width
            if p.grad is not None:
                p.grad.mul_(scale)
        self.tying.before_step()

    def after_step(self, progress: float) -> None:
        self.tying.after_step(progress)

    def fold_mid_run(self) -> dict[nn.Parameter, Tensor] | None:
        if not self.settings.fold_when_tied or self.wide is not None or not self.settled or not self.tying.ties:
            return None
        wide = self.student
        self.distillation.ours.close()  # a folded copy shall not carry the hooks
        small = fold(wide, self.graph, self.labels).train(wide.training)
        momentum = folded_momentum(wide, self.graph, self.labels, self.optimizer, small)
        self._go_on_with(small, wide)
        return momentum

    def _go_on_with(self, small: nn.Module, wide: nn.Module) -> None:
        self.student, self.wide = small, wide
        self.tying.release()
        self.distillation.watch(small)
        if self.settings.tied_gradients == "averaged":  # summed gradients are the folded network's own
            scales = gradient_scales(wide, self.graph, self.labels)
            self.scales = {p: scales[name] for name, p in small.named_parameters()}

    @property
    def settled(self) -> bool:
        return self.tying.settled

    def figures(self) -> dict[str, float]:
        away = 0.0 if self.wide is not None else self.tying.deviation()
        return {"strength": self.tying.strength, "deviation": away}

    def vectors(self) -> dict[str, FloatArray]:
        wide = self.student
        if self.wide is not None:  # folded: the filters of a cluster move as the one that stands for them
            wide = unfold(self.student, self.wide, self.graph, self.labels)
        return {name: filter_vectors(wide, self.graph.group(name)) for name in self.labels}

    def state_dict(self) -> dict[str, Any]:
        return {**self.tying.state_dict(), "folded": self.wide is not None}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.tying.load_state_dict(state)
        self.labels = self.tying.labels
        if state["folded"] and self.wide is None:
            small = twin(self.student)
            small = fold_unchecked_(small, self.graph, check_labels(self.graph, self.labels))
            self._go_on_with(small, self.student)

    def settle_(self) -> None:
        if self.wide is None:
            self.tying.settle_()

    def finish(self) -> tuple[nn.Module, nn.Module]:
        self.distillation.ours.close()
        student = self.student.to("cpu").eval()
        if self.wide is not None:
            return unfold(student, self.wide.to("cpu"), self.graph, self.labels).eval(), student
        self.settle_()  # the last operation before folding is always a hard reconstruct
        return student, fold(student, self.graph, self.labels)
