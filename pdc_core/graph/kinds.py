"""What class the value has that a stand-in stands for, so that `isinstance(x, Tensor)` takes the right branch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx, nn

from pdc_core.graph.operations import SIZES, operation

_SEVERAL = {"chunk", "split", "split_with_sizes", "tensor_split", "unbind", "topk", "sort", "std_mean", "var_mean"}
_SEVERAL_MODULES = (nn.RNNBase, nn.MultiheadAttention)


def class_of(node: fx.Node, tracer: Any) -> type | None:
    """Return the class of what a node will give, as far as the node tells; None where it does not.

    Parameters
    ----------
    node : fx.Node
        A node of a program that is being traced.
    tracer : Tracer
        What traces it.
    """
    if node.op == "placeholder":
        return type(tracer.given[str(node.target)])
    if node.op == "call_module":
        return None if isinstance(tracer.root.get_submodule(str(node.target)), _SEVERAL_MODULES) else Tensor
    if operation(node) == "getitem":
        return class_of(node.args[0], tracer) and Tensor  # type: ignore[arg-type]
    name = operation(node)
    return None if name in _SEVERAL | SIZES or name.startswith("function ") else Tensor


def is_field(name: str) -> bool:
    """Return whether an operation of torch gives several results of which one has this name, such as `values`."""
    return any(hasattr(kind, name) for kind in vars(torch.return_types).values() if isinstance(kind, type))


def is_a(value: type, kinds: Any) -> bool:
    """Return whether values of a class are instances of a class, or of one in a tuple or union of classes."""
    if isinstance(kinds, tuple):
        return any(is_a(value, kind) for kind in kinds)
    try:
        return issubclass(value, kinds)
    except TypeError:  # what is no class, such as torch.FloatTensor
        return False
