"""How a forward pass is called: its arguments by name, so that those that are left out keep their defaults."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

Forward = Callable[..., Any]


def bound(forward: Forward, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return what a forward pass is given, by the names of its parameters; what `*args` takes is x0, x1, ...

    Raises
    ------
    TypeError
        It cannot be called so.
    """
    arguments = inspect.signature(forward).bind(*args, **kwargs)
    found: dict[str, Any] = {}
    for name, value in arguments.arguments.items():
        kind = arguments.signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_POSITIONAL:
            found |= {f"x{i}": each for i, each in enumerate(value)}
        elif kind is inspect.Parameter.VAR_KEYWORD:
            found |= value
        else:
            found[name] = value
    return found


def call(forward: Forward, given: Mapping[str, Any]) -> Any:
    """Call a forward pass with what `bound` returned: in order as far as that goes, then by name."""
    named, first = dict(given), []
    for name, parameter in inspect.signature(forward).parameters.items():
        if parameter.kind is parameter.VAR_POSITIONAL:
            first += [named.pop(f"x{i}") for i in range(len(named)) if f"x{i}" in named]
        elif parameter.kind is parameter.KEYWORD_ONLY or name not in named:
            break
        else:
            first.append(named.pop(name))
    return forward(*first, **named)


# How torch calls the first argument of a function (of two of these names, the first), and the sizes of a shape.
_FIRST = ("condition", "sorted_sequence", "input", "self", "tensor", "tensors")
_SIZES = {"view": "size", "reshape": "shape", "expand": "size", "broadcast_to": "size"}


def in_order(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments of an operation with what it works on first, and then sizes, if they came by name.

    Parameters
    ----------
    name : str
        Of a function of torch or of a method of a tensor, as `operations.name_of` gives it. Other functions have
        names of their own for what comes first; their arguments stay.
    args, kwargs : tuple, dict
        Its arguments.
    """
    args, kwargs = tuple(args), dict(kwargs)
    if not args and not name.startswith("function "):
        args = tuple(kwargs.pop(first) for first in [first for first in _FIRST if first in kwargs][:1])
    if len(args) == 1 and _SIZES.get(name) in kwargs:
        args += (kwargs.pop(_SIZES[name]),)
    return args, kwargs


def in_order_of(forward: Forward, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return the arguments of a module with what it works on first, if all came by name."""
    first = next(iter(inspect.signature(forward).parameters), "")
    if args or first not in kwargs:
        return args, kwargs
    return (kwargs[first],), {name: value for name, value in kwargs.items() if name != first}
