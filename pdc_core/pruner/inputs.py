"""What a pruner is given, checked at once: a plan, a number of steps, images as the network gets them."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor, nn

from pdc_core.errors import PDCError
from pdc_core.plan import Plan


def checked_plan(plan: Any) -> Plan:
    """Return a plan, or raise where it is something else.

    Parameters
    ----------
    plan : Plan
        What was given.

    Raises
    ------
    PDCError
        It is no plan.
    """
    if not isinstance(plan, Plan):
        raise PDCError(f"The plan is {type(plan).__name__}; make one, for example pdc.Plan.uniform(graph, keep=0.5).")
    return plan


def checked_network(model: Any, example: Any, teacher: Any) -> None:
    """Raise where what a pruner is to train, to look at or to be taught by is something else.

    Parameters
    ----------
    model : Module
        What was given, with weights.
    example : Tensor, shape (1, c, h, w)
        What was given.
    teacher : Module, False or None
        What was given.

    Raises
    ------
    PDCError
        One of them is of another kind.
    """
    if not isinstance(model, nn.Module) or next(model.parameters(), None) is None:
        what = f"{type(model).__name__} without weights" if isinstance(model, nn.Module) else type(model).__name__
        raise PDCError(f"The network is {what}; give a trained torch.nn.Module.")
    if not isinstance(example, Tensor):
        raise PDCError(f"The example is {type(example).__name__}; give one input as a tensor, (1, c, h, w).")
    if teacher is not None and teacher is not False and not isinstance(teacher, nn.Module):
        raise PDCError(f"The teacher is {teacher!r}; give a network, or False for none; left out, it is the network.")


def checked_steps(steps: Any) -> int | None:
    """Return the number of steps as an int, or None.

    Parameters
    ----------
    steps : int or None
        What was given.

    Raises
    ------
    PDCError
        It is no whole number above 0.
    """
    if steps is None:
        return None
    try:
        whole = isinstance(steps, float) and steps.is_integer()
        count = 0 if isinstance(steps, bool) else int(steps) if whole else operator.index(steps)
    except TypeError:
        count = 0
    if count < 1:
        raise PDCError(
            f"steps={steps}: give the number of optimiser steps of the whole loop, a whole number from 1, or None."
        )
    return count


def checked_images(images: Any, example: Tensor, dtype: torch.dtype) -> Tensor | None:
    """Return images in the network's precision, or None.

    Parameters
    ----------
    images : Tensor, shape (b, c, h, w), or None
        What was given.
    example : Tensor, shape (1, c, h, w)
        One input.
    dtype : torch.dtype
        The precision of the network's weights.

    Raises
    ------
    PDCError
        It is no tensor of finite floating-point numbers, or of inputs that do not look like the example.
    """
    if images is None:
        return None
    want = f"a tensor of shape (b, {', '.join(map(str, example.shape[1:]))}), about 512 inputs as the network gets them"
    if not isinstance(images, Tensor):
        raise PDCError(f"images is {type(images).__name__}; give {want}.")
    if images.dim() != example.dim() or len(images) < 2 or images.shape[1] != example.shape[1]:
        raise PDCError(f"images has shape {tuple(images.shape)}; give {want}.")
    if not images.is_floating_point():
        raise PDCError(f"images holds {str(images.dtype).removeprefix('torch.')} numbers; give {want}, normalised.")
    if not images.isfinite().all():
        raise PDCError(f"images holds NaN or infinite numbers; give {want}.")
    return images.to(dtype)
