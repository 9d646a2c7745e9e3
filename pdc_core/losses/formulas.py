"""The formulas: what a student learns from the labels, from its teacher's logits and from its teacher's features.

No gradient ever reaches the teacher.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pdc_core.registry import Variant


def kd_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return T^2 KL(softmax(z_t/T) || softmax(z_s/T)), the mean over the batch.

    Parameters
    ----------
    student, teacher : Tensor, shape (b, classes)
        Logits z_s and z_t. No gradient reaches the teacher.
    temperature : float
        T, above 0. T^2 keeps the gradient's size independent of T.

    Returns
    -------
    Tensor, shape ()
        0 or more.

    Source: Hinton, Vinyals and Dean, arXiv 1503.02531.

    Examples
    --------
    >>> z = torch.tensor([[2.0, 0.0]])
    >>> float(kd_loss(z, z, 4.0))
    0.0
    """
    log_s = F.log_softmax(student / temperature, dim=1)
    log_t = F.log_softmax(teacher.detach() / temperature, dim=1)
    return temperature**2 * F.kl_div(log_s, log_t, reduction="batchmean", log_target=True)


def dkd_loss(student: Tensor, teacher: Tensor, y: Tensor, temperature: float, beta: float = 2.0) -> Tensor:
    """Return T^2 (KL(b_t || b_s) + beta KL(q_t || q_s)), the mean over the batch.

    b = (p_y, 1 - p_y) are the probabilities of the true class and of all others, q the softmax over the others alone.
    Ordinary distillation weighs the second term by the teacher's 1 - p_y, so that it vanishes if the teacher is sure.

    Parameters
    ----------
    student, teacher : Tensor, shape (b, classes)
        Logits z_s and z_t, of at least 2 classes. No gradient reaches the teacher.
    y : Tensor of int64, shape (b,)
        Labels.
    temperature : float
        T, above 0.
    beta : float, default 2.0
        Weight of the classes that are not the true one. 2 is our choice; the source takes 1 to 8.

    Returns
    -------
    Tensor, shape ()
        0 or more.

    Source: decoupled knowledge distillation, Zhao et al., arXiv 2203.08679, with its alpha = 1.

    Examples
    --------
    >>> z = torch.tensor([[2.0, 0.0, 1.0]])
    >>> float(dkd_loss(z, z, torch.tensor([0]), 4.0))
    0.0
    """
    log_s = F.log_softmax(student / temperature, dim=1)
    log_t = F.log_softmax(teacher.detach() / temperature, dim=1)
    true = F.one_hot(y, student.shape[1]).bool()

    def parts(log_p: Tensor) -> tuple[Tensor, Tensor]:
        others = log_p[~true].view(len(log_p), -1)
        rest = others.logsumexp(dim=1, keepdim=True)  # log(1 - p_y)
        return torch.cat([log_p[true][:, None], rest], dim=1), others - rest

    (b_s, q_s), (b_t, q_t) = parts(log_s), parts(log_t)
    target = F.kl_div(b_s, b_t, reduction="batchmean", log_target=True)
    rest = F.kl_div(q_s, q_t, reduction="batchmean", log_target=True)
    return temperature**2 * (target + beta * rest)


LOGITS: dict[str, Variant[[Tensor, Tensor, Tensor, float], Tensor]] = {  # called with z_s, z_t, y and T
    "kd": Variant(
        lambda student, teacher, y, temperature: kd_loss(student, teacher, temperature), "plain distillation"
    ),
    "dkd": Variant(dkd_loss, "decoupled: the true class and the others apart"),
}


def feature_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Return ||f_s - f_t||^2 / ||f_t||^2 over the batch: hints without a regressor, since the widths agree.

    Parameters
    ----------
    student, teacher : Tensor, shape (b, c, h, w)
        Outputs f_s and f_t of one block. No gradient reaches the teacher.

    Returns
    -------
    Tensor, shape ()
        0 or more.

    Source: hints of FitNets, Romero et al., arXiv 1412.6550; the relative size is our choice.

    Examples
    --------
    >>> float(feature_loss(torch.zeros(1, 2, 3, 3), torch.ones(1, 2, 3, 3)))
    1.0
    """
    target = teacher.detach()
    exact = torch.promote_types(student.dtype, torch.float32)  # sums need it, where autocast gives bfloat16
    size = torch.linalg.vector_norm(target, dtype=exact).clamp(min=torch.finfo(exact).tiny ** 0.5)
    return (torch.linalg.vector_norm(student - target, dtype=exact) / size).square()


def attention_transfer(student: Tensor, teacher: Tensor) -> Tensor:
    """Return ||Q_s / ||Q_s|| - Q_t / ||Q_t||||^2, the mean over the batch, with Q = sum over channels of f^2.

    Q shows where in the image a block's output is large.

    Parameters
    ----------
    student, teacher : Tensor, shape (b, c, h, w)
        Outputs f_s and f_t of one block; their widths c may differ. No gradient reaches the teacher.

    Returns
    -------
    Tensor, shape ()
        0 to 2.

    Source: attention transfer, Zagoruyko and Komodakis, arXiv 1612.03928 (its p = 2), squared: smooth where they meet.

    Examples
    --------
    >>> f = torch.rand(2, 3, 4, 4)
    >>> float(attention_transfer(f, 5 * f)) < 1e-12
    True
    """
    exact = torch.promote_types(student.dtype, torch.float32)
    maps = (f.to(exact).square().sum(dim=1).flatten(1) for f in (student, teacher.detach()))
    q_s, q_t = (F.normalize(q, dim=1) for q in maps)
    return (q_s - q_t).square().sum(dim=1).mean()


FEATURES: dict[
    str, Variant[[Tensor, Tensor], Tensor]
] = {  # called with f_s and f_t; each name is a setting, its weight
    "matching": Variant(feature_loss, "distance of block outputs to the teacher's"),
    "attention": Variant(attention_transfer, "distance of attention maps to the teacher's"),
}
DEFAULT_WEIGHTS = {"matching": 1.0}  # of the losses in FEATURES; 0 for those that are not named here


def one_stage_loss(
    student: Tensor,
    teacher: Tensor,
    y: Tensor,
    temperature: float,
    alpha: float,
    logits: str = "kd",
    smoothing: float = 0.0,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the loss (1-alpha) CE(z_s, y) + alpha KD and its two parts.

    Parameters
    ----------
    student, teacher : Tensor, shape (b, classes)
        Logits z_s and z_t. No gradient reaches the teacher.
    y : Tensor of int64, shape (b,)
        Labels.
    temperature : float
        T, above 0.
    alpha : float
        The teacher's share, 0 (no teacher) to 1 (only the teacher).
    logits : str, default "kd"
        The form of KD, a name in LOGITS.
    smoothing : float, default 0.0
        Share of the label that is spread over all classes, 0 to below 1.

    Returns
    -------
    tuple of Tensor, shape ()
        The loss, CE and KD.
    """
    ce = F.cross_entropy(student, y, label_smoothing=smoothing)
    kd = LOGITS[logits](student, teacher, y, temperature)
    return (1 - alpha) * ce + alpha * kd, ce, kd
