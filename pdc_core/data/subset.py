"""Fewer training images: a stratified part that depends on the labels, the number and the seed alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from pdc_core.data.folders import ImageFiles
from pdc_core.data.images import Data, Split, held_back
from pdc_core.errors import PDCError


def subset(data: Data, count: int, seed: int = 0) -> Data:
    """Return the data with fewer training images; validation and test images stay.

    Shares of classes are kept as closely as whole numbers allow, and every class keeps at least one image. The order of
    the images stays, so all of them give the data back unchanged.

    Parameters
    ----------
    data : Data
        Any data set. Images in files are not read.
    count : int
        Training images to use, at least one per class, at most as many as there are.
    seed : int, default 0
        Seed of the choice.

    Returns
    -------
    Data
        `left_out` says how many images are not used.

    Raises
    ------
    PDCError
        There are fewer images, or fewer would be used than there are classes.

    Examples
    --------
    >>> import pdc_core as pdc
    >>> fewer = subset(pdc.load_data("digits"), 100)
    >>> len(fewer.train), fewer.left_out, fewer.train.labels.bincount().min().item()
    (100, 977, 10)
    """
    labels = data.train.labels.numpy()
    classes, there = len(np.unique(labels)), len(labels)
    if not classes <= count <= there:
        what = f"{there:,} training images" if count > there else f"{classes} classes"
        raise PDCError(
            f"{count:,} training images of {data.name} were asked for, which has {what}; give {classes:,} to "
            f"{there:,}, or leave the number out to use all."
        )
    if count == there:
        return data
    out = held_back(labels, there - count, seed % 2**32)
    chosen = torch.from_numpy(np.delete(np.arange(there), out))
    images: Any = data.train.images
    part: Any = images.chosen(chosen) if isinstance(images, ImageFiles) else images[chosen]
    return replace(data, train=Split(part, data.train.labels[chosen]), left_out=data.left_out + len(out))
