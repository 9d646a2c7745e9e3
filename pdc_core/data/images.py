"""A data set in memory, and the two steps that a batch of it goes through: augment, then prepare."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pdc_core.errors import PDCError
from pdc_core.seeds import generator


@dataclass(frozen=True)
class DataInfo:
    """What is known about a data set without its images.

    Attributes
    ----------
    name : str
        As `load_data` takes it.
    shape : tuple of int
        Channels, height and width of one image, (c, h, w).
    classes : tuple of str
        Names, in the order of the labels.
    mean, std : tuple of float
        Per channel, of images scaled to 0..1: how a network for this set wants its inputs normalised.
    """

    name: str
    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def example(self) -> Tensor:
        """A float32 tensor of zeros (1, c, h, w), for tracing and costing a network."""
        return torch.zeros(1, *self.shape)


@dataclass(frozen=True, eq=False)
class Split:
    """Images and their labels.

    Attributes
    ----------
    images : Tensor of uint8, shape (n, c, h, w)
        The images, 0 to 255.
    labels : Tensor of int64, shape (n,)
        Classes, counted from 0.
    """

    images: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.ndim != 4:
            raise PDCError(
                f"images have to be uint8 (n, c, h, w); these are {self.images.dtype} {tuple(self.images.shape)}"
            )
        if self.labels.dtype != torch.int64 or self.labels.shape != self.images.shape[:1]:
            raise PDCError(
                f"labels have to be int64 ({len(self.images)},); "
                f"these are {self.labels.dtype} {tuple(self.labels.shape)}"
            )

    def __len__(self) -> int:
        return len(self.labels)

    def first(self, count: int) -> Split:
        """Return the first images of the split.

        Parameters
        ----------
        count : int
            How many; all if there are fewer.

        Returns
        -------
        Split
            Images and labels.
        """
        return Split(self.images[:count], self.labels[:count])

    def sample(self, count: int) -> Split:
        """Return images that stand for all of the split, always the same ones.

        These are the first, or a random choice where the images come class by class, as those of folders do: there
        the first would show one class alone.

        Parameters
        ----------
        count : int
            How many; all if there are fewer.

        Returns
        -------
        Split
            Images and labels.
        """
        if count >= len(self) or not self._class_by_class():
            return self.first(count)
        chosen = torch.randperm(len(self), generator=generator(0))[:count].sort().values
        return Split(self.images[chosen], self.labels[chosen])

    def _class_by_class(self) -> bool:
        """Return whether neighbours are of one class more often than halfway between always and by chance."""
        alike = (self.labels[1:] == self.labels[:-1]).double().mean()
        shares = self.labels.unique(return_counts=True)[1] / len(self)
        return bool(alike > (1 + shares.square().sum()) / 2)

    def batches(self, size: int, rank: int = 0, world: int = 1) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield images and labels in order.

        Parameters
        ----------
        size : int
            Images per batch, at least 1.
        rank, world : int, default 0 and 1
            Number of this process, and number of processes; each gets every world-th image.

        Yields
        ------
        tuple of Tensor
            Images (b, c, h, w) and labels (b,).
        """
        for chosen in torch.arange(len(self))[rank::world].split(size):
            yield self.images[chosen], self.labels[chosen]


