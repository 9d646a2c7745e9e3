"""Functions compiled by TorchScript take no stand-ins for tensors: while torch.fx traces, plain Python stands in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import FunctionType
from typing import Any

import torch
from torch import nn


@contextmanager
def as_python(model: nn.Module) -> Iterator[None]:
    """Inside this context, functions that torch.jit.script made and the network's forward passes name are plain Python.

    Parameters
    ----------
    model : nn.Module
        The network.
    """
    swapped: list[tuple[dict[str, Any], str, Any]] = []
    try:
        for names in _namespaces(model):
            for name, value in list(names.items()):
                if isinstance(value, torch.jit.ScriptFunction) and (plain := _source(value)) is not None:
                    swapped.append((names, name, value))
                    names[name] = plain
        yield
    finally:
        for names, name, value in swapped:
            names[name] = value


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
