"""What takes no stand-ins for tensors: functions that TorchScript compiled, `len`, einops. During a trace they do."""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FunctionType
from typing import Any

import torch
from torch import nn

from pdc_core.graph.in_place import Proxy


@contextmanager
def readable(model: nn.Module) -> Iterator[None]:
    """Inside this context, what the network's methods name is plain Python where torch.jit.script compiled it.

    Nor does `len`, which has to return a number, hide the size of the batch there, and einops takes stand-ins for
    tensors of torch.

    Parameters
    ----------
    model : nn.Module
        The network.
    """
    swapped: list[tuple[dict[str, Any], str, Any]] = []
    lengths: list[dict[str, Any]] = []
    libraries = _einops_libraries()
    stand_ins: list[type] = [Proxy, *Proxy.__subclasses__()] if libraries else []
    try:
        libraries |= dict.fromkeys(stand_ins, _uncached(libraries.get(torch.Tensor)))
        for names in _namespaces(model):
            if "__name__" in names and "len" not in names:
                lengths.append(names)
                names["len"] = _length
            for name, value in list(names.items()):
                if isinstance(value, torch.jit.ScriptFunction) and (plain := _source(value)) is not None:
                    swapped.append((names, name, value))
                    names[name] = plain
        yield
    finally:
        for kind in stand_ins:
            del libraries[kind]
        for names in lengths:
            del names["len"]
        for names, name, value in swapped:
            names[name] = value


def _einops_libraries() -> dict[type, Any]:
    """Return einops's own table of the library that works on each type; an empty one where einops is not in use."""
    module: Any = sys.modules.get("einops._backends")
    table: dict[type, Any] | None = getattr(module, "_type2backend", None)
    if table is None:
        return {}
    module.get_backend(torch.empty(0))  # notes torch's
    return table


def _uncached(library: Any) -> Any:
    """Return what einops calls torch by, with shapes as lists, which it does not keep for the next call."""
    own = copy.copy(library)
    if own is not None:
        own.shape = lambda x: list(x.shape)
    return own


def _length(value: Any) -> Any:
    """Return len(value); of a stand-in the size of its first axis, which stays open where that is the batch."""
    return value.length() if isinstance(value, Proxy) else len(value)


def _source(function: Any) -> Any:
    """Return the Python function that torch.jit.script compiled, None where torch does not keep it."""
    return getattr(function, "_torchdynamo_inline", None)


def _namespaces(model: nn.Module) -> list[dict[str, Any]]:
    """Return what the methods of a network look names up in: attributes, and the globals of their files."""
    found: dict[int, dict[str, Any]] = {}
    for module in model.modules():
        found[id(module.__dict__)] = module.__dict__
    for kind in {kind for module in model.modules() for kind in type(module).__mro__}:
        methods = () if kind.__module__.startswith("torch.") else vars(kind).values()
        for names in [method.__globals__ for method in methods if isinstance(method, FunctionType)]:
            found[id(names)] = names
    waiting = list(found.values())
    while waiting:
        for value in list(waiting.pop().values()):  # functions that such functions call
            if isinstance(value, torch.jit.ScriptFunction) and (plain := _source(value)) is not None:
                names = plain.__globals__
                if id(names) not in found:
                    found[id(names)] = names
                    waiting.append(names)
    return list(found.values())
