"""A teacher's guidance as the settings ask for it: cross entropy, logits and block outputs, in one weighted sum."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pdc_core.losses import FEATURES, Recording, one_stage_loss
from pdc_core.train.settings import Training


class DistillationLoss:
    """The loss of a student under a teacher, the same for PDC and for everything that it is compared with.

    (1-alpha) CE + alpha KD + (1-p)^d sum_f w_f mean over blocks of f(student's block, teacher's block), with p the
    progress of the run, d `feature_decay`, and f matching and attention transfer with their weights.

    Parameters
    ----------
    teacher : gives logits z_t; where it wraps a network, this is its attribute `network`.
    blocks : names of modules whose outputs are compared (`distil.comparable_blocks`); may be empty.
    settings : temperature, alpha, label_smoothing, logits, matching, attention and feature_decay are read.
    """

    def __init__(self, teacher: nn.Module, blocks: tuple[str, ...], settings: Training) -> None:
        self.teacher, self.settings = teacher, settings
        self.weights = {name: getattr(settings, name) for name in FEATURES if getattr(settings, name) > 0}
        self.blocks = blocks if self.weights else ()
        inner = getattr(teacher, "network", teacher)
        self.theirs, self.ours = Recording(inner, self.blocks), Recording(inner, ())

    def watch(self, student: nn.Module) -> None:
        """Compare this student's blocks from now on."""
        self.ours.close()
        self.ours = Recording(student, self.blocks)

    def loss(self, network: nn.Module, x: Tensor, y: Tensor, progress: float) -> dict[str, Tensor]:
        """Return "loss" and its parts for a batch; `network` is the student that is watched, as the loop wraps it."""
        s = self.settings
        with torch.no_grad():
            z_t = self.teacher(x)
        total, ce, kd = one_stage_loss(network(x), z_t, y, s.temperature, s.alpha, s.kd_form, s.label_smoothing)
        parts = {"loss": total, "ce": ce, "kd": kd}
        if self.blocks:
            pairs = [
                (a.float(), b.clone().float()) for a, b in zip(self.ours.outputs(), self.theirs.outputs(), strict=True)
            ]
            for name, weight in self.weights.items():
                parts[name] = torch.stack([FEATURES[name](a, b) for a, b in pairs]).mean()
                parts["loss"] = parts["loss"] + (1 - progress) ** s.feature_decay * weight * parts[name]
        return parts
