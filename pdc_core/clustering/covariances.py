"""The covariance of each group's channels on data, as every reader sees them, in one pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pdc_core.batch_sizes import images_in_memory
from pdc_core.errors import PDCError
from pdc_core.graph import ChannelGroup
from pdc_core.graph.readers import reading


@dataclass(frozen=True, eq=False)
class ReaderCovariances:
    """Covariances of a group's n channels over images and pixels.

    Covariance and not E[x x^T]: the norm or bias after a reader absorbs a constant shift of its output.

    Attributes
    ----------
    covariances : tuple of Tensor, shape (n, n), float64
        One per reader.
    """

    covariances: tuple[Tensor, ...]

    @property
    def covariance(self) -> Tensor:
        """The covariance that the first reader sees, (n, n)."""
        return self.covariances[0]


@torch.no_grad()
def channel_covariances(
    model: nn.Module,
    groups: Sequence[ChannelGroup],
    images: Tensor,
    batch: int = 250,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, ReaderCovariances]:
    """Measure the channels of some groups where they are read, after norm and activation function.

    Parameters
    ----------
    model : nn.Module
        A network in eval mode; it runs on its own device and is not changed.
    groups : sequence of ChannelGroup
        Groups that something reads.
    images : Tensor, shape (b, c, h, w)
        Prepared images, at least one.
    batch : int, default 250
        Most images per batch; fewer of large images (`batch_sizes.images_in_memory`).
    progress : callable, optional
        Called after each batch with (images done, images in all); what it raises ends the work.

    Returns
    -------
    dict of str to ReaderCovariances
        By the name of the group, on the CPU.

    Raises
    ------
    PDCError
        If there is no image, or nothing reads a group.
    """
    if not len(images):
        raise PDCError("Channels cannot be measured without images; give images=data.prepare(data.train.images[:500]).")
    sums = {g.name: [CovarianceSum(g.size) for _ in g.readers] for g in groups}
    for name, own in sums.items():
        if not own:
            raise PDCError(f"Nothing reads group {name!r}, so it has no activations to compare.")
    device = next(model.parameters()).device
    parts = [(r, each.add) for g in groups for r, each in zip(g.readers, sums[g.name], strict=True)]
    done = 0
    with reading(model, parts):
        for part in images.split(images_in_memory(images.shape[1:], batch)):
            model(part.to(device))
            done += len(part)
            if progress is not None:
                progress(done, len(images))
    return {name: ReaderCovariances(tuple(each.covariance() for each in own)) for name, own in sums.items()}


class CovarianceSum:
    """Sums over the inputs of one reader, from which a covariance follows.

    Parameters
    ----------
    n : int
        Channels.
    """

    def __init__(self, n: int) -> None:
        self.square, self.sum, self.count = torch.zeros(n, n, dtype=torch.float64), torch.zeros(n).double(), 0

    def add(self, x: Tensor) -> None:
        """Add what the reader received.

        Parameters
        ----------
        x : Tensor, shape (n, m, b, ...)
            The m input positions of a channel count as pixels.
        """
        x = x.reshape(len(x), -1).double()
        self.square += (x @ x.T).cpu()
        self.sum += x.sum(dim=1).cpu()
        self.count += x.shape[1]

    def covariance(self) -> Tensor:
        """Return the covariance of the channels over images and pixels, (n, n), float64."""
        mean = self.sum / self.count
        return self.square / self.count - torch.outer(mean, mean)
