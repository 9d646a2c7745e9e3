"""The equivalence check: do two networks compute the same, and by how much do they differ?"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1}


@dataclass(frozen=True)
class Check:
    """How two networks' outputs compare.

    Attributes
    ----------
    max_abs_diff : largest difference of two logits.
    relative : the same, divided by the largest |logit| of the first network.
    same_predictions : whether every example gets the same class.
    examples : how many were compared.
    tolerance : what `relative` may be: 1e-9 in float64, 1e-4 in float32.
    """

    max_abs_diff: float
    relative: float
    same_predictions: bool
    examples: int
    tolerance: float

    @property
    def equal(self) -> bool:
        """Whether the two agree: within the tolerance, and in every class."""
        return self.relative <= self.tolerance and self.same_predictions


@torch.no_grad()
def check_equal(a: nn.Module, b: nn.Module, x: Tensor, batch_size: int = 512) -> Check:
    """Compare two networks on inputs, in their own precision. Neither is changed.

    Parameters
    ----------
    a, b : nn.Module
        The networks. Where they return a dict, list or tuple of tensors, these are compared one by one.
    x : Tensor, shape (b, c, h, w)
        Inputs.
    batch_size : int, default 512
        How many are given at once.

    Returns
    -------
    Check
        The differences.

    Examples
    --------
    >>> net = nn.Linear(4, 3).eval()
    >>> check_equal(net, net, torch.ones(2, 4)).equal
    True
    """
    difference, scale, same, dtype = 0.0, 0.0, True, x.dtype
    for part in x.split(batch_size):
        pairs = list(zip(pytree.tree_leaves(a(part)), pytree.tree_leaves(b(part)), strict=True))
        for one, other in pairs:
            if not isinstance(one, Tensor) or not one.numel():
                continue
            dtype = one.dtype
            difference = max(difference, float((one - other).abs().max()))
            scale = max(scale, float(one.abs().max()))
            if one.dim() > 1:
                same = same and bool((one.argmax(dim=1) == other.argmax(dim=1)).all())
    relative = difference / scale if scale > 0 else difference
    return Check(difference, relative, same, len(x), TOLERANCE.get(dtype, 1e-4))
