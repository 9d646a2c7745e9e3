"""What a run trains and by which rule: the one object in which methods differ. The loop knows only `TrainingTask`.

A new method is a subclass: a loss, and what happens after a step.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from pdc_core.clustering import FloatArray, Labels


class TrainingTask:
    """What a run trains, and by which rule; subclasses say which `loss`.

    The loop calls `place` once, `before_epoch` in front of every epoch, and for every step `loss`, `before_step` (the
    gradients are there), the optimiser, `after_step` and `shrink`. What a stage needs to go on from the middle of a
    run, besides the student's weights, stands in `state_dict`: labels, and whatever `before_epoch` has set, since it is
    not called again where a run resumes within an epoch.

    Attributes
    ----------
    student : the network that is trained, in place.
    labels : {group name: int array (n,)}; may change during the run.
    optimizer : set by the loop before `place`; its state has the keys of torch's own.
    teacher : the network whose classes the student's are compared with, or None.
    """

    optimizer: torch.optim.Optimizer

    def __init__(self, student: nn.Module) -> None:
        self.student = student
        self.labels: Labels = {}
        self.teacher: nn.Module | None = None

    def place(self, device: torch.device) -> None:
        """Move what the stage needs besides the student to the device on which the student already is."""

    def before_epoch(self, epoch: int, progress: float) -> None:
        """Prepare an epoch, counted from 0; `progress` of the run is 0 to 1. Labels may be replaced here."""

    def loss(self, network: nn.Module, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Return the scalar "loss" to minimise and its parts, by name.

        Parameters
        ----------
        network : the student as the loop wraps it (precision, processes); call it and not `self.student`.
        x, y : prepared images (b, c, h, w) and labels (b,).
        """
        raise NotImplementedError

    def before_step(self) -> None:
        """Do what the method does to the gradients before the optimiser uses them."""

    def after_step(self, progress: float) -> None:
        """Do what the method does to the weights after each step; `progress` of the run is above 0 and at most 1."""

    def fold_mid_run(self) -> dict[nn.Parameter, Tensor] | None:
        """Replace `self.student` by a smaller network, if it is time, and return its momentum; else None."""
        return None

    @property
    def settled(self) -> bool:
        """Whether the student as it is now could be the result, so that its accuracy counts for the best epoch."""
        return True

    def figures(self) -> dict[str, float]:
        """Return what the history shows besides the losses; asked for now and then."""
        return {"strength": 0.0, "deviation": 0.0}

    def vectors(self) -> dict[str, FloatArray]:
        """Return the filters of every group at full width, arrays (n, d), to watch them move; empty for none."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Return tensors and plain values from which `load_state_dict` goes on, besides the student's weights."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state; called before student and optimiser get theirs, so that it may replace the student."""

    def settle_(self) -> None:
        """Do to the student what has to hold before its norm statistics are estimated anew."""

    def finish(self) -> tuple[nn.Module, nn.Module]:
        """Return the trained network at full width and the small one, both on the CPU and in eval mode.

        May be called again after the student got the weights of another epoch.
        """
        student = self.student.to("cpu").eval()
        return student, student
