"""Measuring a network on a split: top-1, top-5 where there are 100 classes, loss, agreement with the teacher."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pdc_core.batch_sizes import images_at_once
from pdc_core.data import Data, Split
from pdc_core.errors import PDCError

TOP5_FROM = 100  # classes from which on the literature reports top-5 as well
NEAR_CHANCE = 0.05  # of the way from guessing to no mistake; our choice, like the next two
ERRORS = 3.0  # standard errors of guessing
FAR_FROM_CHANCE = 0.5  # of the way; enough for any number of images


@dataclass(frozen=True)
class Evaluation:
    """How a network does on a split.

    Attributes
    ----------
    accuracy : float
        Top-1 accuracy, 0 to 1.
    loss : float
        Mean cross entropy in nats, 0 or more.
    predictions : Tensor, shape (n,)
        The predicted class of every image; with several processes, of this process's share.
    top5 : float or None
        Share of images whose class is among the five likeliest, 0 to 1; None below 100 classes.
    agreement : float or None
        Share of images that get the teacher's class, 0 to 1; None without a teacher.
    """

    accuracy: float
    loss: float
    predictions: Tensor
    top5: float | None = None
    agreement: float | None = None

    def record(self, prefix: str = "") -> dict[str, float]:
        """Return the numbers by name; those that were not measured are left out.

        Parameters
        ----------
        prefix : str, default ""
            Put before every name, such as "val_".
        """
        named = {"accuracy": self.accuracy, "loss": self.loss, "top5": self.top5, "agreement": self.agreement}
        return {f"{prefix}{name}": value for name, value in named.items() if value is not None}


def chance_level(labels: Tensor) -> tuple[float, float]:
    """Return the accuracy of guessing, and the one that a network has to exceed to be better than that.

    Guessing names the commonest class: c is its share. A network is better if its accuracy exceeds
    c + min(0.5 (1 - c), max(0.05 (1 - c), 3 sqrt(c (1 - c) / n))): a twentieth of the way from guessing to no mistake,
    or three standard errors where these are more, but never more than half of the way. Our choice.

    Parameters
    ----------
    labels : Tensor of int64, shape (n,)
        The true classes, at least one.

    Returns
    -------
    tuple of float
        Both from 0 to 1.

    Examples
    --------
    >>> guessing, least = chance_level(torch.arange(1000) % 10)
    >>> guessing, round(least, 3)
    (0.1, 0.145)
    """
    n = len(labels)
    c = int(torch.bincount(labels).max()) / n
    errors = ERRORS * math.sqrt(c * (1 - c) / n)
    return c, c + min(FAR_FROM_CHANCE * (1 - c), max(NEAR_CHANCE * (1 - c), errors))


@torch.no_grad()
def evaluate(
    model: nn.Module,
    data: Data,
    split: Split,
    batch_size: int = 512,
    *,
    teacher: Tensor | None = None,
    fabric: Any = None,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Measure a network in eval mode on one split, on the network's device.

    Parameters
    ----------
    model : Module
        The network, in eval mode.
    data : Data
        The data set that the split is of; it prepares the images.
    split : Split
        Images and labels to measure on, at least one.
    batch_size : int, default 512
        Images per batch; on a CPU fewer where that is faster (`batch_sizes.images_at_once`).
    teacher : Tensor, shape (n,), optional
        The teacher's predicted classes of the same images, for the agreement.
    fabric : Fabric, optional
        Lightning Fabric of several processes: each measures its share, and all get the same numbers.
    progress : callable, optional
        Called after each batch with (images measured, images in all), of this process's share.

    Returns
    -------
    Evaluation
        Accuracy, loss, predictions and what else can be measured.

    Raises
    ------
    PDCError
        The split is empty, the network is in train mode or no classifier, or it has fewer outputs than the data has
        classes.
    """
    if len(split) == 0:
        raise PDCError(f"There is no image to measure with: this split of {data.name} is empty.")
    if model.training:
        raise PDCError("The network is in train mode; call model.eval() before measuring it.")
    rank, world = (fabric.global_rank, fabric.world_size) if fabric is not None else (0, 1)
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    seen, share = 0, len(range(rank, len(split), world))
    found: list[Tensor] = []
    right = right5 = torch.zeros((), dtype=torch.int64, device=device)
    losses: list[Tensor] = []
    at_once = images_at_once(data.shape, batch_size, device)
    for images, labels in split.batches(at_once, rank, world):
        logits, y = model(data.prepare(images.to(device))), labels.to(device)
        if not isinstance(logits, Tensor):
            named = isinstance(logits, Mapping) and "logits" in logits
            advice = (
                "If these are its logits, wrap it in a module whose forward pass returns network(x)['logits'] alone."
                if named
                else "Other tasks train in a loop of your own, with pdc_core.Pruner."
            )
            raise PDCError(
                f"The network returns {type(logits).__name__}, not logits of classes: this loop measures and trains "
                f"classifiers. {advice}"
            )
        logits = logits.float()
        if logits.dim() != 2 or logits.shape[1] < len(data.classes):
            raise PDCError(
                f"The network gives outputs of shape {tuple(logits.shape[1:])} for the {len(data.classes)} classes of "
                f"{data.name}; load one that was built for this data."
            )
        losses.append(F.cross_entropy(logits, y, reduction="sum"))
        found.append(logits.argmax(dim=1))
        right = right + (found[-1] == y).sum()
        if len(data.classes) >= TOP5_FROM:
            right5 = right5 + (logits.topk(5, dim=1).indices == y[:, None]).sum()
        if progress is not None:
            seen += len(labels)
            progress(seen, share)
    predictions = torch.cat(found).cpu()
    same = 0 if teacher is None else int((predictions == teacher).sum())
    loss = sum(torch.stack(losses).tolist())
    sums = torch.tensor([int(right), int(right5), same, loss], dtype=torch.float64)
    if world > 1:
        sums = fabric.all_reduce(sums.to(device), reduce_op="sum").cpu()
    top1, top5, agreement, total = (float(v) / len(split) for v in sums)
    return Evaluation(
        top1,
        total,
        predictions,
        top5 if len(data.classes) >= TOP5_FROM else None,
        agreement if teacher is not None else None,
    )
