"""The equivalence check: do two networks compute the same, and by how much do they differ?"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

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
    """Compare two networks on inputs x (b, c, h, w), in their own precision. Neither is changed.

    Examples
    --------
    >>> net = nn.Linear(4, 3).eval()
    >>> check_equal(net, net, torch.ones(2, 4)).equal
    True
    """
    outputs_a = torch.cat([a(part) for part in x.split(batch_size)])
    outputs_b = torch.cat([b(part) for part in x.split(batch_size)])
    difference = float((outputs_a - outputs_b).abs().max())
    scale = float(outputs_a.abs().max())
    same = bool((outputs_a.argmax(dim=1) == outputs_b.argmax(dim=1)).all())
    relative = difference / scale if scale > 0 else difference
    return Check(difference, relative, same, len(x), TOLERANCE.get(outputs_a.dtype, 1e-4))
