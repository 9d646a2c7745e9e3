"""The options `--build` and `--build-data` of every command, and their variables: networks and data of one's own."""

from __future__ import annotations

from typing import Annotated

import typer

from pdc_core.cli.options import app
from pdc_core.data import environment_data_targets, register_all_data
from pdc_core.models import environment_targets, register_all

_HELP = "Your own network: package.module:function, a function of (channels, classes). Its name is that text."
_HELP_DATA = "Your own data: package.module:function, which returns (train, validation, test). Its name is that text."
_OPTION, _OPTION_DATA = "--build", "--build-data"


@app.callback()
def custom(
    context: typer.Context,
    build: Annotated[list[str] | None, typer.Option(_OPTION, metavar="MODULE:FUNCTION", help=_HELP)] = None,
    build_data: Annotated[
        list[str] | None, typer.Option(_OPTION_DATA, metavar="MODULE:FUNCTION", help=_HELP_DATA)
    ] = None,
) -> None:
    """Import the modules that the command line, PDC_BUILD or PDC_BUILD_DATA name; a run file or a page cannot.

    A single network or data set that the command line names is what the command works on, unless it names another.
    """
    register_all([*(build or []), *environment_targets()])
    register_all_data([*(build_data or []), *environment_data_targets()])
    single = {name: own[0] for name, own in (("model", build), ("data", build_data)) if own and len(own) == 1}
    context.default_map = {
        name: {p.name: single[p.name] for p in command.params if p.name in single and (p.required or p.default)}
        for name, command in context.command.commands.items()  # type: ignore[attr-defined]
    }


def build_first(arguments: list[str]) -> list[str]:
    """Return a command line with every --build and --build-data in front of the command, where Typer expects it.

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
        if arguments[i] in (_OPTION, _OPTION_DATA) and i + 1 < len(arguments):
            front += arguments[i : i + 2]
            i += 1
        elif arguments[i].startswith((f"{_OPTION}=", f"{_OPTION_DATA}=")):
            front.append(arguments[i])
        else:
            rest.append(arguments[i])
        i += 1
    return front + rest
