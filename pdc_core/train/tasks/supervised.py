"""Training on labels alone: what `teach` runs."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from pdc_core.train.settings import Training
from pdc_core.train.tasks.base import TrainingTask


class SupervisedTask(TrainingTask):
    """A network that learns from labels alone: `teach`.

    Parameters
    ----------
    student : Module
        The network to train, in place.
    settings : Training
        `label_smoothing` is read.
    """

    def __init__(self, student: nn.Module, settings: Training) -> None:
        super().__init__(student)
        self.settings = settings

    def loss(self, network: nn.Module, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        ce = F.cross_entropy(network(x), y, label_smoothing=self.settings.label_smoothing)
        return {"loss": ce, "ce": ce}
