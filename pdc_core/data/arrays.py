"""Images and labels in plain arrays: brought into one form, and checked whether they make a data set."""

from __future__ import annotations

import numpy as np

from pdc_core.errors import PDCError

PARTS = ("train", "val", "test")


def checked_arrays(arrays: dict[str, np.ndarray], where: str) -> dict[str, np.ndarray]:
    """Return arrays as a data set holds them.

    Parameters
    ----------
    arrays : dict of str to array
        x_train, y_train, x_test, y_test, and x_val and y_val if there are any. Images uint8 (n, h, w), or
        (n, h, w, c) or (n, c, h, w) of one or three channels; labels integers (n,) or (n, 1), counted from 0.
    where : str
        What holds them, for messages.

    Returns
    -------
    dict of str to array
        The same, images (n, c, h, w), labels int64 (n,).

    Raises
    ------
    PDCError
        They do not make a data set.
    """
    found = {}
    for part in _parts(arrays):
        found[f"x_{part}"] = _channels_first(arrays[f"x_{part}"], f"x_{part}", where)
        found[f"y_{part}"] = _labels(arrays[f"y_{part}"], f"y_{part}", where)
    _check_together(found, where)
    return found


def _channels_first(images: np.ndarray, key: str, path: str) -> np.ndarray:
    if images.dtype != np.uint8:
        raise PDCError(f"{key} in {path} is {images.dtype}; images have to be uint8, 0 to 255")
    if images.ndim not in (3, 4):
        raise PDCError(
            f"{key} in {path} has the shape {images.shape}; images have to be (n, h, w, c) or (n, c, h, w), "
            "or (n, h, w) if they are grey"
        )
    if 0 in images.shape:
        raise PDCError(f"{key} in {path} is empty: its shape is {images.shape}")
    if images.ndim == 3:
        return images[:, None]
    first, last = images.shape[1] in (1, 3), images.shape[3] in (1, 3)
    if first == last:
        what = "could be read both as (n, c, h, w) and as (n, h, w, c)" if first else "has no axis of 1 or 3 channels"
        raise PDCError(
            f"{key} in {path} has the shape {images.shape}, which {what}; store (n, h, w, c) images "
            "of 1 or 3 channels that are more than 3 pixels wide and high"
        )
    return images if first else images.transpose(0, 3, 1, 2)


def _labels(labels: np.ndarray, key: str, path: str) -> np.ndarray:
    if labels.dtype.kind in "US":
        raise PDCError(
            f"{key} in {path} is text; labels have to be integers, counted from 0: classes, labels = "
            "numpy.unique(text, return_inverse=True) gives the names and the numbers"
        )
    if labels.dtype.kind not in "iu":
        raise PDCError(f"{key} in {path} is {labels.dtype}; labels have to be integers, counted from 0")
    if labels.ndim != 1 and labels.shape[1:] != (1,):
        raise PDCError(f"{key} in {path} has the shape {labels.shape}; labels have to be (n,), one number per image")
    if labels.size and (labels.min() < 0 or labels.max() >= 2**31):
        raise PDCError(f"{key} in {path} has labels from {labels.min()} to {labels.max()}; they count from 0")
    return labels.astype(np.int64).ravel()


def _check_together(arrays: dict[str, np.ndarray], path: str) -> None:
    for part in _parts(arrays):
        x, y = arrays[f"x_{part}"], arrays[f"y_{part}"]
        if len(x) != len(y):
            raise PDCError(f"x_{part} in {path} has {len(x)} images, y_{part} has {len(y)} labels")
        if arrays["x_train"].shape[1:] != x.shape[1:]:
            train, other = arrays["x_train"].shape[1:], x.shape[1:]
            raise PDCError(f"images in {path} differ in (c, h, w): {train} in x_train, {other} in x_{part}")
    classes, counts = np.unique(arrays["y_train"], return_counts=True)
    if len(classes) < 2:
        raise PDCError(f"y_train in {path} has only one class, {classes[0]}; at least two are needed")
    if counts.min() == 1 and "y_val" not in arrays:
        raise PDCError(
            f"x_train in {path} has one image of class {classes[counts.argmin()]}; every class needs at least two, "
            "since some images are held back for validation: give more of it, or leave it out"
        )
    if classes[-1] != len(classes) - 1:
        absent = np.setdiff1d(np.arange(len(classes)), classes)[0]
        raise PDCError(
            f"y_train in {path} has {len(classes)} different labels up to {classes[-1]}, "
            f"but none is {absent}; labels have to be 0, 1, 2, ... without gaps"
        )
    for part in _parts(arrays):
        if arrays[f"y_{part}"].max() > classes[-1]:
            raise PDCError(
                f"y_{part} in {path} has the label {arrays[f'y_{part}'].max()}, but y_train ends at {classes[-1]}: "
                "no network could learn that class"
            )


def _parts(arrays: dict[str, np.ndarray]) -> list[str]:
    return [part for part in PARTS if f"x_{part}" in arrays]
