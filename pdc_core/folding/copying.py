"""A copy of a network for `fold` to narrow: new modules throughout, but no copies of the tensors that are replaced.

`copy.deepcopy` walks the dozen empty containers of every module, which takes longer than folding a small network.
"""

from __future__ import annotations

import copy
from collections import Counter, OrderedDict
from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

from pdc_core.copies import without_history
from pdc_core.graph import ChannelGroup
from pdc_core.graph.tensors import layer_of, output_axes

_PLAIN = (bool, int, float, str, type(None), type)


def copy_network(model: nn.Module, groups: Iterable[ChannelGroup]) -> nn.Module:
    """Return a deep copy that shares those tensors of the groups' layers and norms which only one module holds."""
    owners = Counter(id(t) for _, t in model.named_parameters(remove_duplicate=False))
    shared = without_history(model)
    for group in groups:
        written = [layer_of(model, part) for part in (*group.producers, *group.norms)]
        tensors: list[Tensor] = [getattr(module, name) for module in written for name in output_axes(module)]
        tensors += [getattr(layer_of(model, part), "weight") for part in group.readers]  # noqa: B009
        shared |= {id(t): t for t in tensors if owners[id(t)] <= 1}
    return _copied(model, shared)


def _copied(module: nn.Module, memo: dict[int, Any]) -> nn.Module:
    """Do what `copy.deepcopy(module, memo)` does; modules with a way of their own to be copied go that way."""
    if id(module) in memo:
        found: nn.Module = memo[id(module)]
        return found
    kind = type(module)
    if not _is_plain(kind):
        made: nn.Module = copy.deepcopy(module, memo)
        return made
    new = memo[id(module)] = kind.__new__(kind)
    for name, value in module.__dict__.items():
        new.__dict__[name] = _copied_value(value, memo)
    return new


def _copied_value(value: Any, memo: dict[int, Any]) -> Any:
    if isinstance(value, _PLAIN) or (type(value) is tuple and all(isinstance(each, _PLAIN) for each in value)):
        return value
    if id(value) in memo:
        return memo[id(value)]
    if isinstance(value, nn.Module):
        return _copied(value, memo)
    if type(value) is dict:
        new = memo[id(value)] = {}
        new.update((name, _copied_value(each, memo)) for name, each in value.items())
        return new
    if type(value) in (OrderedDict, set) and not value:  # hooks: nearly all of what a module holds
        return memo.setdefault(id(value), type(value)())
    return copy.deepcopy(value, memo)


def _is_plain(kind: type) -> bool:
    """Return whether a class leaves it to torch how its modules are copied, and keeps everything in `__dict__`."""
    own = {"__deepcopy__", "__reduce__", "__reduce_ex__", "__getstate__", "__setstate__", "__slots__", "__new__"}
    bases = [base for base in kind.__mro__[:-1] if not base.__module__.startswith("torch.nn.")]
    return not any(own & base.__dict__.keys() for base in bases)
