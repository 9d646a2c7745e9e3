"""What data says about channels: the covariance of each group's channels, as every reader sees them, in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pdc_core.errors import PDCError
from pdc_core.graph import ChannelGroup


@dataclass(frozen=True, eq=False)
class ReaderCovariances:
    """Covariances of a group's n channels over images and pixels, one (n, n) float64 matrix a reader.

    Covariance and not E[x x^T]: a constant shift of a reader's output is taken up by the norm or bias behind it.
    """

    covariances: tuple[Tensor, ...]

    @property
    def covariance(self) -> Tensor:
        """What the first reader sees."""
        return self.covariances[0]


@torch.no_grad()
def channel_covariances(
    model: nn.Module, groups: Sequence[ChannelGroup], images: Tensor, batch: int = 250
) -> dict[str, ReaderCovariances]:
    """Measure the channels of some groups where they are read, after norm and activation function.

    Parameters
    ----------
    model : a network in eval mode; it runs on the device where it is, and is not changed.
    images : prepared images (b, c, h, w), at least one.

    Returns
    -------
    {group name: Moment}. Matrices are on the CPU.

    Raises
    ------
    PDCError
        There is no image, or nothing reads a group.
    """
    if not len(images):
        raise PDCError("Channels cannot be measured without images; give images=data.prepare(data.train.images[:500]).")
    sums = {g.name: [_Sum(model, g, r) for r in range(len(g.readers))] for g in groups}
    for name, own in sums.items():
        if not own:
            raise PDCError(f"Nothing reads group {name!r}, so that it has no activations to compare.")
    device = next(model.parameters()).device
    try:
        for part in images.split(batch):
            model(part.to(device))
    finally:
        for own in sums.values():
            for each in own:
                each.handle.remove()
    return {name: ReaderCovariances(tuple(each.covariance() for each in own)) for name, own in sums.items()}


class _Sum:
    """Sums over the inputs of one reader, taken by a hook."""

    def __init__(self, model: nn.Module, group: ChannelGroup, reader: int) -> None:
        part, n = group.readers[reader], group.size
        module = model.get_submodule(part.module)
        self.n, self.channels = n, torch.from_numpy(part.channels.reshape(-1))
        self.square, self.sum, self.count = torch.zeros(n, n, dtype=torch.float64), torch.zeros(n).double(), 0
        self.handle = module.register_forward_pre_hook(self._take)

    def _take(self, module: nn.Module, args: tuple[Tensor, ...]) -> None:
        x = args[0].detach()
        axis = x.dim() - 1 if isinstance(module, nn.Linear) else 1
        x = x.index_select(axis, self.channels.to(x.device)).movedim(axis, 0)  # (n m, b, ...)
        x = x.reshape(self.n, -1).double()  # m input positions of a channel are so many pixels
        self.square += (x @ x.T).cpu()
        self.sum += x.sum(dim=1).cpu()
        self.count += x.shape[1]

    def covariance(self) -> Tensor:
        mean = self.sum / self.count
        return self.square / self.count - torch.outer(mean, mean)
