"""Networks of the user's own classes, named by the function that makes them: for people who type commands.

Importing a module runs it. So a name becomes known only where the person who starts a process names it: with `--build`,
with `PDC_BUILD`, or by calling `register_custom` in Python. No page, address, run file or upload ever does.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Callable, Iterable
from typing import Any

from torch import nn

from pdc_core.errors import PDCError
from pdc_core.models.timm import PREFIX
from pdc_core.models.zoo import MODELS

BUILD = "PDC_BUILD"  # the environment variable: what --build names, separated by commas
_TARGET = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def register_custom(target: str) -> str:
    """Make the function `target` a network of this process and return its name.

    Parameters
    ----------
    target : str
        "package.module:function". The function is called with the channels of the images and the number of classes and
        returns an nn.Module.

    Returns
    -------
    str
        `target` itself; it can be used wherever a network's name is asked for: `load_model(target, data=...)`.

    Raises
    ------
    PDCError
        If the target is not written like that, cannot be imported, or is not a function.
    """
    if not _TARGET.fullmatch(target):
        raise PDCError(f"{target!r} does not name a function; write package.module:function, for example mynets:make.")
    module, _, name = target.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except Exception as error:  # a user's own module may raise anything at all while it is imported
        raise PDCError(
            f"{target} cannot be imported ({type(error).__name__}: {error}); run the command in the folder that holds "
            f"{module.partition('.')[0]}, or install it."
        ) from error
    if not callable(found):
        raise PDCError(f"{target} is {type(found).__name__}, not a function that makes a network.")
    MODELS[target] = _checked(target, found)
    return target


def register_all(targets: Iterable[str]) -> None:
    """Register functions whose modules may lie in the current folder; those that are registered already stay.

    Parameters
    ----------
    targets : iterable of str
        Each "package.module:function". Installed modules are preferred to those in the current folder.

    Raises
    ------
    PDCError
        If one cannot be used (`register_custom`); those before it are registered.
    """
    for target in targets:
        if target not in MODELS:
            _find_modules_here()
            register_custom(target)


def environment_targets() -> tuple[str, ...]:
    """Return what the environment variable PDC_BUILD names.

    Returns
    -------
    tuple of str
        In the order in which they stand there, separated by commas; nothing is imported.
    """
    return tuple(target.strip() for target in os.environ.get(BUILD, "").split(",") if target.strip())


def _find_modules_here() -> None:
    """Let modules be imported from the current folder too; a script that pip installed does not look there."""
    folder = os.getcwd()
    if folder not in sys.path and "" not in sys.path:
        sys.path.append(folder)


def custom_names() -> tuple[str, ...]:
    """Return the networks of the user's own that this process knows.

    Returns
    -------
    tuple of str
        Their names, in the order in which they were registered.
    """
    return tuple(name for name in MODELS if is_custom(name))


def is_custom(name: str) -> bool:
    """Return whether a name is written like a network of the user's own; it need not be known here.

    Parameters
    ----------
    name : str
        The name of a network.

    Examples
    --------
    >>> is_custom("mynets:make"), is_custom("resnet20"), is_custom("timm:resnet18")
    (True, False, False)
    """
    return _TARGET.fullmatch(name) is not None and not name.startswith(PREFIX)


def build_environment() -> dict[str, str]:
    """Return the environment for a new process that is to know the same networks of the user's own as this one.

    Returns
    -------
    dict of str to str
        This process's environment, with PDC_BUILD set to what is registered here, if anything is.
    """
    names = custom_names()
    return {**os.environ, **({BUILD: ",".join(names)} if names else {})}


def _checked(target: str, make: Callable[..., Any]) -> Callable[[int, int], nn.Module]:
    def build(in_channels: int, n_classes: int) -> nn.Module:
        try:
            model = make(in_channels, n_classes)
        except Exception as error:
            raise PDCError(
                f"{target}({in_channels}, {n_classes}) failed ({type(error).__name__}: {error}); it is called with the "
                "channels of the images and the number of classes."
            ) from error
        if not isinstance(model, nn.Module):
            raise PDCError(f"{target} returned {type(model).__name__}, not a torch.nn.Module.")
        return model

    return build
