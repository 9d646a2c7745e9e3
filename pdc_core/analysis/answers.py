"""Two networks' answers to the same images, and how far they are apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pdc_core.batch_sizes import images_at_once
from pdc_core.data import Data
from pdc_core.errors import PDCError


@dataclass(frozen=True, eq=False)
class Answers:
    """The answers of two networks to n images.

    Attributes
    ----------
    first, second : array of int64, shape (n,)
        The class that each network names.
    distance : array of float64, shape (n,)
        Total variation of their probabilities, 0 (the same) to 1 (no class in common).
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    distance: NDArray[np.float64]


def total_variation(p: NDArray[np.float64], q: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return half the sum of |p - q| over the classes: the largest difference in the probability of any set of them.

    Parameters
    ----------
    p, q : array of float, shape (n, classes)
        Probabilities.

    Returns
    -------
    array of float64, shape (n,)
        0 to 1.

    Examples
    --------
    >>> total_variation(np.array([[0.5, 0.5], [1.0, 0.0]]), np.array([[0.25, 0.75], [0.0, 1.0]])).tolist()
    [0.25, 1.0]
    """
    return np.asarray(0.5 * np.abs(p.astype(np.float64) - q).sum(axis=1))


@torch.no_grad()
def probabilities(model: nn.Module, data: Data, images: Tensor) -> NDArray[np.float64]:
    """Return what a network answers to images.

    Parameters
    ----------
    model : nn.Module
        A classifier for the data, in eval mode.
    data : Data
        It prepares the images.
    images : Tensor of uint8, shape (n, c, h, w)
        The images, n at least 1.

    Returns
    -------
    array of float64, shape (n, outputs)
        Softmax of the logits.

    Raises
    ------
    PDCError
        The network gives no logits of classes.
    """
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    logits = model(data.prepare(images.to(device)))
    if not isinstance(logits, Tensor) or logits.dim() != 2:
        raise PDCError("The network returns no logits of classes, so its answers cannot be shown; give a classifier.")
    return np.asarray(logits.double().softmax(dim=1).cpu().numpy())


def compare_answers(
    first: nn.Module,
    second: nn.Module,
    data: Data,
    images: Tensor,
    progress: Callable[[int, int], None] | None = None,
) -> Answers:
    """Ask two networks for the classes of many images; only what is compared is kept, so that many classes fit.

    Parameters
    ----------
    first, second : nn.Module
        Classifiers for the data with equally many outputs, in eval mode.
    data : Data
        It prepares the images.
    images : Tensor of uint8, shape (n, c, h, w)
        The images, or what is indexed like them, n at least 1.
    progress : callable, optional
        Called after each batch with (images done, images in all); what it raises ends the work.

    Returns
    -------
    Answers
        In the order of the images.

    Raises
    ------
    PDCError
        There is no image, or a network gives no logits of as many classes as the other.
    """
    if not len(images):
        raise PDCError(f"There is no image of {data.name} to compare the networks on.")
    parts, done = [], 0
    for batch in images.split(images_at_once(data.shape, 250, torch.device("cpu"))):
        p, q = (probabilities(network, data, batch) for network in (first, second))
        if p.shape != q.shape:
            raise PDCError(
                f"The networks have {p.shape[1]} and {q.shape[1]} outputs; compare networks for one data set."
            )
        parts.append((p.argmax(axis=1), q.argmax(axis=1), total_variation(p, q)))
        done += len(batch)
        if progress is not None:
            progress(done, len(images))
    named, also, distance = (np.concatenate(each) for each in zip(*parts, strict=True))
    return Answers(named.astype(np.int64), also.astype(np.int64), distance)
