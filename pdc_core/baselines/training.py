"""Training a small network with the loop, losses, epochs and seeds of PDC's student."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from pdc_core.baselines.methods import METHODS, WHOLE, PruningInput
from pdc_core.data import Data
from pdc_core.errors import PDCError
from pdc_core.graph import trace
from pdc_core.losses import comparable_blocks, paired_blocks
from pdc_core.plan import Plan, check_mergeable
from pdc_core.registry import choices
from pdc_core.train import Recorder, Result, Training, TrainingTask, run_task
from pdc_core.train.loss import DistillationLoss
from pdc_core.train.run import Work
from pdc_core.train.teacher import Teacher, checked_teacher


class PrunedTask(TrainingTask):
    """A small network that learns from labels and from the uncompressed network, as PDC's student does.

    Parameters
    ----------
    small : Module
        The network to train; not changed.
    distillation : DistillationLoss
        Teacher and losses.
    """

    def __init__(self, small: nn.Module, distillation: DistillationLoss) -> None:
        super().__init__(copy.deepcopy(small).requires_grad_(True))
        self.distillation, self.teacher, self.progress = distillation, distillation.teacher, 0.0

    def place(self, device: torch.device) -> None:
        self.distillation.teacher.to(device)
        self.distillation.watch(self.student)

    def loss(self, network: nn.Module, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        return self.distillation.loss(network, x, y, self.progress)

    def after_step(self, progress: float) -> None:
        self.progress = progress

    def state_dict(self) -> dict[str, Any]:
        return {"progress": self.progress}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.progress = float(state["progress"])

    def finish(self) -> tuple[nn.Module, nn.Module]:
        self.distillation.ours.close()
        return super().finish()


def train_baseline(
    method: str,
    model: nn.Module,
    plan: Plan,
    data: Data,
    *,
    teacher: nn.Module | None = None,
    seed: int = 0,
    settings: Training | None = None,
    recorder: Recorder | None = None,
) -> Result:
    """Compress by one of METHODS and train the small network as `distil` trains PDC's student.

    Parameters
    ----------
    method : str
        A name in METHODS.
    model : Module
        As for `distil`, like all that follow.
    plan : Plan
        Filters kept per group. "whole" keeps them all, whatever the plan says.
    data : Data
        Training, validation and test images.
    teacher : Module, optional
        Another network to learn from.
    seed : int, default 0
        Seed of the method, the batch order and the augmentation, 0 or more.
    settings : Training, optional
        All settings; by default those for the data set.
    recorder : Recorder, optional
        Called with what happens, and asked for requests.

    Raises
    ------
    PDCError
        The method is unknown, or whatever `distil` raises.
    """
    settings = settings or Training.for_data(data.name)
    work = baseline_work(method, model, plan, data, settings, teacher=teacher, seed=seed)
    return run_task(work, model, data, settings, seed=seed, recorder=recorder)


def baseline_work(
    method: str,
    model: nn.Module,
    plan: Plan,
    data: Data,
    settings: Training,
    *,
    teacher: nn.Module | None = None,
    seed: int = 0,
) -> Work:
    """Return what `train_baseline` trains, not trained yet. Parameters and errors are those of `train_baseline`."""
    if method not in METHODS:
        raise PDCError(f"{method!r} is no method to compare with; choose {choices(METHODS)}.")
    frozen = copy.deepcopy(model).eval().requires_grad_(False)
    graph = trace(frozen, data.example, residual=plan.residual, inside=plan.inside)
    if method == WHOLE:
        plan = Plan.uniform(graph, 1.0, model=plan.model)
    else:
        check_mergeable(plan, graph)
    small = METHODS[method](PruningInput(frozen, graph, plan, data, seed))
    return small_work(small, model, plan, data, settings, teacher=teacher)


def train_small(
    small: nn.Module,
    model: nn.Module,
    plan: Plan,
    data: Data,
    *,
    seed: int = 0,
    settings: Training,
    recorder: Recorder | None = None,
) -> Result:
    """Train a small network, wherever it comes from, under the uncompressed one.

    Block outputs are compared if both networks have a block of that name and the plan leaves its width as it is.

    Parameters
    ----------
    small : Module
        The network to train; not changed.
    model : Module
        The uncompressed network, in eval mode: the teacher.
    plan : Plan
        Filters kept per group, for the report.
    data : Data
        Training, validation and test images.
    seed : int, default 0
        Seed of the batch order and the augmentation, 0 or more.
    settings : Training
        All settings.
    recorder : Recorder, optional
        Called with what happens, and asked for requests.
    """
    work = small_work(small, model, plan, data, settings)
    return run_task(work, model, data, settings, seed=seed, recorder=recorder)


def small_work(
    small: nn.Module,
    model: nn.Module,
    plan: Plan,
    data: Data,
    settings: Training,
    *,
    teacher: nn.Module | None = None,
) -> Work:
    """Return what `train_small` trains, not trained yet. Parameters are those of `train_small` and `distil`."""
    guide = None if teacher is None else checked_teacher(teacher, model, data)
    frozen = copy.deepcopy(model).eval().requires_grad_(False)
    graph = trace(frozen, data.example, residual=plan.residual, inside=plan.inside)
    sizes = {name: graph.group(name).size for name in plan.counts}
    merged = {n: torch.zeros(sizes[n]).long().numpy() for n, k in plan.counts.items() if k < sizes[n]}
    names = dict(small.named_modules())
    blocks = tuple(b for b in comparable_blocks(frozen, graph, merged) if b in names)
    example = torch.ones(2, *data.shape)
    ours, theirs = (blocks, blocks) if guide is None else paired_blocks(frozen, guide, blocks, example)
    guiding = Teacher(guide or frozen, example, settings.teacher_precision)
    task = PrunedTask(small, DistillationLoss(guiding, ours, settings, theirs))
    return Work(task, graph, plan, guide)
