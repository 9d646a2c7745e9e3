"""Data of the user's own, made by a function that the person who starts a process names: `--build-data`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pdc_core.data.arrays import PARTS, checked_arrays
from pdc_core.data.folders import SPLITS
from pdc_core.data.image_files import as_seen, unfit
from pdc_core.data.images import Data
from pdc_core.errors import PDCError
from pdc_core.targets import find_modules_here, import_function, is_target, targets_in

BUILD_DATA = "PDC_BUILD_DATA"  # the environment variable: what --build-data names, separated by commas
MAX_BYTES = 8 * 2**30
_PREFIXES = ("npz", "folder")  # of names that are written with a colon too
_HOW = (
    "return (train, validation, test), (train, test) or a dict of them, each a map-style data set of (image, label) or "
    "a pair (images, labels)"
)
_LABELS = ("label", "labels", "fine_label", "target", "class")  # names of columns, the likeliest first
_KNOWN: dict[str, Callable[[], Any]] = {}
_MADE: dict[str, tuple[dict[str, np.ndarray], tuple[str, ...]] | Data] = {}


def register_data(target: str) -> str:
    """Make the function `target` a data set of this process and return its name.

    Parameters
    ----------
    target : str
        "package.module:function". The function takes nothing and returns (train, validation, test), or (train, test),
        or a mapping of them by name: each a map-style data set of (image, label), such as torchvision's or Hugging
        Face's, or a pair of arrays or tensors (images, labels). Labels are numbers from 0 on, or names of classes.
        Without validation images, a part of those for training is held back. Images are PIL images, or uint8, or floats
        0 to 1 before normalisation, of one size. It may also return a `Data`.

    Returns
    -------
    str
        `target` itself; it can be used wherever a data set's name is asked for: `load_data(target)`.

    Raises
    ------
    PDCError
        The target is not written like that, cannot be imported, or is not a function.
    """
    if not is_custom_data(target):
        raise PDCError(f"{target!r} does not name a function; write package.module:function, for example mydata:make.")
    _KNOWN[target] = import_function(target, "a data set")
    _MADE.pop(target, None)
    return target


def register_all_data(targets: Iterable[str]) -> None:
    """Register functions whose modules may lie in the current folder; those that are registered already stay.

    Parameters
    ----------
    targets : iterable of str
        Each "package.module:function". Installed modules are preferred to those in the current folder.

    Raises
    ------
    PDCError
        If one cannot be used (`register_data`); those before it are registered.
    """
    for target in targets:
        if target not in _KNOWN:
            find_modules_here()
            register_data(target)


def environment_data_targets() -> tuple[str, ...]:
    """Return what the environment variable PDC_BUILD_DATA names, in its order; nothing is imported."""
    return targets_in(BUILD_DATA)


def custom_data_names() -> tuple[str, ...]:
    """Return the data sets of the user's own that this process knows, in the order in which they were registered."""
    return tuple(_KNOWN)


def is_custom_data(name: str) -> bool:
    """Return whether a name is written like a data set of the user's own; it need not be known here.

    Parameters
    ----------
    name : str
        The name of a data set.

    Examples
    --------
    >>> is_custom_data("mydata:make"), is_custom_data("npz:images"), is_custom_data("digits")
    (True, False, False)
    """
    return is_target(name) and name.partition(":")[0] not in _PREFIXES


def made_data(name: str) -> tuple[dict[str, np.ndarray], tuple[str, ...]] | Data:
    """Call the function of a data set once per process, and return what it makes.

    Parameters
    ----------
    name : str
        A data set of the user's own.

    Returns
    -------
    Data, or (dict of str to array, tuple of str)
        What the function returned, or its arrays as `checked_arrays` gives them with the names of the classes.

    Raises
    ------
    PDCError
        Nobody registered the name, its function failed, or what it returned is no data set.
    """
    if name not in _KNOWN:
        raise PDCError(
            f"{name!r} is data of your own. Importing it runs its code, so it is used only where you name it: with "
            f"--build-data {name} on the command line, with register_data({name!r}) in Python"
        )
    if name not in _MADE:
        try:
            returned = _KNOWN[name]()
        except Exception as error:  # a user's own function may raise anything at all
            raise PDCError(f"{name}() failed ({type(error).__name__}: {error}).") from error
        _MADE[name] = returned if isinstance(returned, Data) else _arrays(name, returned)
    return _MADE[name]


