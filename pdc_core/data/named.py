"""The data sets known by name: shape, classes and normalisation, for which no files are needed."""

from __future__ import annotations

import difflib

from pdc_core.data.images import DataInfo
from pdc_core.errors import PDCError
from pdc_core.torchvision_adapter import torchvision

_CIFAR10 = "airplane automobile bird cat deer dog frog horse ship truck"
_FASHION = "T-shirt/top|Trouser|Pullover|Dress|Coat|Sandal|Shirt|Sneaker|Bag|Ankle boot"
_CIFAR100 = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster
man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck
pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk
skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger
tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""

# CIFAR-10 is normalised as the published checkpoints of this zoo were trained, with ImageNet's figures; the
# others by their own training images.
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

_NAMED = {
    info.name: info
    for info in (
        DataInfo("digits", (1, 8, 8), tuple("0123456789"), (0.3064,), (0.3767,)),
        DataInfo("clothing", (1, 28, 28), tuple(_FASHION.split("|")), (0.2862,), (0.3531,)),
        DataInfo("fashion_mnist", (1, 28, 28), tuple(_FASHION.split("|")), (0.2860,), (0.3530,)),
        DataInfo("cifar10", (3, 32, 32), tuple(_CIFAR10.split()), _IMAGENET_MEAN, _IMAGENET_STD),
        DataInfo(
            "cifar100",
            (3, 32, 32),
            tuple(_CIFAR100.split()),
            (0.5071, 0.4865, 0.4409),
            (0.2673, 0.2564, 0.2762),
        ),
    )
}

DATASETS: tuple[str, ...] = tuple(_NAMED)


def named(name: str) -> DataInfo:
    """Return the description of a data set that is known by name.

    Parameters
    ----------
    name : str
        A name in DATASETS, or "imagenet" (224x224 pixels, 1,000 classes), which is described for torchvision's
        classifiers but not loaded.

    Returns
    -------
    DataInfo
        Without images.

    Raises
    ------
    PDCError
        If the name is unknown; the message suggests similar names.
    """
    if name == "imagenet":
        classes = torchvision().models.ResNet50_Weights.IMAGENET1K_V1.meta["categories"]
        return DataInfo(name, (3, 224, 224), tuple(classes), _IMAGENET_MEAN, _IMAGENET_STD)
    if name not in _NAMED:
        close = difflib.get_close_matches(name, DATASETS, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]}? " if close else ""
        raise PDCError(
            f"there is no data set called {name!r}; {hint}There are {', '.join(DATASETS)}, "
            "npz:PATH for a file and folder:PATH for images"
        )
    return _NAMED[name]
