"""A part of the training images, for runs that shall be short."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from pdc_core.data.image_files import ImageFiles
from pdc_core.data.images import Data, Split, held_back
from pdc_core.errors import PDCError


def subset(data: Data, images: int, seed: int = 0) -> Data:
    """Return a data set with some of its training images, stratified by class; validation and test stay whole.

    Parameters
    ----------
    data : Data
        Not changed; images in files are not read.
    images : int
        Training images, from the number of classes to all of them. Every class keeps at least one.
    seed : int, default 0
        Seed of the choice, 0 or more; nothing else decides it.

    Raises
    ------
    PDCError
        There are not that many images, or not one per class.

    Examples
    --------
    >>> from pdc_core.data import load_data
    >>> few = subset(load_data("digits"), 100)
    >>> len(few.train), len(few.val), torch.bincount(few.train.labels).tolist()
    (100, 360, [10, 10, 10, 10, 10, 10, 10, 10, 10, 10])
    """
    labels = data.train.labels.numpy()
    least, most = len(np.unique(labels)), len(labels)
    if not least <= images <= most:
        raise PDCError(
            f"{images:,} training images of {data.name} were asked for; give {least:,} (one per class) to {most:,} "
            "(all)."
        )
    if images == most:
        return data
    kept = torch.from_numpy(np.setdiff1d(np.arange(most), held_back(labels, most - images, seed)))
    return replace(data, train=Split(_chosen(data.train.images, kept), data.train.labels[kept]))


def _chosen(images: Any, kept: torch.Tensor) -> Any:
    """Return some images; those in files stay there."""
    return images.chosen(kept) if isinstance(images, ImageFiles) else images[kept]
