"""Which weights the form offers for a network and data, best first, and what it says of them."""

from __future__ import annotations

from pdc_core.data import Data, DataInfo, describe_data, is_custom_data
from pdc_core.errors import PDCError
from pdc_core.models import MODELS, shipped_data, torchvision_names
from pdc_core.models.load import PUBLISHED, RANDOM, SHIPPED, TIMM, TORCHVISION
from pdc_core.models.published import FILES
from pdc_core.models.timm import PREFIX
from ui.classroom import located_data
from ui.network import data_stamp, load_images

_CLASSES = {PUBLISHED: 10, TORCHVISION: 1000, TIMM: 1000}  # that the published weights are for, nearly always
WEIGHTS = {
    SHIPPED: "shipped with PDC, trained",
    RANDOM: "random weights",
    PUBLISHED: "published CIFAR-10 weights",
    TORCHVISION: "torchvision's for ImageNet",
    TIMM: "timm's",
}


def described(data_name: str | None) -> Data | DataInfo | None:
    """Return the shape and the classes of data without reading more than has to be; None if it cannot be opened."""
    if data_name is None:
        return None
    try:
        if data_name.startswith("npz:") or is_custom_data(data_name):
            return load_images(data_name, data_stamp(data_name))
        return describe_data(located_data(data_name))
    except PDCError:  # said when it is loaded
        return None


def offered_weights(model: str, data_name: str | None) -> list[str]:
    """Return the names of weights that fit a network and data, the best first; random ones always do."""
    info = described(data_name)
    coloured = info is None or info.shape[0] == 3
    found = [SHIPPED] if data_name in shipped_data(model) else []
    if model.startswith(PREFIX):
        found.append(TIMM)
    elif coloured and model not in MODELS and model in torchvision_names():
        found.append(TORCHVISION)
    published = coloured and model in FILES and data_name != "imagenet"
    if published and data_name == "cifar10":
        found.append(PUBLISHED)
    found.append(RANDOM)
    if published and data_name != "cifar10":
        found.append(PUBLISHED)
    return found


def weights_caption(kind: str, data_name: str | None) -> str:
    """Return what a person has to know about weights before loading them; "" if that is nothing."""
    if kind == RANDOM:
        return "Nothing is learned yet: train it after loading."
    if kind not in _CLASSES:
        return ""
    info = described(data_name)
    once = "Downloaded once, if they are not here already."
    if info is None or len(info.classes) == _CLASSES[kind]:
        return once
    return f"{once} The last layer is new, for your {len(info.classes)} classes: train it after loading."
