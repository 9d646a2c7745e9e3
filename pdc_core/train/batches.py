"""The images of every step: a function of (seed, epoch, step) and process, so that any step can be made again."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from pdc_core.data import Data
from pdc_core.errors import PDCError
from pdc_core.train.settings import Training


class Batches:
    """The training images in the order in which a run sees them.

    Parameters
    ----------
    rank, world : which of how many processes this is; a step's images are dealt out to them one by one.

    Attributes
    ----------
    per_epoch : steps of an epoch. A last batch with fewer than two images a process is left out: batch norm needs two.
    """

    def __init__(
        self, data: Data, settings: Training, seed: int, device: torch.device, rank: int = 0, world: int = 1
    ) -> None:
        images, size = len(data.train), settings.batch_size
        if images < 2 * world or size < 2 * world:
            raise PDCError(
                f"{data.name} has {images} training images in batches of {size}; training needs at least {2 * world} "
                f"of both for {world} process{'es' if world > 1 else ''}."
            )
        self.data, self.settings, self.seed, self.device, self.rank, self.world = (
            data, settings, seed, device, rank, world,
        )  # fmt: skip
        self.per_epoch = max(1, images // size + (images % size >= 2 * world))
        resident = device.type == "cuda"  # on a GPU the images lie on it from the start
        self.images = data.train.images.to(device) if resident else data.train.images
        self.labels = data.train.labels.to(device)

    def epoch(self, epoch: int, first: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield prepared images (b, c, h, w) and labels (b,) on the device, from step `first` of an epoch on."""
        order = torch.randperm(len(self.data.train), generator=generator(self.seed, epoch))
        for i in range(first, self.per_epoch):
            chosen = order[i * self.settings.batch_size : (i + 1) * self.settings.batch_size]
            chosen = chosen[: len(chosen) // self.world * self.world][self.rank :: self.world]
            x = self.data.prepare(self._augmented(epoch * self.per_epoch + i, chosen.to(self.images.device)))
            if self.settings.channels_last:
                x = x.contiguous(memory_format=torch.channels_last)
            yield x.to(self.device), self.labels[chosen.to(self.device)]

    def _augmented(self, step: int, chosen: Tensor) -> Tensor:
        """Return a batch of images, a share of them augmented."""
        images = self.images[chosen]
        share = self.settings.augment
        if share == 0:
            return images
        source = generator(self.seed, step, 1, *([self.rank] if self.world > 1 else []))
        moved = self.data.augment(images, source)
        pick = torch.rand(len(images), generator=source) < share
        return torch.where(pick.to(images.device)[:, None, None, None], moved, images)


def generator(*key: int) -> torch.Generator:
    """Return a generator that depends on the key alone, the same on every platform."""
    return torch.Generator().manual_seed(seed_of(*key))


def seed_of(*key: int) -> int:
    """Return a seed of 63 bits that depends on the key alone, the same on every platform."""
    state = np.random.SeedSequence(key).generate_state(2, dtype=np.uint32)
    return int(state[0]) << 31 ^ int(state[1])
