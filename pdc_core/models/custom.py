"""Networks of the user's own classes, named by the function that makes them: for people who type commands.

Importing a module runs it. So a name becomes known only where the person who starts a process names it: with `--build`,
with `PDC_BUILD`, or by calling `register_custom` in Python. No page, address, run file or upload ever does.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

from torch import nn

from pdc_core.data import BUILD_DATA, custom_data_names
from pdc_core.errors import PDCError
from pdc_core.models.timm import PREFIX
from pdc_core.models.zoo import MODELS
from pdc_core.targets import find_modules_here, import_function, is_target, targets_in

BUILD = "PDC_BUILD"  # the environment variable: what --build names, separated by commas


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
    found = import_function(target, "a network")
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
            find_modules_here()
            register_custom(target)


def environment_targets() -> tuple[str, ...]:
    """Return what the environment variable PDC_BUILD names.

    Returns
    -------
    tuple of str
        In the order in which they stand there, separated by commas; nothing is imported.
    """
    return targets_in(BUILD)


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
    return is_target(name) and not name.startswith(PREFIX)


def build_environment() -> dict[str, str]:
    """Return the environment for a new process that is to know the same networks and data of the user's own.

    Returns
    -------
    dict of str to str
        This process's environment, with PDC_BUILD and PDC_BUILD_DATA set to what is registered here, if anything is.
    """
    known = {BUILD: custom_names(), BUILD_DATA: custom_data_names()}
    return {**os.environ, **{variable: ",".join(names) for variable, names in known.items() if names}}


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