def _arrays(name: str, returned: Any) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    parts = _parts(returned)
    if not {"train", "test"} <= set(parts):
        raise PDCError(f"{name}() returned {_what(returned)}; {_HOW}.")
    arrays: dict[str, np.ndarray] = {}
    for part, given in parts.items():
        images, labels = _both(given, f"the {part} part of {name}")
        arrays[f"x_{part}"], arrays[f"y_{part}"] = _bytes(images, f"x_{part} of {name}"), labels
    names = _numbered(arrays, name)
    checked = checked_arrays(arrays, name)
    count = int(checked["y_train"].max()) + 1
    classes = tuple(map(str, names or _class_names(parts["train"]) or range(count)))
    if len(classes) < count:
        raise PDCError(f"{name} names {len(classes)} classes, but its labels go up to {count - 1}.")
    return checked, classes


def _numbered(arrays: dict[str, np.ndarray], name: str) -> list[str]:
    """Where labels are names of classes, put their places in alphabetical order instead, and return the names."""
    labels = {key: values for key, values in arrays.items() if key.startswith("y_")}
    if all(values.dtype.kind not in "US" for values in labels.values()):
        return []
    names = sorted(set(labels["y_train"].astype(str).tolist()))
    place = {each: i for i, each in enumerate(names)}
    for key, values in labels.items():
        unknown = sorted(set(values.astype(str).tolist()) - set(names))
        if unknown:
            raise PDCError(f"{key} of {name} has the label {unknown[0]!r}; in y_train are {', '.join(names)}.")
        arrays[key] = np.array([place[each] for each in values.astype(str).tolist()], dtype=np.int64)
    return names


def _parts(returned: Any) -> dict[str, Any]:
    """Return what a function returned by split, as far as it can be told; of two, one is the test split."""
    if isinstance(returned, Mapping):
        usual = {each: part for part, names in SPLITS.items() for each in names}
        parts = {usual[str(key).lower()]: returned[key] for key in returned if str(key).lower() in usual}
        return {"train" if part == "train" else "test": parts[part] for part in parts} if len(parts) == 2 else parts
    if not isinstance(returned, tuple | list) or (returned and _is_array(returned[0])):  # a pair of arrays
        return {}
    return dict(zip({2: ("train", "test"), 3: PARTS}.get(len(returned), ()), returned, strict=False))


