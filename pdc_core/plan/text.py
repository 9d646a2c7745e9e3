"""Plans as text: JSON and YAML in, plain data out; nothing but data is ever built from a file."""

from __future__ import annotations

from typing import Any

from pdc_core.errors import PDCError
from pdc_core.handwritten import parse_json, parse_yaml


def parse(text: str | bytes) -> Any:
    """Return the content of a JSON or YAML text as plain data.

    Parameters
    ----------
    text : str or bytes
        The text; bytes are UTF-8.

    Returns
    -------
    object
        Dicts, lists, strings and numbers.

    Raises
    ------
    PDCError
        If the text is neither.

    Examples
    --------
    >>> parse("counts: {conv1: 8}")
    {'counts': {'conv1': 8}}
    """
    try:
        decoded = text.decode("utf-8-sig") if isinstance(text, bytes) else text
        return parse_json(decoded) if decoded.lstrip().startswith("{") else parse_yaml(decoded)
    except ValueError as error:
        raise PDCError(
            f'This text is neither JSON nor YAML ({error}); a plan looks like {{"counts": {{"conv1": 8}}}}.'
        ) from error


def to_yaml(content: dict[str, Any]) -> str:
    """Write plain data as YAML that a person can edit: one line per group, long lists on one line.

    Parameters
    ----------
    content : dict
        Plain data.

    Returns
    -------
    str
        YAML.

    Examples
    --------
    >>> print(to_yaml({"counts": {"conv1": 8}, "pinned": {"conv1": [0, 3]}}), end="")
    counts:
      conv1: 8
    pinned:
      conv1: [0, 3]
    """
    import yaml

    class Writer(yaml.SafeDumper):
        pass

    def row(writer: yaml.SafeDumper, values: list[Any]) -> yaml.Node:
        return writer.represent_sequence("tag:yaml.org,2002:seq", values, flow_style=True)

    Writer.add_representer(list, row)
    return str(yaml.dump(content, Dumper=Writer, sort_keys=False, width=120, allow_unicode=True))
