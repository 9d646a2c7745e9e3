"""What a run trains and by which rule: the one object in which methods differ. The loop knows only `TrainingTask`.

A new method is a subclass: a loss, and what happens after a step.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from pdc_core.clustering import FloatArray, Labels


class TrainingTask:
    """What a run trains, and by which rule; subclasses define `loss`.

    The loop calls `place` once, `before_epoch` before every epoch, and for every step `loss`, `before_step` (gradients
    are computed by then), the optimiser, `after_step` and `fold_mid_run`. Whatever a task needs to resume in the middle
    of a run, besides the student's weights, is in `state_dict`: labels, and what `before_epoch` has set, since it is
    not called again when a run resumes within an epoch.

    Attributes
    ----------
    student : Module
        The network that is trained, in place.
    labels : dict of str to int array, shape (n,)
        The cluster of every filter, by group; may change during the run.
    optimizer : Optimizer
        Set by the loop before `place`; its state has the keys of torch's own optimisers.
    teacher : Module or None
        The network whose predicted classes the student's are compared with.
    """

    optimizer: torch.optim.Optimizer

    def __init__(self, student: nn.Module) -> None:
        self.student = student
        self.labels: Labels = {}
        self.teacher: nn.Module | None = None

    def place(self, device: torch.device) -> None:
        """Move whatever the task needs besides the student to the device.

        Parameters
        ----------
        device : torch.device
            Where the student already is.
        """

    def before_epoch(self, epoch: int, progress: float) -> None:
        """Prepare an epoch; labels may be replaced here.

        Parameters
        ----------
        epoch : int
            Counted from 0.
        progress : float
            Share of the run that is done, 0 to below 1.
        """

    def loss(self, network: nn.Module, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Return the scalar "loss" to minimise and its parts, by name.

        Parameters
        ----------
        network : Module
            The student as the loop wraps it (precision, processes); call it and not `self.student`.
        x : Tensor, shape (b, c, h, w)
            Prepared images.
        y : Tensor, shape (b,)
            Labels.
        """
        raise NotImplementedError

    def before_step(self) -> None:
        """Change the gradients as the method does, before the optimiser uses them."""

    def after_step(self, progress: float) -> None:
        """Change the weights as the method does, after each step.

        Parameters
        ----------
        progress : float
            Share of the run that is done, above 0 and at most 1.
        """

    def fold_mid_run(self) -> dict[nn.Parameter, Tensor] | None:
        """Replace `self.student` by a smaller network if it is time, and return its momentum; else None."""
        return None

    @property
    def settled(self) -> bool:
        """Whether the student as it is now could be the result, so that its accuracy counts for the best epoch."""
        return True

    def figures(self) -> dict[str, float]:
        """Return the numbers that the history shows besides the losses, by name."""
        return {"strength": 0.0, "deviation": 0.0}

    def vectors(self) -> dict[str, FloatArray]:
        """Return the filters of every group at full width, arrays (n, d), to watch them move; empty for none."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Return the tensors and plain values that `load_state_dict` needs, besides the student's weights."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take a state; called before student and optimiser get theirs, so that it may replace the student.

        Parameters
        ----------
        state : dict
            What `state_dict` returned.
        """

    def settle_(self) -> None:
        """Bring the student to its final form, before its norm statistics are re-estimated."""

    def finish(self) -> tuple[nn.Module, nn.Module]:
        """Return the trained network at full width and the small one, both on the CPU and in eval mode.

        May be called again after the student got the weights of another epoch.
        """
        student = self.student.to("cpu").eval()
        return student, student
