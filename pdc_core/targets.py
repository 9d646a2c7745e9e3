"""Functions of the user's own, named by the person who starts a process: package.module:function.

Importing a module runs it. So nothing but a command line, an environment variable or a call in Python names one; no
page, address, run file or upload does.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from pdc_core.errors import PDCError
from pdc_core.torchvision_adapter import torchvision

_TARGET = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def is_target(name: str) -> bool:
    """Return whether a name is written package.module:function; nothing is imported.

    Parameters
    ----------
    name : str
        Any text.

    Examples
    --------
    >>> is_target("mynets:make"), is_target("resnet20")
    (True, False)
    """
    return _TARGET.fullmatch(name) is not None


def import_function(target: str, makes: str) -> Callable[..., Any]:
    """Import the function that a target names.

    Parameters
    ----------
    target : str
        "package.module:function".
    makes : str
        What the function makes, for the message: "a network".

    Returns
    -------
    callable
        The function.

    Raises
    ------
    PDCError
        The target is not written like that, cannot be imported, or is not a function.
    """
    if not is_target(target):
        raise PDCError(f"{target!r} does not name a function; write package.module:function, for example mynets:make.")
    module, _, name = target.partition(":")
    try:
        found = getattr(_imported(module), name)
    except Exception as error:  # a user's own module may raise anything at all while it is imported
        raise PDCError(
            f"{target} cannot be imported ({type(error).__name__}: {error}); run the command in the folder that holds "
            f"{module.partition('.')[0]}, or install it."
        ) from error
    if not callable(found):
        raise PDCError(f"{target} is {type(found).__name__}, not a function that makes {makes}.")
    return found


def _imported(module: str) -> ModuleType:
    """Import a module; where it imports a torchvision that does not fit to torch, repair that first."""
    try:
        return importlib.import_module(module)
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
    torchvision()
    return importlib.import_module(module)


def find_modules_here() -> None:
    """Let modules be imported from the current folder too; a script that pip installed does not look there."""
    folder = os.getcwd()
    if folder not in sys.path and "" not in sys.path:
        sys.path.append(folder)


def targets_in(variable: str) -> tuple[str, ...]:
    """Return what an environment variable names, in its order; nothing is imported.

    Parameters
    ----------
    variable : str
        The variable; targets stand in it separated by commas.
    """
    return tuple(target.strip() for target in os.environ.get(variable, "").split(",") if target.strip())
