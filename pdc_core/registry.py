"""Registries: the methods, schedules and losses that a run may name, each with one line of help.

A registry is a plain dict from a name to a `Variant`. Everything else is made from it: the type that checks a setting,
the help of the command line, the choices in the app. So a new variant is one entry, in the file that holds it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, ParamSpec, TypeVar

from pydantic import AfterValidator

P = ParamSpec("P")
T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True)
class Variant(Generic[P, T_co]):
    """One entry of a registry; calling it calls `make`.

    Attributes
    ----------
    make : callable
        The function or class behind the name.
    help : str
        What it does, in one line without a full stop, as the command line and the app show it.

    Examples
    --------
    >>> double = Variant(lambda x: 2 * x, "twice as much")
    >>> double(3), double.help
    (6, 'twice as much')
    """

    make: Callable[P, T_co]
    help: str

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T_co:
        """Return what `make` returns for these arguments."""
        return self.make(*args, **kwargs)


def name_in(registry: Mapping[str, object]) -> AfterValidator:
    """Return the check of a pydantic field whose value is a name in a registry.

    Parameters
    ----------
    registry : mapping
        Looked at when a value is checked, so entries that are added later count.

    Examples
    --------
    >>> name_in({"a": 1, "b": 2}).func("c")
    Traceback (most recent call last):
    ValueError: 'c' is unknown; choose a or b
    """

    def check(name: str) -> str:
        if name not in registry:
            raise ValueError(f"{name!r} is unknown; choose {choices(registry)}")
        return name

    return AfterValidator(check)


def choices(registry: Mapping[str, object]) -> str:
    """Return the names of a registry as a sentence lists them.

    Parameters
    ----------
    registry : mapping
        From names to variants.

    Returns
    -------
    str
        Such as "a, b or c".

    Examples
    --------
    >>> choices({"a": 1, "b": 2, "c": 3})
    'a, b or c'
    """
    *most, last = registry
    return f"{', '.join(most)} or {last}" if most else last


def explained(registry: Mapping[str, Variant[..., object] | str]) -> str:
    """Return every name of a registry with its line of help, for a help text.

    Parameters
    ----------
    registry : mapping
        From names to variants, or to their lines of help alone.

    Examples
    --------
    >>> explained({"a": Variant(abs, "the size"), "b": "the length"})
    'a: the size; b: the length'
    """
    lines = ((name, each if isinstance(each, str) else each.help) for name, each in registry.items())
    return "; ".join(f"{name}: {line}" for name, line in lines)
