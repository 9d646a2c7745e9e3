"""Names to networks: the zoo's own builders first, then torchvision's, and timm's as `timm:NAME`."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from pdc_core.errors import PDCError
from pdc_core.models.mobilenet import MobileNetV2
from pdc_core.models.resnet import ResNet
from pdc_core.models.timm import PREFIX, build_timm
from pdc_core.models.vgg import VGG16
from pdc_core.torchvision_adapter import torchvision

Builder = Callable[[int, int], nn.Module]

MODELS: dict[str, Builder] = {
    f"resnet{6 * blocks + 2}{suffix}": partial(ResNet, blocks, option=option)
    for suffix, option in (("", "A"), ("_b", "B"))
    for blocks in (3, 5, 7, 9, 18)
} | {"resnet1202": partial(ResNet, 200), "vgg16_bn_small": VGG16, "mobilenet_v2_small": MobileNetV2}

# Heads that only the original training uses, and an initialisation that takes half a minute.
_WITHOUT_AUXILIARY = {"aux_logits": False, "init_weights": False}


def build_model(name: str, in_channels: int, n_classes: int, size: int = 32) -> nn.Module:
    """Build a network with random weights, in training mode as torch does.

    Parameters
    ----------
    name : str
        A name of the zoo (a key of `MODELS`), of a torchvision classifier or segmentation network, such as "resnet50"
        or "fcn_resnet50", or `timm:` and a name of timm's, such as "timm:resnet18".
    in_channels : int
        Channels of the images, at least 1; torchvision's networks take only 3.
    n_classes : int
        Outputs, at least 2.
    size : int, default 32
        Height and width of the images in pixels; used only by networks that fix it when they are built (vit, maxvit).

    Returns
    -------
    nn.Module
        The network.

    Raises
    ------
    PDCError
        If no network has that name, or it cannot be built for these channels, classes or size.

    Examples
    --------
    >>> build_model("resnet20", 1, 10).conv1.weight.shape
    torch.Size([16, 1, 3, 3])
    """
    if in_channels < 1 or n_classes < 2:
        raise PDCError(
            f"a network needs at least 1 input channel and 2 classes; {in_channels} and {n_classes} were given"
        )
    if name in MODELS:
        return MODELS[name](in_channels, n_classes)
    if name.startswith(PREFIX):
        return build_timm(name, in_channels, n_classes)
    known = torchvision_names()
    if name not in known and name not in segmentation_names():
        raise unknown_model(name, known)
    if in_channels != 3:
        raise PDCError(
            f"{name} is torchvision's and takes images of 3 channels; these have {in_channels}. "
            f"Choose colour images, or a network of the zoo: {', '.join(MODELS)}"
        )
    try:
        make = torchvision().models.get_model
        return make(name, weights=None, num_classes=n_classes, **_arguments(name, size))
    except ValueError as error:
        raise PDCError(f"{name} cannot be built for images of {size}x{size} pixels: {error}") from error


def torchvision_names() -> tuple[str, ...]:
    """Return the names of torchvision's classifiers, sorted."""
    models = torchvision().models
    return tuple(models.list_models(module=models))


def segmentation_names() -> tuple[str, ...]:
    """Return the names of torchvision's segmentation networks, sorted: to plan, fold and export, not to train here."""
    models = torchvision().models
    return tuple(models.list_models(module=models.segmentation))


def unknown_model(name: str, known: tuple[str, ...]) -> PDCError:
    """Return the error for an unknown name, with the names that are similar.

    Parameters
    ----------
    name : str
        The unknown name.
    known : tuple of str
        Names of torchvision's classifiers.

    Returns
    -------
    PDCError
        To be raised.
    """
    if ":" in name:
        return PDCError(
            f"{name!r} is a network of your own. Importing it runs its code, so it is used only where you name it: "
            f"with --build {name} on the command line, with register_custom({name!r}) in Python"
        )
    close = difflib.get_close_matches(name, (*MODELS, *known), n=3, cutoff=0.5)
    hint = f"; did you mean {', '.join(close)}?" if close else "."
    return PDCError(
        f"there is no network called {name!r}{hint} The zoo has {', '.join(MODELS)}; "
        "torchvision's classifiers go by torchvision's names"
    )


def _arguments(name: str, size: int) -> dict[str, Any]:
    if name in segmentation_names():
        return {"weights_backbone": None}
    if name in ("googlenet", "inception_v3"):
        return _WITHOUT_AUXILIARY
    if name.startswith("vit_"):
        patch = int(name.rpartition("_")[2])
        if size % patch:
            raise ValueError(f"the side has to be a multiple of {patch}")
        return {"image_size": size}
    if name.startswith("maxvit"):
        return {"input_size": (size, size)}
    return {}
