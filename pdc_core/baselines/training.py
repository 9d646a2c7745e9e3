"""Training a small network with the loop, losses, epochs and seeds of PDC's student."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from pdc_core.baselines.methods import METHODS, WHOLE, PruningInput
from pdc_core.copies import twin
from pdc_core.data import Data
from pdc_core.errors import PDCError
from pdc_core.graph import trace
from pdc_core.losses import comparable_blocks, matched_blocks
from pdc_core.plan import Plan, check_mergeable
from pdc_core.registry import choices
from pdc_core.train import Recorder, Result, Training, TrainingTask, run_task
from pdc_core.train.loss import DistillationLoss
from pdc_core.train.teacher import Teacher, check_teacher


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
        super().__init__(twin(small).requires_grad_(True))
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
        Filters kept per group; "whole" keeps all of them, whatever it says.
    data : Data
        Training, validation and test images.
    teacher : Module, optional
        Another network that teaches; by default `model` does.
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
    if method not in METHODS:
        raise PDCError(f"{method!r} is no method to compare with; choose {choices(METHODS)}.")
    settings = settings or Training.for_data(data.name)
    start = twin(model).eval().requires_grad_(False)
    graph = trace(start, data.example, residual=plan.residual, inside=plan.inside)
    if method == WHOLE:
        plan = plan.whole()
    else:
        check_mergeable(plan, graph)
    small = METHODS[method](PruningInput(start, graph, plan, data, seed))
    return train_small(small, model, plan, data, teacher=teacher, seed=seed, settings=settings, recorder=recorder)


def train_small(
    small: nn.Module,
    model: nn.Module,
    plan: Plan,
    data: Data,
    *,
    teacher: nn.Module | None = None,
    seed: int = 0,
    settings: Training,
    recorder: Recorder | None = None,
) -> Result:
    """Train a small network, wherever it comes from, under the uncompressed one or another teacher.

    Block outputs are compared if both networks have a block of that name and the plan leaves its width as it is; with
    another teacher, where shapes agree (`losses.matched_blocks`).

    Parameters
    ----------
    small : Module
        The network to train; not changed.
    model : Module
        The uncompressed network, in eval mode: the teacher, unless another one is given.
    plan : Plan
        Filters kept per group, for the report.
    data : Data
        Training, validation and test images.
    teacher : Module, optional
        Another network that teaches.
    seed : int, default 0
        Seed of the batch order and the augmentation, 0 or more.
    settings : Training
        All settings.
    recorder : Recorder, optional
        Called with what happens, and asked for requests.
    """
    start = twin(model).eval().requires_grad_(False)
    graph = trace(start, data.example, residual=plan.residual, inside=plan.inside)
    widths = {name: torch.zeros(graph.group(name).size, dtype=torch.long).numpy() for name in plan.counts}
    names = dict(small.named_modules())
    blocks = tuple(b for b in comparable_blocks(start, graph, widths) if b in names)
    example = torch.ones(2, *data.shape)
    pairs: tuple[str, ...] | dict[str, str] = blocks
    if teacher is not None:
        check_teacher(teacher, data)
        pairs = matched_blocks(twin(small).eval(), teacher, blocks, example)
    guiding = Teacher(teacher or start, example, settings.teacher_precision, settings.compile)
    task = PrunedTask(small, DistillationLoss(guiding, pairs, settings))
    return run_task(task, model, data, settings, seed=seed, recorder=recorder, graph=graph, plan=plan, teacher=teacher)
