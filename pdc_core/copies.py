"""Copies of networks, as `copy.deepcopy` makes them, also of those that keep tensors of their last forward pass."""

from __future__ import annotations

import copy
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

Network = TypeVar("Network", bound=nn.Module)


def twin(model: Network) -> Network:
    """Return a deep copy of a network.

    Parameters
    ----------
    model : nn.Module
        Any network. What it keeps of a forward pass, such as feature maps in an attribute, is copied without the
        history of its computation, which `copy.deepcopy` refuses to copy.

    Examples
    --------
    >>> import torch
    >>> net = torch.nn.Conv2d(1, 2, 3)
    >>> net.last = net(torch.zeros(1, 1, 3, 3))
    >>> twin(net).last.requires_grad
    False
    """
    return copy.deepcopy(model, without_history(model))


def without_history(model: nn.Module) -> dict[int, Any]:
    """Return id -> copy for what `copy.deepcopy` refuses to copy in a network: its memo.

    These are tensors that are the result of a computation, and functions that torch.jit.script made, which stay.

    Parameters
    ----------
    model : nn.Module
        Any network.
    """
    found: dict[int, Any] = {}
    for module in model.modules():
        for name, value in module.__dict__.items():
            if name in ("_parameters", "_modules") or isinstance(value, bool | int | float | str | None):
                continue
            for leaf in pytree.tree_leaves(value):
                if isinstance(leaf, Tensor) and not leaf.is_leaf:
                    found[id(leaf)] = leaf.detach().clone()
                elif isinstance(leaf, torch.jit.ScriptFunction):
                    found[id(leaf)] = leaf
    return found
