"""How many images a network is given at once: fewer of large ones, for speed and for memory."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

_PIXELS, _FEWEST = 2**17, 16  # of the images that a CPU is given at once, and how many at least
_KEPT_PIXELS, _FEWEST_KEPT = 100 * 64 * 64, 32  # the same where many of their activations are in memory together


def images_at_once(shape: Sequence[int], most: int, device: torch.device) -> int:
    """Return how many images a network is given at once: on a CPU about as many as its caches hold.

    ResNet-20 classifies an image of CIFAR-10 in half the time in batches of 128 instead of 512. Our choice: at most
    2^17 pixels, and at least 16 images.

    Parameters
    ----------
    shape : sequence of int
        Of one image, (c, h, w).
    most : int
        Images that are allowed at once, 1 or more.
    device : device
        Where the network computes.

    Returns
    -------
    int
        1 to `most`.

    Examples
    --------
    >>> cpu = torch.device("cpu")
    >>> [images_at_once(shape, 512, cpu) for shape in ((1, 8, 8), (3, 32, 32), (3, 224, 224))]
    [512, 128, 16]
    """
    if device.type != "cpu":
        return most
    return min(most, max(_FEWEST, _PIXELS // max(1, math.prod(shape[1:]))))


def images_in_memory(shape: Sequence[int], most: int) -> int:
    """Return how many images a network is given at once while what its layers compute is looked at.

    ResNet-18 takes 0.25 GiB for 32 images of 224 by 224 pixels. Our choice: at most 409,600 pixels, and at least 32
    images, since statistics of a batch are estimated from them.

    Parameters
    ----------
    shape : sequence of int
        Of one image, (c, h, w).
    most : int
        Images that are allowed at once, 1 or more.

    Returns
    -------
    int
        1 to `most`.

    Examples
    --------
    >>> [images_in_memory(shape, 250) for shape in ((3, 32, 32), (3, 64, 64), (3, 224, 224))]
    [250, 100, 32]
    """
    return min(most, max(_FEWEST_KEPT, _KEPT_PIXELS // max(1, math.prod(shape[1:]))))
