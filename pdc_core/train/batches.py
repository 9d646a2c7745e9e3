"""The images of every step: a function of (seed, epoch, step) and process, so that any step can be repeated."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from pdc_core.data import Data
from pdc_core.data.image_files import ImageFiles
from pdc_core.errors import PDCError
from pdc_core.seeds import generator
from pdc_core.train.settings import Training


def steps_per_epoch(images: int, batch_size: int, processes: int = 1) -> int:
    """Return the steps of an epoch: a last batch with fewer than two images per process is left out.

    Parameters
    ----------
    images : int
        Training images.
    batch_size : int
        Images per step, of all processes together.
    processes : int, default 1
        Processes that share them.

    Examples
    --------
    >>> steps_per_epoch(130, 64), steps_per_epoch(129, 64), steps_per_epoch(5, 64)
    (3, 2, 1)
    """
    return max(1, images // batch_size + (images % batch_size >= 2 * processes))


class Batches:
    """The training images in the order in which a run sees them.

    Parameters
    ----------
    data : Data
        Its training split is read.
    settings : Training
        batch_size, augment, workers and channels_last are read.
    seed : int
        Seed of order and augmentation, 0 or more.
    device : device
        Where the images are wanted.
    rank : int, default 0
        Number of this process; a step's images are dealt out to all processes one by one.
    world : int, default 1
        Number of processes.

    Attributes
    ----------
    per_epoch : int
        Steps per epoch. A last batch with fewer than two images per process is left out: batch norm needs two.
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
        self.per_epoch = steps_per_epoch(images, size, world)
        self.images: Tensor | ImageFiles = data.train.images
        if device.type == "cuda" and isinstance(self.images, Tensor):  # on a GPU they lie on it from the start
            self.images = self.images.to(device)
        if isinstance(self.images, ImageFiles) and settings.workers:
            self.images = ImageFiles(self.images.paths, self.images.size, settings.workers)
        self.labels = data.train.labels.to(device)

    def epoch(self, epoch: int, first: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield prepared images (b, c, h, w) and labels (b,) on the device, from step `first` of an epoch on."""
        order = torch.randperm(len(self.data.train), generator=generator(self.seed, epoch))
        steps = range(first, self.per_epoch)
        if isinstance(self.images, Tensor):
            yield from (self._batch(epoch, i, order) for i in steps)
            return
        with ThreadPoolExecutor(1) as ahead:  # the next images are read from files while the network works on these
            coming = [ahead.submit(self._batch, epoch, i, order) for i in steps[:1]]
            for i in steps:
                batch = coming.pop().result()
                if i + 1 < self.per_epoch:
                    coming.append(ahead.submit(self._batch, epoch, i + 1, order))
                yield batch

    def _batch(self, epoch: int, i: int, order: Tensor) -> tuple[Tensor, Tensor]:
        chosen = order[i * self.settings.batch_size : (i + 1) * self.settings.batch_size]
        chosen = chosen[: len(chosen) // self.world * self.world][self.rank :: self.world]
        x = self.data.prepare(self._augmented(epoch * self.per_epoch + i, chosen).to(self.device))
        if self.settings.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        return x, self.labels[chosen.to(self.device)]

    def _augmented(self, step: int, chosen: Tensor) -> Tensor:
        """Return a batch of images, a share of them augmented."""
        share, source = self.settings.augment, generator(self.seed, step, 1, *([self.rank] if self.world > 1 else []))
        if isinstance(self.images, ImageFiles):
            return self.images.augmented(chosen, source, share)
        images = self.images[chosen.to(self.images.device)]
        if share == 0:
            return images
        moved = self.data.augment(images, source)
        pick = torch.rand(len(images), generator=source) < share
        return torch.where(pick.to(images.device)[:, None, None, None], moved, images)
