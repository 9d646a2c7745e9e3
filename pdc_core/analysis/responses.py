"""What filters look for: their strongest responses over images, where these are, and how alike two filters respond.

A response is what a group's first reader gets of a filter, after norm and activation function: what the rest of the
network gets to know of it, and what vectors of "activations" are made from. Our choice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pdc_core.analysis.activations import listen
from pdc_core.clustering.covariances import CovarianceSum
from pdc_core.errors import PDCError
from pdc_core.graph import ChannelGroup


@dataclass(frozen=True, eq=False)
class Responses:
    """How the n filters of a group respond to b images.

    Attributes
    ----------
    highest : array of float32, shape (n, b)
        The largest response of each filter in each image.
    place : array of int32, shape (n, b)
        Where it is: the first such place, counted along rows as the reader sees them (behind a flatten, in the order
        of its inputs).
    similarity : array of float32, shape (n, n)
        Pearson correlation of two filters' responses over all images and places, -1 to 1. NaN for a filter whose
        response never changes.
    """

    highest: NDArray[np.float32]
    place: NDArray[np.int32]
    similarity: NDArray[np.float32]


@dataclass(frozen=True)
class Patch:
    """The part of an image that a filter responds to.

    Attributes
    ----------
    image : int
        Its number among the images.
    response : float
        The filter's response there, its largest in this image.
    box : tuple of int
        Top, bottom, left and right in pixels, the bottom row and right column not included.
    """

    image: int
    response: float
    box: tuple[int, int, int, int]


@torch.no_grad()
def measure_responses(
    model: nn.Module,
    groups: Sequence[ChannelGroup],
    images: Tensor,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Responses]:
    """Measure how the filters of some groups respond to images, in one pass and in batches.

    Parameters
    ----------
    model : nn.Module
        A network in eval mode; not changed, but it carries hooks meanwhile.
    groups : sequence of ChannelGroup
        Groups that something reads.
    images : Tensor, shape (b, c, h, w)
        Prepared images, at least one.
    progress : callable, optional
        Called after each batch with (images done, images in all); what it raises ends the work.

    Returns
    -------
    dict of str to Responses
        By the name of the group.

    Raises
    ------
    PDCError
        If there is no image, or nothing reads a group.

    Examples
    --------
    >>> import pdc_core as pdc
    >>> net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1)).eval()
    >>> group = pdc.trace(net, torch.zeros(1, 1, 5, 5)).groups[0]
    >>> measure_responses(net, [group], torch.rand(7, 1, 5, 5))["0"].highest.shape
    (4, 7)
    """
    if not len(images):
        raise PDCError("Responses cannot be measured without images; give images=data.prepare(data.val.images[:500]).")
    for group in groups:
        if not group.readers:
            raise PDCError(f"Nothing reads group {group.name!r}, so its filters have no responses.")
    found = {group.name: _Heard(group.size) for group in groups}

    def next_batch(done: int, total: int) -> None:
        for heard in found.values():
            heard.listening = True
        if progress is not None:
            progress(done, total)

    listen(model, groups, images, lambda group, x: found[group.name].add(x), next_batch)
    return {name: heard.responses() for name, heard in found.items()}


def strongest_patches(responses: Responses, fields: NDArray[np.int64], filter_: int, count: int) -> list[Patch]:
    """Return what excites a filter most: one patch from each of the images with its largest responses.

    Parameters
    ----------
    responses : Responses
        Of the filter's group.
    fields : array of int64, shape (n, places, 4) or (1, places, 4)
        The group's `receptive_fields`; one row where they are the same for all filters.
    filter_ : int
        The filter, 0 to n - 1.
    count : int
        At most this many, 1 or more.

    Returns
    -------
    list of Patch
        The strongest first; none for a filter with the same response everywhere, such as one that is never active.
    """
    highest = responses.highest[filter_]
    if np.isnan(responses.similarity[filter_, filter_]):
        return []
    order = np.argsort(-highest, kind="stable")[:count]
    boxes = fields[filter_ if len(fields) > 1 else 0][responses.place[filter_, order]]
    return [
        Patch(int(i), float(highest[i]), (int(box[0]), int(box[1]), int(box[2]), int(box[3])))
        for i, box in zip(order, boxes, strict=True)
    ]


def mean_similarity(similarity: NDArray[np.float32], members: Sequence[int] | None = None) -> float:
    """Return the mean similarity over all pairs of some filters.

    Parameters
    ----------
    similarity : array of float, shape (n, n)
        As in `Responses`; pairs with NaN do not count.
    members : sequence of int, optional
        The filters; by default all.

    Returns
    -------
    float
        -1 to 1; NaN if there is no pair.

    Examples
    --------
    >>> mean_similarity(np.array([[1.0, 0.5, 0.0], [0.5, 1.0, 0.25], [0.0, 0.25, 1.0]], dtype=np.float32))
    0.25
    """
    chosen = np.arange(len(similarity)) if members is None else np.asarray(members, dtype=np.int64)
    pairs = similarity[np.ix_(chosen, chosen)][np.triu_indices(len(chosen), 1)].astype(np.float64)
    pairs = pairs[~np.isnan(pairs)]
    return float(pairs.mean()) if len(pairs) else float("nan")


class _Heard:
    """What was heard of one group so far. A reader that is called again with the same images is not heard again."""

    def __init__(self, n: int) -> None:
        self.sum = CovarianceSum(n)
        self.highest: list[Tensor] = []
        self.place: list[Tensor] = []
        self.listening = True

    def add(self, x: Tensor) -> None:
        """Add what the reader received of a batch, (n, m, b, ...)."""
        if not self.listening:
            return
        self.listening = False
        self.sum.add(x)
        highest, place = x.movedim(2, 1).flatten(2).max(dim=2)
        self.highest.append(highest.float().cpu())
        self.place.append(place.int().cpu())

    def responses(self) -> Responses:
        """Return the responses to all images."""
        covariance = self.sum.covariance().numpy()
        variance = covariance.diagonal()
        # What is left of a constant response is rounding: relative to the mean of its squares, which is not.
        constant = variance <= 1e-12 * self.sum.square.diagonal().numpy() / self.sum.count
        deviation = np.sqrt(np.where(constant, np.nan, variance))
        similarity = np.clip(covariance / np.outer(deviation, deviation), -1.0, 1.0).astype(np.float32)
        return Responses(torch.cat(self.highest, dim=1).numpy(), torch.cat(self.place, dim=1).numpy(), similarity)
