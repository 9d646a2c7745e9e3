"""Images as files, read when they are needed: for data sets that do not fit in memory, such as ImageNet."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pdc_core.errors import PDCError

SIZE = 224  # height and width in pixels, unless the name gives another: folder:PATH@64
SHORTER = 256 / 224  # the shorter side before the middle is cut out, relative to that


class ImageFiles:
    """The images of a split as files, indexed like a uint8 tensor (n, 3, size, size); only what is asked for is read.

    Parameters
    ----------
    paths : iterable of str or Path
        One file per image.
    size : int, default 224
        Height and width of the images, in pixels.
    workers : int, optional
        Threads that read files; by default one per core, at most 16.

    Examples
    --------
    >>> ImageFiles(["a.jpg", "b.jpg"], size=64).shape
    (2, 3, 64, 64)
    """

    dtype, ndim = torch.uint8, 4
    device = torch.device("cpu")

    def __init__(self, paths: Iterable[Path | str], size: int = SIZE, workers: int | None = None) -> None:
        self.paths = np.array([os.fspath(path) for path in paths], dtype=object)
        self.size = size
        self.workers = workers or min(16, os.cpu_count() or 1)

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.paths), 3, self.size, self.size)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: slice | Tensor) -> Tensor:
        """Return images (n, 3, size, size): the shorter side scaled, the middle cut out."""
        return self._read(self.paths[index if isinstance(index, slice) else index.numpy()], None)

    def chosen(self, index: Tensor) -> ImageFiles:
        """Return some of the images, which are not read.

        Parameters
        ----------
        index : Tensor of int64, shape (b,)
            Positions.
        """
        return ImageFiles(self.paths[index.numpy()], self.size, self.workers)

    def split(self, size: int) -> Iterator[Tensor]:
        """Yield the images in order, `size` at a time.

        Parameters
        ----------
        size : int
            Images per batch, at least 1.

        Yields
        ------
        Tensor of uint8, shape (b, 3, side, side)
            The next images.
        """
        for first in range(0, len(self), size):
            yield self[first : first + size]

    def augmented(self, index: Tensor, generator: torch.Generator, share: float = 1.0) -> Tensor:
        """Return images, a share of them cut to a random part and mirrored half of the time.

        The part has 0.08 to 1 of the image's area and sides of 3:4 to 4:3, as usual for ImageNet (arXiv 1409.4842).

        Parameters
        ----------
        index : Tensor of int64, shape (b,)
            The images.
        generator : torch.Generator
            The only source of randomness: the same state gives the same images.
        share : float, default 1.0
            Share of the images that is augmented, 0 to 1.

        Returns
        -------
        Tensor of uint8, shape (b, 3, size, size)
            In the order of `index`.
        """
        chance = torch.rand(len(index), 6, generator=generator, dtype=torch.float64).numpy()
        picked = [row if row[5] < share else None for row in chance]
        return self._read(self.paths[index.numpy()], picked)

    def _read(self, paths: np.ndarray, chance: list[np.ndarray | None] | None) -> Tensor:
        jobs = zip(paths, chance or [None] * len(paths), strict=True)
        with ThreadPoolExecutor(self.workers) as pool:  # decoding and scaling run outside Python's lock
            images = list(pool.map(lambda job: _image(job[0], self.size, job[1]), jobs))
        stacked = np.stack(images) if images else np.zeros((0, self.size, self.size, 3), np.uint8)
        return torch.from_numpy(stacked).permute(0, 3, 1, 2)


def _image(path: str, size: int, chance: np.ndarray | None) -> np.ndarray:
    """Return one image, uint8 (size, size, 3): its middle, or the part that six random numbers choose."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as file:
            if (wrong := unfit(file)) is not None:
                raise PDCError(f"The image {path} {wrong}.")
            if chance is None:
                file.draft("RGB", (round(SHORTER * size), round(SHORTER * size)))  # a JPEG is decoded no larger
            image = as_seen(file)
    except PDCError:
        raise
    except (OSError, UnidentifiedImageError, ValueError, Image.DecompressionBombError) as error:
        raise PDCError(
            f"The image {path} cannot be read ({str(error).splitlines()[0]}); repair or remove it."
        ) from error
    w, h = image.size
    if chance is None:
        side = min(w, h) / SHORTER
        box = ((w - side) / 2, (h - side) / 2, (w + side) / 2, (h + side) / 2)
    else:
        box = _part(w, h, chance)
    resized = image.resize((size, size), Image.Resampling.BILINEAR, box=box, reducing_gap=2.0)
    pixels = np.array(resized, dtype=np.uint8)
    return pixels[:, ::-1].copy() if chance is not None and chance[4] < 0.5 else pixels


def unfit(image: Any) -> str | None:
    """Return why a picture cannot be one of a data set, or None if it can; grey ones are read as colour.

    Parameters
    ----------
    image : PIL.Image.Image
        The picture, opened but perhaps not read.

    Returns
    -------
    str or None
        What it is and what to do, to follow its name.
    """
    if image.mode.startswith(("I", "F")):
        return (
            f"has more than 8 bits per value (mode {image.mode}), and how many are used is unknown; save it with 8 bits"
        )
    if getattr(image, "is_animated", False) and image.format != "MPO":  # photographs with a second view for 3D displays
        return f"has {image.n_frames} frames; save the one that is meant as an image of its own"
    return None


def as_seen(image: Any) -> Any:
    """Return a picture in colour as a viewer shows it: turned as its camera says, transparent parts white.

    Parameters
    ----------
    image : PIL.Image.Image
        The picture, opened but perhaps not read.

    Returns
    -------
    PIL.Image.Image
        Its mode is RGB.
    """
    from PIL import Image, ImageOps

    turned = ImageOps.exif_transpose(image)
    if not turned.has_transparency_data:
        return turned.convert("RGB")
    turned = turned.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", turned.size, "white"), turned).convert("RGB")


def _part(w: int, h: int, chance: np.ndarray) -> tuple[float, float, float, float]:
    """Return left, top, right and bottom of a random part of an image of w x h pixels."""
    area, ratio = w * h * (0.08 + 0.92 * chance[0]), math.exp((2 * chance[1] - 1) * math.log(4 / 3))
    wide, high = min(w, math.sqrt(area * ratio)), min(h, math.sqrt(area / ratio))
    left, top = (w - wide) * chance[2], (h - high) * chance[3]
    return (left, top, left + wide, top + high)