@dataclass(frozen=True, eq=False)
class Data:
    """A data set in memory, in three splits, with its normalisation and training augmentation.

    Attributes
    ----------
    name : str
        As `load_data` takes it, such as "digits" or "npz:/path/to/file.npz".
    train, val, test : Split
        `val` is for choosing, `test` only for reporting. The splits are fixed: they do not depend on any run's seed.
    classes : tuple of str
        Names, in the order of the labels.
    shape : tuple of int
        Channels, height and width, (c, h, w).
    mean, std : tuple of float
        Per channel, of images scaled to 0..1.
    shift : int, default 1
        Training images are shifted by up to this many pixels in each direction; zeros (black) fill in.
    flip : bool
        Whether half of the training images are mirrored left to right.
    left_out : int, default 0
        Training images that `subset` has left out.
    """

    name: str
    train: Split
    val: Split
    test: Split
    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    shift: int = 1
    flip: bool = False
    left_out: int = 0

    @property
    def example(self) -> Tensor:
        """A float32 tensor of zeros (1, c, h, w), for tracing and costing a network."""
        return torch.zeros(1, *self.shape)

    def prepare(self, images: Tensor) -> Tensor:
        """Return images as the input of a network, (image / 255 - mean) / std.

        Parameters
        ----------
        images : Tensor of uint8, shape (n, c, h, w)
            On any device.

        Returns
        -------
        Tensor of float32, shape (n, c, h, w)
            On the same device.
        """
        mean = torch.tensor(self.mean, dtype=torch.float32, device=images.device)[:, None, None]
        std = torch.tensor(self.std, dtype=torch.float32, device=images.device)[:, None, None]
        return (images.to(torch.float32) / 255 - mean) / std

    def augment(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Return a shifted and, if the set allows it, mirrored copy of images.

        Parameters
        ----------
        images : Tensor of uint8, shape (n, c, h, w)
            On any device.
        generator : torch.Generator
            On the CPU, the only source of randomness: the same state gives the same images.

        Returns
        -------
        Tensor of uint8, shape (n, c, h, w)
            On the device of `images`.
        """
        n, _, h, w = images.shape
        s = self.shift
        offset = torch.randint(0, 2 * s + 1, (2, n, 1), generator=generator)
        rows = torch.arange(h) + offset[0]  # (n, h), positions in the padded image
        columns = torch.arange(w).expand(n, w)
        if self.flip:
            mirrored = torch.rand(n, 1, generator=generator) < 0.5
            columns = torch.where(mirrored, w - 1 - columns, columns)
        columns = columns + offset[1]  # (n, w)
        padded = torch.nn.functional.pad(images, (s, s, s, s))
        image = torch.arange(n)[:, None, None]
        place = (i.to(images.device) for i in (image, rows[:, :, None], columns[:, None, :]))
        moved = padded.permute(0, 2, 3, 1)[tuple(place)]  # (n, h, w, c)
        return moved.permute(0, 3, 1, 2).contiguous()


def held_back(labels: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """Return the sorted positions of `count` examples to hold back, stratified by class.

    Shares are rounded by largest remainder, and a class always keeps at least one example. The choice depends on
    `labels`, `count` and `seed` only, on every platform and version of numpy (RandomState's stream is frozen).

    Parameters
    ----------
    labels : array of int, shape (n,)
        Classes of the examples.
    count : int
        Examples to hold back, 0 to n - number of classes.
    seed : int, default 0
        Seed of the choice.

    Returns
    -------
    array of int64, shape (count,)
        Positions in `labels`, ascending.

    Raises
    ------
    PDCError
        If that many cannot be held back.

    Examples
    --------
    >>> held_back(np.array([0, 0, 0, 0, 1, 1]), 3).size
    3
    """
    classes, sizes = np.unique(labels, return_counts=True)
    if not 0 <= count <= len(labels) - len(classes):
        raise PDCError(
            f"{count} of {len(labels)} examples in {len(classes)} classes cannot be held back, "
            "because every class has to keep one for training: give more examples"
        )
    share = count * sizes / max(len(labels), 1)
    taken = np.minimum(np.floor(share).astype(np.int64), sizes - 1)
    order = np.argsort(taken - share, kind="stable")  # largest remainder first, then the lower class
    while taken.sum() < count:
        for c in order[taken[order] < sizes[order] - 1][: count - int(taken.sum())]:
            taken[c] += 1
    random = np.random.RandomState(seed)
    chosen = [random.permutation(np.flatnonzero(labels == c))[:k] for c, k in zip(classes, taken, strict=True)]
    return np.sort(np.concatenate([*chosen, np.empty(0, dtype=np.int64)])).astype(np.int64)


def to_split(images: np.ndarray, labels: np.ndarray) -> Split:
    """Return a Split that owns copies of arrays.

    Parameters
    ----------
    images : array of uint8, shape (n, c, h, w)
        The images, 0 to 255.
    labels : array of int, shape (n,)
        Classes, counted from 0.

    Returns
    -------
    Split
        Images and labels as tensors.
    """
    return Split(torch.tensor(images), torch.tensor(labels.astype(np.int64)))