def _both(given: Any, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Return images and labels as two arrays, from a pair or from a map-style data set."""
    if isinstance(given, tuple | list) and len(given) == 2 and _is_array(given[0]):
        images, labels = (np.asarray(each.cpu() if isinstance(each, Tensor) else each) for each in given)
        return images, labels
    if isinstance(given, Mapping) or not (hasattr(given, "__getitem__") and hasattr(given, "__len__")):
        raise PDCError(f"{where} is {_what(given)}; {_HOW}.")
    return _read_all(given, where)


def _class_names(given: Any) -> Sequence[str] | None:
    """Return the names that a data set of torchvision or of Hugging Face gives its classes, if it does."""
    features = getattr(given, "features", None)
    of_labels = (getattr(each, "names", None) for each in (features.values() if isinstance(features, Mapping) else ()))
    return getattr(given, "classes", None) or next(filter(None, of_labels), None)


def _pair(example: Any) -> tuple[Any, int | str]:
    """Return image and label of one example; in a mapping, as Hugging Face gives it, they go by any name."""
    if not isinstance(example, Mapping):
        image, label = example
        return image, _label(label)
    images = [key for key, value in example.items() if not _is_plain(value) and value is not None]
    plain = [key for key, value in example.items() if _is_plain(value)]
    labels = plain if len(plain) == 1 else [key for key in _LABELS if key in plain][:1]
    if len(images) != 1 or not labels:
        columns = ", ".join(map(str, example))
        raise ValueError(
            f"it is a {type(example).__name__} of {columns}; keep one image and one label, or name the label "
            f"{' or '.join(_LABELS[:2])}"
        )
    return example[images[0]], _label(example[labels[0]])


def _is_array(value: Any) -> bool:
    """Return whether a value is an array or a tensor; data sets may have a shape too, but no type of their entries."""
    return hasattr(value, "shape") and hasattr(value, "dtype")


def _is_plain(value: Any) -> bool:
    """Return whether a value is one number or a text, as labels are."""
    return isinstance(value, int | float | str) or (_is_array(value) and not value.shape)


def _label(value: Any) -> int | str:
    """Return a label as a number, the name of a class as it is."""
    if isinstance(value, str) and not value.isdecimal():
        return value
    if int(value) != float(value):
        raise ValueError(f"its label {value} is no whole number")
    return int(value)


def _read_all(given: Any, where: str) -> tuple[np.ndarray, np.ndarray]:
    count, images, labels = len(given), [], []
    if not count:
        raise PDCError(f"{where} is empty; give at least one image.")
    for i in range(count):
        try:
            image, label = _pair(given[i])
        except Exception as error:  # a data set of the user's own may raise anything
            raise PDCError(f"{where} does not give (image, label) at {i} ({type(error).__name__}: {error}).") from error
        labels.append(label)
        images.append(_channels_first(image, f"image {i} of {where}"))
        if images[i].shape != images[0].shape:
            raise PDCError(
                f"{where} has images of different (c, h, w): {images[0].shape} at 0, {images[i].shape} at {i}; "
                "give them one size and one mode in its transform."
            )
        if i == 0 and count * images[0].nbytes > MAX_BYTES:
            raise PDCError(
                f"{where} would take {count * images[0].nbytes / 2**30:.1f} GiB; at most {MAX_BYTES // 2**30} are held "
                "in memory. Give fewer or smaller images, or a folder of images as folder:PATH."
            )
    return np.stack(images), np.array(labels)


def _channels_first(image: Any, where: str) -> np.ndarray:
    """Return one image as (c, h, w): tensors are so already, PIL images and arrays have their channels last."""
    if isinstance(image, Tensor):
        values = image.cpu().numpy()
        return values[None] if values.ndim == 2 else values
    if hasattr(image, "convert"):  # PIL
        if (wrong := unfit(image)) is not None:
            raise PDCError(f"{where} {wrong}.")
        image = image if image.mode in ("L", "RGB") else as_seen(image)
    values = np.asarray(image)
    if values.ndim not in (2, 3):
        raise PDCError(f"{where} has the shape {values.shape}; images have to be (h, w) or (h, w, c).")
    return values[None] if values.ndim == 2 else values.transpose(2, 0, 1)


def _bytes(images: np.ndarray, where: str) -> np.ndarray:
    """Return images as uint8; floats have to lie in 0 to 1."""
    if images.dtype.kind != "f":
        return images
    lowest, highest = (float(images.min()), float(images.max())) if images.size else (0.0, 1.0)
    if not 0 <= lowest <= highest <= 1:
        raise PDCError(
            f"{where} goes from {lowest:.3g} to {highest:.3g}; give uint8 images, or floats 0 to 1 before "
            "normalisation (PDC normalises itself)."
        )
    return torch.from_numpy(images).mul(255).round().to(torch.uint8).numpy()


def _what(given: Any) -> str:
    if isinstance(given, Mapping):
        return f"{type(given).__name__} of {', '.join(map(str, given)) or 'nothing'}"
    return f"{type(given).__name__} of {len(given)}" if isinstance(given, tuple | list) else type(given).__name__
