"""Measuring a network on a split: top-1 accuracy, loss and predictions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pdc_core.data import Data, Split
from pdc_core.errors import PDCError


@dataclass(frozen=True)
class Evaluation:
    """Top-1 accuracy (0 to 1), mean cross entropy, and the predicted class of every example."""

    accuracy: float
    loss: float
    predictions: Tensor


@torch.inference_mode()
def evaluate(model: nn.Module, data: Data, split: Split, batch_size: int = 512) -> Evaluation:
    """Measure a network in eval mode on one split, on the network's device.

    Raises
    ------
    PDCError
        The split is empty, the network is in train mode, or it gives another number of classes than the data has.
    """
    if len(split) == 0:
        raise PDCError(f"There is no image to measure with: this split of {data.name} is empty.")
    if model.training:
        raise PDCError("The network is in train mode; call model.eval() before measuring it.")
    device = next(model.parameters()).device
    logits = torch.cat([model(data.prepare(x.to(device))).float() for x in split.images.split(batch_size)])
    if logits.dim() != 2 or logits.shape[1] < len(data.classes):
        raise PDCError(
            f"The network gives outputs of shape {tuple(logits.shape[1:])} for the {len(data.classes)} classes of "
            f"{data.name}; load one that was built for this data."
        )
    y = split.labels.to(device)
    predictions = logits.argmax(dim=1)
    return Evaluation(float((predictions == y).float().mean()), float(F.cross_entropy(logits, y)), predictions.cpu())
