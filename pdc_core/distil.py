"""The losses of the one stage: cross entropy with the labels, and the teacher's guidance."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def guidance(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return T^2 KL(softmax(z_t/T) || softmax(z_s/T)), the mean over the batch.

    Parameters
    ----------
    student, teacher : logits z_s, z_t, (b, classes). No gradient reaches the teacher.
    temperature : T, above 0. T^2 keeps the gradient's size independent of T.

    Source: Hinton, Vinyals and Dean, arXiv 1503.02531.

    Examples
    --------
    >>> import torch
    >>> z = torch.tensor([[2.0, 0.0]])
    >>> float(guidance(z, z, 4.0))
    0.0
    """
    log_s = F.log_softmax(student / temperature, dim=1)
    log_t = F.log_softmax(teacher.detach() / temperature, dim=1)
    return temperature**2 * F.kl_div(log_s, log_t, reduction="batchmean", log_target=True)


def one_stage_loss(
    student: Tensor, teacher: Tensor, y: Tensor, temperature: float, alpha: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the loss (1-alpha) CE(z_s, y) + alpha T^2 KL and its two parts, (loss, ce, kd).

    Parameters
    ----------
    y : labels (b,).
    alpha : the teacher's share, 0 (no teacher) to 1 (only the teacher).
    """
    ce = F.cross_entropy(student, y)
    kd = guidance(student, teacher, temperature)
    return (1 - alpha) * ce + alpha * kd, ce, kd
