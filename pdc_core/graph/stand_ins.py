"""What takes no stand-ins for tensors: functions of TorchScript, `len`, `isinstance`, einops. In a trace they do."""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FunctionType
from typing import Any

import torch
from torch import fx, nn

from pdc_core.graph.in_place import Proxy
from pdc_core.graph.kinds import is_a


@contextmanager
def readable(model: nn.Module) -> Iterator[None]:
    """Inside this context, what the network's methods name is plain Python where torch.jit.script compiled it.

    Nor does `len`, which has to return a number, hide the size of the batch there; `isinstance` and einops take
    stand-ins for the tensors that they stand for.

    Parameters
    ----------
    model : nn.Module
        The network.
    """
    swapped: list[tuple[dict[str, Any], str, Any]] = []
    added: list[tuple[dict[str, Any], str]] = []
    libraries = _einops_libraries()
    stand_ins: list[type] = [Proxy, *Proxy.__subclasses__()] if libraries else []
    try:
        libraries |= dict.fromkeys(stand_ins, _uncached(libraries.get(torch.Tensor)))
        for owner, name, of_ours in (
            (vars(torch), "is_tensor", _is_tensor),
            (vars(torch.jit), "isinstance", _jit_isinstance),
        ):
            swapped.append((owner, name, owner[name]))
            owner[name] = of_ours
        for names in _namespaces(model):
            for name in _BUILTINS:
                if "__name__" in names and name not in names:
                    added.append((names, name))
                    names[name] = _BUILTINS[name]
            for name, value in list(names.items()):
                if isinstance(value, torch.jit.ScriptFunction) and (plain := _source(value)) is not None:
                    swapped.append((names, name, value))
                    names[name] = plain
        yield
    finally:
        for kind in stand_ins:
            del libraries[kind]
        for names, name in added:
            del names[name]
        for names, name, value in swapped:
            names[name] = value


def _isinstance(value: Any, kinds: Any) -> bool:
    """Return isinstance(value, kinds); of a stand-in whether the value that it stands for is one."""
    if isinstance(value, fx.Proxy):
        return is_a(value.stands_for(), kinds) if isinstance(value, Proxy) else bool(value)  # which is refused
    return isinstance(value, kinds)


def _is_tensor(value: Any) -> bool:
    """Return what torch.is_tensor would, as `_isinstance` does."""
    return _isinstance(value, torch.Tensor)


def _jit_isinstance(value: Any, kinds: Any, _of_torch: Any = torch.jit.isinstance) -> bool:
    """Return what torch.jit.isinstance would, as `_isinstance` does."""
    return bool(_isinstance(value, kinds) if isinstance(value, fx.Proxy) else _of_torch(value, kinds))


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


_BUILTINS: dict[str, Any] = {"len": _length, "isinstance": _isinstance}


def _source(function: Any) -> Any:
    """Return the Python function that torch.jit.script compiled, None where torch does not keep it."""
    return getattr(function, "_torchdynamo_inline", None)


_OWN = ("", "torch", "pdc_core", "einops")  # which know stand-ins


def _namespaces(model: nn.Module) -> list[dict[str, Any]]:
    """Return what the methods of a network look names up in, and the functions that they call: attributes, globals."""
    found: dict[int, dict[str, Any]] = {}
    for module in model.modules():
        found[id(module.__dict__)] = module.__dict__
    for kind in {kind for module in model.modules() for kind in type(module).__mro__}:
        methods = () if kind.__module__.startswith("torch.") else vars(kind).values()
        for names in [method.__globals__ for method in methods if isinstance(method, FunctionType)]:
            found[id(names)] = names
    waiting = list(found.values())
    while waiting:
        for value in list(waiting.pop().values()):
            function = _source(value) if isinstance(value, torch.jit.ScriptFunction) else value
            names = function.__globals__ if isinstance(function, FunctionType) else {}
            if id(names) not in found and str(names.get("__name__", "")).partition(".")[0] not in _OWN:
                found[id(names)] = names
                waiting.append(names)
    return list(found.values())
