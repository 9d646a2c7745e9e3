"""Networks of timm by the name `timm:NAME`, where timm is installed. timm is imported only when one is asked for."""

from __future__ import annotations

import difflib
import importlib
from types import ModuleType
from typing import Any

from torch import nn

from pdc_core.errors import PDCError
from pdc_core.torchvision_adapter import torchvision

PREFIX = "timm:"


def build_timm(name: str, in_channels: int, n_classes: int, pretrained: bool = False) -> nn.Module:
    """Build a network of timm's.

    Parameters
    ----------
    name : str
        `timm:` and a name as `timm.create_model` takes it, with or without the tag of its weights.
    in_channels : int
        Channels of the images, at least 1.
    n_classes : int
        Outputs, at least 2.
    pretrained : bool, default False
        With the weights that timm publishes, which timm downloads into its cache once and fits to the channels; for
        other classes than theirs the last layer is new, and random. Without, all weights are random.

    Returns
    -------
    nn.Module
        The network.

    Raises
    ------
    PDCError
        timm is not installed, has no network of that name, cannot build it for these channels, or has no weights for
        it that can be found or downloaded.
    """
    timm, wanted = _timm(), name.removeprefix(PREFIX)
    known = timm.list_models()
    if wanted.partition(".")[0] not in known:
        close = difflib.get_close_matches(wanted, known, n=3, cutoff=0.5)
        hint = f"did you mean {', '.join(PREFIX + each for each in close)}? " if close else ""
        raise PDCError(f"timm {timm.__version__} has no network called {wanted!r}; {hint}timm.list_models() lists all")
    try:
        return timm.create_model(wanted, pretrained=pretrained, in_chans=in_channels, num_classes=n_classes)
    except Exception as error:  # each of timm's builders, and each way to download, refuses in its own way
        what = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        if pretrained:
            raise PDCError(
                f"timm's weights for {name} could not be loaded ({what}). They are looked for in the cache of the "
                "Hugging Face hub first: load them once on a machine with a network connection, or give a file of your "
                "own as weights=PATH (--weights PATH)"
            ) from error
        raise PDCError(
            f"{name} cannot be built for {in_channels} channels and {n_classes} classes ({what}); choose another "
            "network"
        ) from error


def timm_inputs(name: str) -> dict[str, Any]:
    """Return how a network of timm's wants its images.

    Parameters
    ----------
    name : str
        `timm:` and a name that `build_timm` takes.

    Returns
    -------
    dict
        shape (c, h, w), mean and std per channel of images scaled to 0..1; those that timm does not know are left out.
    """
    wanted = _timm().get_pretrained_cfg(name.removeprefix(PREFIX), allow_unregistered=True)
    found = {"shape": wanted.input_size, "mean": wanted.mean, "std": wanted.std} if wanted is not None else {}
    return {key: tuple(value) for key, value in found.items() if value is not None}


def timm_head(model: nn.Module, n_classes: int) -> str:
    """Return the name of the last layer, if timm made it anew because its weights are for other classes; else "".

    Parameters
    ----------
    model : nn.Module
        A network that `build_timm` returned, with timm's weights.
    n_classes : int
        Its outputs.
    """
    theirs = getattr(model, "pretrained_cfg", {})
    layer = theirs.get("classifier") or "the last layer"
    return "" if theirs.get("num_classes") == n_classes else layer if isinstance(layer, str) else ", ".join(layer)


def _timm() -> ModuleType:
    torchvision()  # timm imports it, and it may have to be repaired first
    try:
        return importlib.import_module("timm")
    except ModuleNotFoundError as error:
        if error.name != "timm":
            raise
        raise PDCError("networks of timm need timm, which is not installed; run: pip install pdc-core[timm]") from error
