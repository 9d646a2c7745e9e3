"""Defaults are what the documentation says, and what is documented as plain data cannot be changed."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Iterator
from dataclasses import is_dataclass
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

import pdc_core

MODULES = sorted(m.name for m in pkgutil.walk_packages(pdc_core.__path__, "pdc_core.") if "__main__" not in m.name)
# Objects with a state of their own, which change by what they are for.
MUTABLE = {"TraceRecord"}


def _own(module: str) -> Iterator[tuple[str, Any]]:
    loaded = importlib.import_module(module)
    yield from ((name, x) for name, x in vars(loaded).items() if getattr(x, "__module__", "") == module)


def _documented(docstring: str | None) -> dict[str, Any]:
    """Return the defaults that a docstring gives as literals, by the name of the parameter."""
    found = {}
    for names, text in re.findall(r"^ *([\w, ]+) : .*?default (.+)$", docstring or "", re.MULTILINE):
        try:
            values = [ast.literal_eval(each) for each in text.split(" and ")]
        except (ValueError, SyntaxError):
            continue  # words, such as «by default the network itself»
        parts = names.split(", ")
        found |= dict(zip(parts, values * len(parts) if len(values) == 1 else values, strict=False))
    return found


def _functions(module: str) -> Iterator[tuple[str, Callable[..., Any], str | None]]:
    for name, x in _own(module):
        if inspect.isfunction(x):
            yield f"{module}.{name}", x, x.__doc__
        elif inspect.isclass(x):
            yield f"{module}.{name}", x.__init__, x.__doc__  # type: ignore[misc]
            for method, y in vars(x).items():
                y = getattr(y, "__func__", y)
                if inspect.isfunction(y) and y.__doc__:
                    yield f"{module}.{name}.{method}", y, y.__doc__


@pytest.mark.parametrize("module", MODULES)
def test_defaults_are_those_of_the_documentation(module: str) -> None:
    for where, function, docstring in _functions(module):
        given = {n: p.default for n, p in inspect.signature(function).parameters.items()}
        for name, value in _documented(docstring).items():
            default = given.get(name, inspect.Parameter.empty)
            if default is not inspect.Parameter.empty and default is not None:
                exact = pytest.approx(value, rel=1e-4) if isinstance(value, float) else value
                assert default == exact, f"{where}({name}) is {default!r}, documented as {value!r}"


@pytest.mark.parametrize("module", [m for m in MODULES if not m.startswith("pdc_core.cli")])
def test_numbers_that_are_defaults_are_documented(module: str) -> None:
    for where, function, docstring in _functions(module):
        if docstring and "Parameters\n" in docstring:
            numbers = {n: p.default for n, p in inspect.signature(function).parameters.items()}
            numbers = {n: value for n, value in numbers.items() if type(value) in (int, float)}
            assert numbers.keys() <= _documented(docstring).keys(), where


@pytest.mark.parametrize("module", MODULES)
def test_defaults_of_settings_are_those_of_the_documentation(module: str) -> None:
    for where, x in _own(module):
        if inspect.isclass(x) and issubclass(x, BaseModel):
            documented = _documented(x.__doc__)
            for name, field in x.model_fields.items():
                if name in documented and field.default not in (None, PydanticUndefined):
                    assert field.default == documented[name], f"{where}.{name}"


def test_enough_defaults_are_compared_for_the_tests_to_mean_something() -> None:
    count = sum(len(_documented(docstring)) for module in MODULES for _, _, docstring in _functions(module))
    assert count > 120


@pytest.mark.parametrize("module", MODULES)
def test_plain_data_is_frozen(module: str) -> None:
    for name, x in _own(module):
        if inspect.isclass(x) and is_dataclass(x) and name not in MUTABLE:
            assert x.__dataclass_params__.frozen, f"{module}.{name} can be changed"  # type: ignore[attr-defined]
