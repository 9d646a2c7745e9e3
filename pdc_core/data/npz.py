"""Image sets in npz files of unknown origin: headers are checked before memory is allocated."""

from __future__ import annotations

import math
import zipfile
import zlib
from pathlib import Path
from typing import IO

import numpy as np

from pdc_core.data.arrays import PARTS, checked_arrays
from pdc_core.errors import PDCError

KEYS = ("x_train", "y_train", "x_test", "y_test")
VALIDATION = ("x_val", "y_val")  # optional, both or neither
MEDMNIST = {f"{kind}_{part}": f"{part}_{name}" for kind, name in (("x", "images"), ("y", "labels")) for part in PARTS}
CLASSES = "classes"  # optional: the name of each class, text (k,)
MAX_BYTES = 8 * 2**30
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_HOW = "write it with numpy.savez(path, x_train=..., y_train=..., x_test=..., y_test=...)"


def read_npz(path: str | Path) -> dict[str, np.ndarray]:
    """Read the arrays of `KEYS`, those of `VALIDATION` if there are any, and the names of the classes from a file.

    Images may be stored as NHWC or NCHW, with one or three channels, grey ones also as (n, h, w). The names that
    MedMNIST gives its arrays, train_images and so on, are read too. Pickled objects are never loaded.

    Parameters
    ----------
    path : str or Path
        The npz file.

    Returns
    -------
    dict of str to array
        x_train, x_test, x_val: uint8 (n, c, h, w); y_train, y_test, y_val: int64 (n,), counted from 0; classes: text
        (k,), the numbers from 0 if the file names none.

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
    names = arrays.pop(CLASSES, None)
    checked = checked_arrays(arrays, str(path))
    count = int(checked["y_train"].max()) + 1
    return {**checked, CLASSES: np.arange(count).astype(str) if names is None else _names(names, count, path)}


def _read_arrays(archive: zipfile.ZipFile, path: Path) -> dict[str, np.ndarray]:
    names = set(archive.namelist())
    files = {key: f"{key}.npy" for key in (*KEYS, *VALIDATION, CLASSES)}
    files |= {key: f"{other}.npy" for key, other in MEDMNIST.items() if files[key] not in names}
    missing = [key for key in KEYS if files[key] not in names]
    if missing:
        raise PDCError(f"{path} has no array {', '.join(missing)}; {_HOW}")
    held = [key for key in VALIDATION if files[key] in names]
    if len(held) == 1:
        other = next(key for key in VALIDATION if key not in held)
        raise PDCError(f"{path} has {held[0]} but no {other}; validation images need both, or leave both out")
    total, keys = 0, [*KEYS, *held, *([CLASSES] if files[CLASSES] in names else [])]
    for key in keys:
        with archive.open(files[key]) as file:
            total += _check_header(file, archive.getinfo(files[key]).file_size, key, path)
    if total > MAX_BYTES:
        raise PDCError(f"{path} holds {total / 2**30:.1f} GiB of arrays; at most {MAX_BYTES // 2**30} are read")
    arrays = {}
    for key in keys:
        with archive.open(files[key]) as file:
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
            "because they can run programs; save plain arrays: uint8 images, integer labels, and names of classes as "
            "numpy.array(names, dtype=str)"
        )
    declared = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or declared != stored - file.tell():
        raise PDCError(
            f"{key} in {path} declares the shape {shape} of {dtype}, {declared} bytes, "
            f"but {stored - file.tell()} are stored: the file is damaged"
        )
    return declared


def _names(names: np.ndarray, count: int, path: Path) -> np.ndarray:
    """Return the names of `count` classes as text without space around it."""
    if names.dtype.kind not in "US" or names.ndim != 1:
        raise PDCError(
            f"{CLASSES} in {path} is {names.dtype} of the shape {names.shape}; names of classes have to be text (k,), "
            'one per class, such as numpy.array(["cat", "dog"])'
        )
    try:
        found = [name.decode() if isinstance(name, bytes) else name for name in names.tolist()]
    except UnicodeDecodeError as error:
        raise PDCError(f"{CLASSES} in {path} holds bytes that are not UTF-8; save the names as text") from error
    found = [" ".join(name.split()) for name in found]
    if len(found) != count:
        raise PDCError(f"{CLASSES} in {path} has {len(found)} names, but y_train has {count} classes, 0 to {count - 1}")
    twice = [name for name in found if not name or found.count(name) > 1]
    if twice:
        what = f"the name {twice[0]!r} more than once" if twice[0] else "an empty name"
        raise PDCError(f"{CLASSES} in {path} has {what}; each class needs a name of its own")
    return np.array(found)
