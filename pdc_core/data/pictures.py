"""A picture of somebody's own, read without trust and brought into the form of a data set's images."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pdc_core.data.folders import FOLDER
from pdc_core.data.image_files import SHORTER, as_seen, unfit
from pdc_core.data.images import Data
from pdc_core.errors import PDCError

MOST_PIXELS = 50_000_000  # of a picture; a phone's camera has 12 to 48 million
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP")  # others may start programs, such as EPS
_INK = 0.25  # brightness above which a pixel belongs to what was drawn, of the brightest
_DARK = 64  # borders below this are a dark ground


def read_picture(content: bytes) -> NDArray[np.uint8]:
    """Return the pixels of a picture file as seen: turned as its camera says, transparent parts white.

    Parameters
    ----------
    content : bytes
        The file: PNG, JPEG, WebP or BMP.

    Returns
    -------
    array of uint8, shape (h, w, 3)
        Red, green and blue.

    Raises
    ------
    PDCError
        It is no picture, is damaged or too large, or has more than 8 bits or several frames.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(content), formats=_FORMATS) as file:
            if (wrong := unfit(file)) is not None:
                raise PDCError(f"This picture {wrong}.")
            if file.width * file.height > MOST_PIXELS:
                raise PDCError(
                    f"This picture has {file.width:,} x {file.height:,} pixels; give one of at most "
                    f"{MOST_PIXELS // 10**6} million."
                )
            return np.array(as_seen(file), dtype=np.uint8)
    except PDCError:
        raise
    except (OSError, UnidentifiedImageError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise PDCError(
            "This file cannot be read as a picture; give a PNG, JPEG, WebP or BMP file that opens elsewhere."
        ) from error


def fit_picture(pixels: NDArray[np.uint8], data: Data, invert: bool = False) -> Tensor:
    """Return the middle of a picture as a network for a data set is fed with it.

    The largest square in the middle is scaled to the height of the set's images (of a folder's images, the part that
    `load_folder` cuts out), and made grey where these are grey.

    Parameters
    ----------
    pixels : array of uint8, shape (h, w, 3)
        The picture.
    data : Data
        The set.
    invert : bool, default False
        Whether dark becomes bright: for ink on paper, where the set shows bright strokes on black.

    Returns
    -------
    Tensor of uint8, shape (1, c, h, w)
        For `data.prepare`.
    """
    from PIL import Image

    c, height, width = data.shape
    image = Image.fromarray(pixels).convert("L" if c == 1 else "RGB")
    scale = min(image.width / width, image.height / height) / (SHORTER if data.name.startswith(FOLDER) else 1)
    left, top = (image.width - scale * width) / 2, (image.height - scale * height) / 2
    box = (
        max(0.0, left),
        max(0.0, top),
        min(image.width, left + scale * width),
        min(image.height, top + scale * height),
    )
    fitted = np.array(
        image.resize((width, height), Image.Resampling.BILINEAR, box=box, reducing_gap=2.0), dtype=np.uint8
    )
    fitted = 255 - fitted if invert else fitted
    return torch.from_numpy(fitted.reshape(height, width, c)).permute(2, 0, 1)[None].contiguous()


def fit_drawing(ink: NDArray[np.uint8], data: Data) -> Tensor | None:
    """Return a drawing as large and as central as what a set's images show.

    What was drawn is cut out, scaled so that its longer side is the usual one of the first 500 training images
    (median), and put into the middle on black.

    Parameters
    ----------
    ink : array of uint8, shape (h, w)
        The drawing, bright on black.
    data : Data
        The set.

    Returns
    -------
    Tensor of uint8, shape (1, c, h, w), or None
        For `data.prepare`; None if nothing was drawn.
    """
    from PIL import Image

    box = _inked(ink)
    if box is None:
        return None
    c, height, width = data.shape
    top, bottom, left, right = box
    longer = max(bottom - top, right - left)
    usual = _usual_extent(data)
    scale = usual * min(height, width) / longer
    size = (max(1, round(scale * (right - left))), max(1, round(scale * (bottom - top))))
    small = Image.fromarray(ink[top:bottom, left:right]).resize(size, Image.Resampling.BOX)
    canvas = Image.new("L", (width, height))
    canvas.paste(small, ((width - size[0]) // 2, (height - size[1]) // 2))
    grey = torch.from_numpy(np.array(canvas, dtype=np.uint8))
    return grey.expand(1, c, height, width).contiguous()


def looks_inverted(pixels: NDArray[np.uint8], data: Data) -> bool:
    """Return whether a picture has a bright ground where the images of a grey set have a dark one.

    Parameters
    ----------
    pixels : array of uint8, shape (h, w, 3)
        The picture.
    data : Data
        The set.
    """
    if data.shape[0] != 1 or not len(data.train):
        return False
    own = data.train.images[:500].numpy()[:, 0]
    return bool(np.median(_border(own)) < _DARK and np.median(_border(pixels.mean(axis=2)[None])) > 255 - 2 * _DARK)


def _border(images: NDArray[Any]) -> NDArray[Any]:
    """Return the pixels at the edges of images (n, h, w)."""
    edges = (images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1])
    return np.concatenate([edge.ravel() for edge in edges])


def _inked(image: NDArray[np.uint8]) -> tuple[int, int, int, int] | None:
    """Return top, bottom, left and right of what is bright in an image (h, w), None where all is black."""
    bright = image > _INK * max(1, int(image.max()))
    if not bright.any():
        return None
    rows, columns = np.flatnonzero(bright.any(axis=1)), np.flatnonzero(bright.any(axis=0))
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def _usual_extent(data: Data) -> float:
    """Return the usual longer side of what images show, relative to the image, 0 to 1; 1 where there are no images."""
    boxes = [_inked(image) for image in data.train.images[:500].numpy().max(axis=1)]
    sides = [max(b[1] - b[0], b[3] - b[2]) / min(data.shape[1:]) for b in boxes if b is not None]
    return min(1.0, float(np.median(sides))) if sides else 1.0
