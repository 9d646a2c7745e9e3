"""Networks of timm by the name `timm:NAME`, where timm is installed. timm is imported only when one is asked for."""

from __future__ import annotations

import difflib
import importlib
from types import ModuleType

from torch import nn

from pdc_core.errors import PDCError
from pdc_core.torchvision_adapter import torchvision

PREFIX = "timm:"


def build_timm(name: str, in_channels: int, n_classes: int) -> nn.Module:
    """Build a network of timm's with random weights.

    Parameters
    ----------
    name : str
        `timm:` and a name as `timm.create_model` takes it.
    in_channels : int
        Channels of the images, at least 1.
    n_classes : int
        Outputs, at least 2.

    Returns
    -------
    nn.Module
        The network.

    Raises
    ------
    PDCError
        timm is not installed, has no network of that name, or cannot build it for these channels.
    """
    timm, wanted = _timm(), name.removeprefix(PREFIX)
    known = timm.list_models()
    if wanted not in known:
        close = difflib.get_close_matches(wanted, known, n=3, cutoff=0.5)
        hint = f"did you mean {', '.join(PREFIX + each for each in close)}? " if close else ""
        raise PDCError(f"timm {timm.__version__} has no network called {wanted!r}; {hint}timm.list_models() lists all")
    try:
        return timm.create_model(wanted, pretrained=False, in_chans=in_channels, num_classes=n_classes)
    except Exception as error:  # each of timm's builders refuses in its own way
        raise PDCError(
            f"{name} cannot be built for {in_channels} channels and {n_classes} classes "
            f"({type(error).__name__}: {error}); choose another network"
        ) from error


def _timm() -> ModuleType:
    torchvision()  # timm imports it, and it may have to be repaired first
    try:
        return importlib.import_module("timm")
    except ModuleNotFoundError as error:
        if error.name != "timm":
            raise
        raise PDCError("networks of timm need timm, which is not installed; run: pip install pdc-core[timm]") from error
