"""Image sets in npz files of unknown origin: headers are checked before memory is allocated."""

from __future__ import annotations

import math
import zipfile
import zlib
from pathlib import Path
from typing import IO

import numpy as np

from pdc_core.errors import PDCError

KEYS = ("x_train", "y_train", "x_test", "y_test")
MAX_BYTES = 8 * 2**30
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_HOW = "write it with numpy.savez(path, x_train=..., y_train=..., x_test=..., y_test=...)"


def read_npz(path: str | Path) -> dict[str, np.ndarray]:
    """Read the arrays of `KEYS` from a file.

    Images may be stored as NHWC or NCHW, with one or three channels. Pickled objects are never loaded.

    Parameters
    ----------
    path : str or Path
        The npz file.

    Returns
    -------
    dict of str to array
        x_train and x_test: uint8 (n, c, h, w); y_train and y_test: int64 (n,), counted from 0.

    Raises
    ------
    PDCError
        If the file is missing, damaged or larger than 8 GiB, or its arrays do not make a data set.
    """
    path = Path(path)
    if not path.is_file():
        raise PDCError(f"there is no file {path}; give the path of an npz file as npz:PATH")
    try:
        with zipfile.ZipFile(path) as archive:
            arrays = _read_arrays(archive, path)
    except zipfile.BadZipFile as error:
        raise PDCError(f"{path} is not an npz file, or it was cut off or damaged ({error}); {_HOW}") from error
    except PDCError:
        raise
    except (zlib.error, EOFError, OSError, ValueError, NotImplementedError, RuntimeError) as error:
        raise PDCError(f"{path} is damaged or cannot be read: {error}") from error
    for part in ("train", "test"):
        arrays[f"x_{part}"] = _channels_first(arrays[f"x_{part}"], f"x_{part}", path)
        arrays[f"y_{part}"] = _labels(arrays[f"y_{part}"], f"y_{part}", path)
    _check_together(arrays, path)
    return arrays


def _read_arrays(archive: zipfile.ZipFile, path: Path) -> dict[str, np.ndarray]:
    names = set(archive.namelist())
    missing = [key for key in KEYS if f"{key}.npy" not in names]
    if missing:
        raise PDCError(f"{path} has no array {', '.join(missing)}; {_HOW}")
    total = 0
    for key in KEYS:
        with archive.open(f"{key}.npy") as file:
            total += _check_header(file, archive.getinfo(f"{key}.npy").file_size, key, path)
    if total > MAX_BYTES:
        raise PDCError(f"{path} holds {total / 2**30:.1f} GiB of arrays; at most {MAX_BYTES // 2**30} are read")
    arrays = {}
    for key in KEYS:
        with archive.open(f"{key}.npy") as file:
            arrays[key] = np.asarray(np.lib.format.read_array(file, allow_pickle=False))
            file.read(1)  # reading to the end compares the checksum
    return arrays


def _check_header(file: IO[bytes], stored: int, key: str, path: Path) -> int:
    """Return the number of bytes that an array declares, compared with the archive."""
    try:
        read_header = _HEADERS[np.lib.format.read_magic(file)]
        shape, _, dtype = read_header(file)
    except Exception as error:  # numpy lets errors of tokenize, recursion and memory through
        raise PDCError(f"{key} in {path} does not begin like a plain array: the file is damaged; {_HOW}") from error
    if dtype.hasobject:
        raise PDCError(
            f"{key} in {path} holds pickled Python objects, which are never loaded "
            "because they can run programs; save plain arrays: uint8 images, integer labels"
        )
    declared = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or declared != stored - file.tell():
        raise PDCError(
            f"{key} in {path} declares the shape {shape} of {dtype}, {declared} bytes, "
            f"but {stored - file.tell()} are stored: the file is damaged"
        )
    return declared


def _channels_first(images: np.ndarray, key: str, path: Path) -> np.ndarray:
    if images.dtype != np.uint8:
        raise PDCError(f"{key} in {path} is {images.dtype}; images have to be uint8, 0 to 255")
    if images.ndim != 4:
        raise PDCError(
            f"{key} in {path} has the shape {images.shape}; images have to be (n, h, w, c) or (n, c, h, w), "
            "also with one channel"
        )
    if 0 in images.shape:
        raise PDCError(f"{key} in {path} is empty: its shape is {images.shape}")
    first, last = images.shape[1] in (1, 3), images.shape[3] in (1, 3)
    if first == last:
        what = "could be read both as (n, c, h, w) and as (n, h, w, c)" if first else "has no axis of 1 or 3 channels"
        raise PDCError(
            f"{key} in {path} has the shape {images.shape}, which {what}; store (n, h, w, c) images "
            "of 1 or 3 channels that are more than 3 pixels wide and high"
        )
    return images if first else images.transpose(0, 3, 1, 2)


def _labels(labels: np.ndarray, key: str, path: Path) -> np.ndarray:
    if labels.dtype.kind not in "iu":
        raise PDCError(f"{key} in {path} is {labels.dtype}; labels have to be integers, counted from 0")
    if labels.ndim != 1:
        raise PDCError(f"{key} in {path} has the shape {labels.shape}; labels have to be (n,)")
    if labels.size and (labels.min() < 0 or labels.max() >= 2**31):
        raise PDCError(f"{key} in {path} has labels from {labels.min()} to {labels.max()}; they count from 0")
    return labels.astype(np.int64)


def _check_together(arrays: dict[str, np.ndarray], path: Path) -> None:
    for part in ("train", "test"):
        x, y = arrays[f"x_{part}"], arrays[f"y_{part}"]
        if len(x) != len(y):
            raise PDCError(f"x_{part} in {path} has {len(x)} images, y_{part} has {len(y)} labels")
    if arrays["x_train"].shape[1:] != arrays["x_test"].shape[1:]:
        train, test = arrays["x_train"].shape[1:], arrays["x_test"].shape[1:]
        raise PDCError(f"images in {path} differ in (c, h, w): {train} in x_train, {test} in x_test")
    classes = np.unique(arrays["y_train"])
    if len(classes) < 2:
        raise PDCError(f"y_train in {path} has only one class, {classes[0]}; at least two are needed")
    if len(classes) == len(arrays["y_train"]):
        raise PDCError(
            f"x_train in {path} has {len(classes)} images of {len(classes)} classes; at least one is held back for "
            "validation and every class has to keep one, so give more examples"
        )
    if classes[-1] != len(classes) - 1:
        absent = np.setdiff1d(np.arange(min(classes[-1], len(classes) + 1)), classes)[0]
        raise PDCError(
            f"y_train in {path} has {len(classes)} different labels up to {classes[-1]}, "
            f"but none is {absent}; labels have to be 0, 1, 2, ... without gaps"
        )
    if arrays["y_test"].max() > classes[-1]:
        raise PDCError(
            f"y_test in {path} has the label {arrays['y_test'].max()}, but y_train ends at {classes[-1]}: "
            "no network could learn that class"
        )
