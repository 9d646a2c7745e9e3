"""What people write by hand: YAML and JSON in which every key is there once, and numbers that are no yes or no."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from typing import Any, get_args

from pdc_core.errors import PDCError


def parse_yaml(text: str) -> Any:
    """Return the content of a YAML text as plain data; no code is run, and no object is made.

    Parameters
    ----------
    text : str
        The text.

    Raises
    ------
    PDCError
        It is no YAML, or a key is there twice: what is wrong, and in which line, without a full stop.

    Examples
    --------
    >>> parse_yaml("keep: 0.5")
    {'keep': 0.5}
    >>> parse_yaml("keep: 0.5\\nkeep: 0.25")
    Traceback (most recent call last):
    pdc_core.errors.PDCError: line 2: 'keep' is there twice
    """
    import yaml

    try:
        return yaml.load(text, Loader=_loader())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}: " if mark is not None else ""
        raise PDCError(f"{where}{error.problem or error.context}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise PDCError((str(error).strip().splitlines() or ["it is nested too deeply"])[0]) from error


@cache
def _loader() -> Any:
    """Return PyYAML's safe loader (in C, a tenth of the time, where that was built) that refuses a key given twice."""
    import yaml

    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class Loader(base):
        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            keys: set[str] = set()
            for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
                if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                    if key.value in keys:
                        raise yaml.constructor.ConstructorError(
                            problem=f"{key.value!r} is there twice", problem_mark=key.start_mark
                        )
                    keys.add(key.value)
            return super().construct_mapping(node, deep)

    return Loader


def parse_json(text: str) -> Any:
    """Return the content of a JSON text as plain data.

    Parameters
    ----------
    text : str
        The text.

    Raises
    ------
    PDCError
        It is no JSON, or a key is there twice: what is wrong, without a full stop.

    Examples
    --------
    >>> parse_json('{"counts": {"a": 1, "a": 2}}')
    Traceback (most recent call last):
    pdc_core.errors.PDCError: 'a' is there twice
    """
    try:
        return json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise PDCError(str(error).strip().splitlines()[0]) from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise PDCError(f"{key!r} is there twice")
        found[key] = value
    return found


def no_booleans(fields: dict[str, Any], given: Any) -> Any:
    """Return what pydantic is given for a model, or refuse a yes or no where it would take 1 or 0 for a number.

    Parameters
    ----------
    fields : dict
        `model_fields` of the model.
    given : any
        What it is made from.

    Raises
    ------
    ValueError
        A number is True or False.
    """
    for name, value in given.items() if isinstance(given, dict) else ():
        kinds = set(_kinds(fields[name].annotation)) if name in fields else {bool}
        if bool not in kinds and kinds & {int, float} and any(isinstance(each, bool) for each in _leaves(value)):
            raise ValueError(f"{name} holds yes or no ({value}); give a number")
    return given


def _kinds(annotation: Any) -> Iterable[Any]:
    inner = get_args(annotation)
    return [kind for each in inner for kind in _kinds(each)] if inner else [annotation]


def _leaves(value: Any) -> Iterable[Any]:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else None
    return [value] if inner is None else [leaf for each in inner for leaf in _leaves(each)]
