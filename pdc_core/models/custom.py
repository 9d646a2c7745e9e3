"""Networks of the user's own classes, named by the function that makes them: for people who type commands.

Importing a module runs it. So a name becomes known only through `register_custom`, which the command line's `--build`
and Python programs call; no page, run file or upload ever does.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from typing import Any

from torch import nn

from pdc_core.errors import PDCError
from pdc_core.models.zoo import MODELS

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
