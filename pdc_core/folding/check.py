"""The equivalence check: do two networks compute the same, and by how much do they differ?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pdc_core.batch_sizes import images_at_once
from pdc_core.errors import PDCError

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1}


@dataclass(frozen=True)
class Check:
    """How two networks' outputs compare.

    Attributes
    ----------
    max_abs_diff : float
        Largest difference of two logits, 0 or more.
    relative : float
        The same, divided by the largest |logit| of the first network.
    same_predictions : bool
        Whether every example gets the same class.
    examples : int
        How many were compared.
    tolerance : float
        What `relative` may be: 1e-9 in float64, 1e-4 in float32.
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
        The networks. Where they return a dict, list or tuple of tensors, these are compared one by one, each relative
        to its own largest number.
    x : Tensor, shape (b, c, h, w)
        Inputs.
    batch_size : int, default 512
        How many are given at once; on a CPU fewer where that is faster (`batch_sizes.images_at_once`).

    Returns
    -------
    Check
        The differences.

    Raises
    ------
    PDCError
        The outputs have other shapes, or there is no tensor in them.

    Examples
    --------
    >>> net = nn.Linear(4, 3).eval()
    >>> check_equal(net, net, torch.ones(2, 4)).equal
    True
    """
    differences: dict[str, list[Tensor]] = {}
    scales: dict[str, list[Tensor]] = {}
    same, dtype = True, torch.float32
    for part in x.split(images_at_once(x.shape[1:], batch_size, x.device)):
        outputs_a, outputs_b = tensors_in(a(part)), tensors_in(b(part))
        shapes = [{name: tuple(t.shape) for name, t in outputs.items()} for outputs in (outputs_a, outputs_b)]
        if shapes[0] != shapes[1]:
            raise PDCError(f"The networks return tensors of other shapes: one {shapes[0]}, the other {shapes[1]}.")
        if not outputs_a:
            raise PDCError(
                "The networks return no floating-point tensor, alone or in tuples, lists, dicts and dataclasses, so "
                "they cannot be compared."
            )
        for name, one in outputs_a.items():
            other, dtype = outputs_b[name], one.dtype
            if one.numel():
                differences.setdefault(name, []).append((one - other).abs().max())
                scales.setdefault(name, []).append(one.abs().max())
            if one.dim() > 1 and one.shape[1]:
                same = same and bool((one.argmax(dim=1) == other.argmax(dim=1)).all())
    away = {name: float(torch.stack(each).max()) for name, each in differences.items()}  # not a number stays so
    largest = {name: float(torch.stack(each).max()) for name, each in scales.items()}
    relative = [each / largest[name] if largest[name] > 0 else each for name, each in away.items()]
    return Check(_largest(list(away.values())), _largest(relative), same, len(x), TOLERANCE.get(dtype, 1e-4))


def _largest(numbers: list[float]) -> float:
    return float(torch.tensor(numbers, dtype=torch.float64).max()) if numbers else 0.0


def tensors_in(outputs: Any, name: str = "") -> dict[str, Tensor]:
    """Return the floating-point tensors of what a network returned, by where they stand in it.

    Parameters
    ----------
    outputs : Tensor, or tensors in tuples, lists, dicts and dataclasses
        Anything else in it is left out.
    name : str, default ""
        Put in front of every place.

    Returns
    -------
    dict of str to Tensor
        Places joined by dots, such as "boxes" or "0.logits"; "" for a single tensor.

    Examples
    --------
    >>> list(tensors_in({"logits": torch.ones(2), "aux": [torch.ones(1), None]}))
    ['logits', 'aux.0']
    """
    if isinstance(outputs, Tensor):
        return {name: outputs} if outputs.is_floating_point() else {}
    if is_dataclass(outputs) and not isinstance(outputs, type | Mapping):
        outputs = {field.name: getattr(outputs, field.name) for field in fields(outputs)}
    if isinstance(outputs, Mapping):
        parts = list(outputs.items())
    elif isinstance(outputs, list | tuple):
        parts = list(enumerate(outputs))
    else:
        return {}
    return {k: t for key, part in parts for k, t in tensors_in(part, f"{name}.{key}" if name else str(key)).items()}
