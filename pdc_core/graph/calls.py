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
