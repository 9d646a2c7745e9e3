"""What a run trains and by which rule: the one object in which methods differ. The loop knows nothing but `Stage`.

A new method is a subclass here or elsewhere: a loss, and what happens after a step.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pdc_core.cluster import IntArray, Labels
from pdc_core.distil import one_stage_loss
from pdc_core.fold import fold
from pdc_core.graph import ChannelGraph
from pdc_core.reconstruct import SCHEDULES, Tie, spread, tie
from pdc_core.train.settings import Training


class Stage:
    """What a run trains, and by which rule; subclasses say which `loss`.

    The loop calls `place` once, `before_epoch` in front of every epoch, and for every step `loss`, then the optimiser,
    then `after_step`. All that a stage would need to go on from the middle of a run stands in `state_dict`; what
    follows from (seed, epoch, step) alone need not.

    Attributes
    ----------
    student : the network that is trained, in place.
    labels : {group name: int array (n,)}; may change during the run.
    """

    def __init__(self, student: nn.Module) -> None:
        self.student = student
        self.labels: Labels = {}

    def place(self, device: torch.device) -> None:
        """Move what the stage needs besides the student to the device on which the student already is."""

    def before_epoch(self, epoch: int, progress: float) -> None:
        """Prepare an epoch, counted from 0; `progress` of the run is 0 to 1. New labels are told to `relabel`."""

    def loss(self, network: nn.Module, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Return the scalar "loss" to minimise and its parts, by name.

        Parameters
        ----------
        network : the student as the loop wraps it (precision, processes); call it and not `self.student`.
        x, y : prepared images (b, c, h, w) and labels (b,).
        """
        raise NotImplementedError

    def after_step(self, progress: float) -> None:
        """Do what the method does to the weights after each step; `progress` of the run is above 0 and at most 1."""

    def figures(self) -> dict[str, float]:
        """Return what the history shows besides the losses; asked for now and then."""
        return {"strength": 0.0, "deviation": 0.0}

    def state_dict(self) -> dict[str, Any]:
        """Return tensors and plain values from which `load_state_dict` goes on, besides the student's weights."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state; the student has its weights already."""

    def finish(self) -> tuple[nn.Module, nn.Module]:
        """Return the trained network at full width and the small one, both on the CPU and in eval mode."""
        student = self.student.to("cpu").eval()
        return student, student


class Taught(Stage):
    """A network that learns from labels alone: `teach`."""

    def loss(self, network: nn.Module, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        ce = F.cross_entropy(network(x), y)
        return {"loss": ce, "ce": ce}


class Clustered(Stage):
    """PDC's one stage: a student whose clusters are pulled together while a teacher guides it.

    Parameters
    ----------
    teacher : the uncompressed network, in eval mode; the student starts as its copy.
    graph, labels : its trace, and the clusters.
    settings : temperature, alpha, schedule, ramp and weights are read.
    """

    def __init__(
        self, teacher: nn.Module, graph: ChannelGraph, labels: Mapping[str, IntArray], settings: Training
    ) -> None:
        super().__init__(copy.deepcopy(teacher).requires_grad_(True))
        self.teacher, self.graph, self.settings = teacher, graph, settings
        self.labels = dict(labels)
        self.strength = 0.0
        self.ties: list[Tie] = []

    def place(self, device: torch.device) -> None:
        self.teacher = self.teacher.to(device)
        self.relabel(self.labels)

    def relabel(self, labels: Mapping[str, IntArray]) -> None:
        """Go on with these clusters."""
        self.labels = dict(labels)
        self.ties = tie(self.student, self.graph, self.labels, self.settings.weights)

    def loss(self, network: nn.Module, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            z_t = self.teacher(x)
        total, ce, kd = one_stage_loss(network(x), z_t, y, self.settings.temperature, self.settings.alpha)
        return {"loss": total, "ce": ce, "kd": kd}

    def after_step(self, progress: float) -> None:
        self.strength = SCHEDULES[self.settings.schedule](progress, self.settings.ramp)
        for each in self.ties:
            each.apply_(self.strength)

    def figures(self) -> dict[str, float]:
        return {"strength": self.strength, "deviation": spread(self.ties)}

    def state_dict(self) -> dict[str, Any]:
        labels = {name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in self.labels.items()}
        return {"labels": labels, "strength": self.strength}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.relabel({name: a.numpy() for name, a in state["labels"].items()})
        self.strength = float(state["strength"])

    def finish(self) -> tuple[nn.Module, nn.Module]:
        student = self.student.to("cpu").eval()
        for each in tie(student, self.graph, self.labels, self.settings.weights):
            each.apply_(1.0)  # the last operation before folding is always a hard reconstruct
        return student, fold(student, self.graph, self.labels)
