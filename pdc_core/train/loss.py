"""The loss of distillation as the settings describe it: labels, logits and block outputs in one weighted sum."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pdc_core.losses import FEATURES, Recording, one_stage_loss
from pdc_core.train.settings import Training


class DistillationLoss:
    """The loss of a student under a teacher, the same for PDC and for the baselines.

    (1-alpha) CE + alpha KD + (1-p)^d sum_f w_f mean over blocks of f(student's block, teacher's block), with p the
    progress of the run, d `feature_decay`, f the losses in `losses.FEATURES` and w_f their weights.

    Parameters
    ----------
    teacher : Module
        Gives logits z_t (b, classes); if it wraps a network, that is its attribute `network`.
    blocks : tuple of str, or mapping of str to str
        Names of the modules whose outputs are compared (`losses.comparable_blocks`); may be empty. For another network
        as teacher: the names of its modules by the student's (`losses.matched_blocks`).
    settings : Training
        temperature, alpha, label_smoothing, kd_form, feature_decay, compile and the weights of the losses on features
        are read.
    """

    def __init__(self, teacher: nn.Module, blocks: tuple[str, ...] | Mapping[str, str], settings: Training) -> None:
        self.teacher, self.settings = teacher, settings
        self.weights = {name: getattr(settings, name) for name in FEATURES if getattr(settings, name) > 0}
        pairs = (dict(blocks) if isinstance(blocks, Mapping) else {b: b for b in blocks}) if self.weights else {}
        self.blocks = tuple(pairs)
        inner = getattr(teacher, "network", teacher)
        self.theirs, self.ours = Recording(inner, tuple(pairs.values())), Recording(inner, ())
        self._distances = torch.compile(self._distance) if settings.compile else self._distance

    def watch(self, student: nn.Module) -> None:
        """Compare this student's blocks from now on.

        Parameters
        ----------
        student : Module
            A network with modules of the blocks' names.
        """
        self.ours.close()
        self.ours = Recording(student, self.blocks)

    def loss(self, network: nn.Module, x: Tensor, y: Tensor, progress: float) -> dict[str, Tensor]:
        """Return "loss" and its parts for a batch, scalars.

        Parameters
        ----------
        network : Module
            The student that is watched, as the loop wraps it.
        x : Tensor, shape (b, c, h, w)
            Prepared images.
        y : Tensor, shape (b,)
            Labels.
        progress : float
            Progress of the run, 0 to 1.
        """
        s = self.settings
        with torch.no_grad():
            z_t = self.teacher(x)
        total, ce, kd = one_stage_loss(network(x), z_t, y, s.temperature, s.alpha, s.kd_form, s.label_smoothing)
        parts = {"loss": total, "ce": ce, "kd": kd}
        if self.blocks:
            pairs = [(a, b.clone()) for a, b in zip(self.ours.outputs(), self.theirs.outputs(), strict=True)]
            for name, weight in self.weights.items():
                parts[name] = self._distances(name, pairs)
                parts["loss"] = parts["loss"] + (1 - progress) ** s.feature_decay * weight * parts[name]
        return parts

    @staticmethod
    def _distance(name: str, pairs: list[tuple[Tensor, Tensor]]) -> Tensor:
        """Return the mean over blocks of a loss on features, given the student's and the teacher's outputs."""
        return torch.stack([FEATURES[name](a, b) for a, b in pairs]).mean()
