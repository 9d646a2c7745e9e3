"""The option `--build` of every command, and PDC_BUILD: networks of the user's own classes."""

from __future__ import annotations

from typing import Annotated

import typer

from pdc_core.cli.options import app
from pdc_core.models import environment_targets, register_all

_HELP = "Your own network: package.module:function, a function of (channels, classes). Its name is that text."
_OPTION = "--build"


@app.callback()
def custom(
    build: Annotated[list[str] | None, typer.Option(_OPTION, metavar="MODULE:FUNCTION", help=_HELP)] = None,
) -> None:
    """Import the modules that the command line or PDC_BUILD names; a run file or a page cannot."""
    register_all([*(build or []), *environment_targets()])


def build_first(arguments: list[str]) -> list[str]:
    """Return a command line with every --build in front of the command, where Typer expects it.

    Parameters
    ----------
    arguments : list of str
        The words after `pdc`.

    Examples
    --------
    >>> build_first(["layers", "nets:make", "--build", "nets:make"])
    ['--build', 'nets:make', 'layers', 'nets:make']
    """
    front, rest, i = [], [], 0
    while i < len(arguments):
        if arguments[i] == _OPTION and i + 1 < len(arguments):
            front += arguments[i : i + 2]
            i += 1
        elif arguments[i].startswith(f"{_OPTION}="):
            front.append(arguments[i])
        else:
            rest.append(arguments[i])
        i += 1
    return front + rest
