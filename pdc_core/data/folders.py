"""Data sets in folders, one per class: which files belong to which split and class, without reading an image."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pdc_core.data.image_files import SIZE, ImageFiles
from pdc_core.data.images import Data, DataInfo, Split, held_back
from pdc_core.errors import PDCError

FOLDER = "folder:"
SPLITS = {  # names of their folders, in any case; the first that is there counts
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
ENDINGS = {".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".webp", ".avif", ".ppm", ".pgm", ".gif", ".tif", ".tiff"}
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as torchvision's networks expect
_VAL_SHARE, _VAL_MOST, _TEST_SHARE = 0.1, 5000, 0.2


class NoHeldOutImages(PDCError):
    """Raised for a folder with train/ alone: there is nothing to measure on, unless a part of train/ is held back.

    Parameters
    ----------
    train : Path
        The folder of the training images.
    size : int
        Height and width of the images, in pixels.

    Attributes
    ----------
    instead : str
        The data set, as `load_folder` takes it, whose parts are made of train/.
    """

    def __init__(self, train: Path, size: int) -> None:
        self.instead = _name(train, size)
        super().__init__(
            f"{train.parent} has {train.name}/ but no folder val/ or test/ with images to measure on. Make val/CLASS/, "
            f"or give {self.instead} to let PDC hold back a part of {train.name}/, stratified and always the same."
        )


def load_folder(name: str, workers: int | None = None) -> Data:
    """Return the data set under "folder:PATH" without reading an image.

    PATH holds train/CLASS/... and val/CLASS/..., by these or other usual names (training/, valid/, validation/,
    testing/; upper case counts as lower). Folders within a class are searched as well; hidden files and folders are
    left out. If there is also a folder test/, val is for choosing and test for reporting.
    If there is only one of the two, as with ImageNet, it is the test split, and a stratified part of train/ (a tenth,
    at most 5,000) is the validation split. PATH may also hold CLASS/... alone: then a fifth of the images is the test
    split, stratified and always the same, and a part of the rest the validation split as above.

    Parameters
    ----------
    name : str
        "folder:PATH"; "folder:PATH@64" gives images of 64x64 pixels instead of 224x224.
    workers : int, optional
        Threads that read files; by default one per core, at most 16.

    Returns
    -------
    Data
        Its images are `ImageFiles`.

    Raises
    ------
    PDCError
        If a folder is missing or has no images, the splits have different classes, or a class has too few images.
    NoHeldOutImages
        There is train/ and nothing to measure on; it is a PDCError.
    """
    root, size = _place(name)
    info = describe_folder(name)
    parts = _parts(root)
    held = [parts[part] for part in ("val", "test") if part in parts]
    learned = parts.get("train", root)
    train, y = _files(learned, info.classes)
    _check_classes(learned, y, info.classes, 3 - len(held))
    if not held:
        train, y, test, y_test = _divided(train, y, round(_TEST_SHARE * len(y)), len(info.classes))
    else:
        test, y_test = _files(held[-1], info.classes)
    if len(held) == 2:
        val, y_val = _files(held[0], info.classes)
    else:
        count = max(1, min(_VAL_MOST, round(_VAL_SHARE * len(y))))
        train, y, val, y_val = _divided(train, y, count, len(info.classes))
    splits = (
        Split(_as_tensor(ImageFiles(paths, size, workers)), torch.from_numpy(labels))
        for paths, labels in ((train, y), (val, y_val), (test, y_test))
    )
    first, second, third = splits
    return Data(name, first, second, third, info.classes, info.shape, info.mean, info.std, shift=0, flip=True)


def describe_folder(name: str) -> DataInfo:
    """Return the shape and the classes of "folder:PATH"; no image is read.

    Parameters
    ----------
    name : str
        As for `load_folder`.

    Returns
    -------
    DataInfo
        Its classes are the names of the folders in train/, sorted.

    Raises
    ------
    PDCError
        If a folder is missing, or there are fewer than 2 classes.
    """
    root, size = _place(name)
    if not root.is_dir():
        raise PDCError(
            f"There is no folder {root}; give the one that holds train/CLASS/ and val/CLASS/, or CLASS/ alone."
        )
    parts = _parts(root)
    first = parts.get("train", root / "train") if parts else root
    classes = _folders(first)
    if len(classes) >= 2 and set(parts) == {"train"}:
        raise NoHeldOutImages(first, size)
    if len(classes) < 2:
        inner = root / classes[0] if classes and not parts else None
        hint = f" Perhaps you mean {_name(inner, size)}." if inner and len(_folders(inner)) >= 2 else ""
        raise PDCError(
            f"{root} has to hold train/CLASS/ and val/CLASS/, or CLASS/ alone, with the images of at least 2 classes; "
            f"there {'is' if len(classes) == 1 else 'are'} {len(classes)} in {first}.{hint}"
        )
    return DataInfo(name, (3, size, size), classes, _MEAN, _STD)


def folder_state(name: str) -> tuple[int, int] | None:
    """Return what tells one state of a folder from another, since files come and go while a server runs.

    Parameters
    ----------
    name : str
        As for `load_folder`.

    Returns
    -------
    tuple of int or None
        When a folder of it was last changed, in nanoseconds, and how many there are; None if there is none.
    """
    try:
        root, _ = _place(name)
        parts = _parts(root).values() or (root,)
        folders = [root, *(folder / each for folder in parts for each in ("", *_folders(folder)))]
        changed = [folder.stat().st_mtime_ns for folder in folders if folder.is_dir()]
    except (OSError, PDCError, ValueError):  # whoever loads it says what is wrong
        return None
    return (max(changed), len(changed)) if changed else None


def _parts(root: Path) -> dict[str, Path]:
    """Return the folder of each split, as far as there are any; none where a folder holds classes."""
    names = _folders(root)
    parts = {}
    for part, usual in SPLITS.items():
        found = sorted((usual.index(name.lower()), name) for name in names if name.lower() in usual)
        if found:
            parts[part] = root / found[0][1]
    if len(names) > 1 and set(parts) == {"train"} and not _folders(parts["train"]):
        return {}  # pictures of trains
    return parts


def _folders(folder: Path) -> tuple[str, ...]:
    """Return the folders in a folder by name, sorted, without hidden ones; none if there is no such folder."""
    found = os.scandir(folder) if folder.is_dir() else ()
    return tuple(sorted(entry.name for entry in found if entry.is_dir() and not _hidden(entry.name)))


def _hidden(name: str) -> bool:
    """Return whether a file or a folder is one that systems put beside the images."""
    return name.startswith(".") or name == "__MACOSX"


def _images(folder: Path) -> list[str]:
    """Return the paths of all images in a folder and the folders in it, sorted."""
    paths: list[str] = []
    for at, inner, files in os.walk(folder):
        inner[:] = [name for name in inner if not _hidden(name)]
        paths += (os.path.join(at, f) for f in files if not _hidden(f) and Path(f).suffix.lower() in ENDINGS)
    return sorted(paths)


def _divided(paths: np.ndarray, labels: np.ndarray, count: int, classes: int) -> tuple[np.ndarray, ...]:
    """Return paths and labels of what stays, then of what is held back: `count` images, or as many as there can be."""
    held = held_back(labels, min(count, len(labels) - classes))
    kept = np.setdiff1d(np.arange(len(labels)), held)
    return paths[kept], labels[kept], paths[held], labels[held]


def _check_classes(folder: Path, labels: np.ndarray, classes: tuple[str, ...], least: int) -> None:
    """Refuse a class with fewer images than splits that are made of them."""
    counts = np.bincount(labels, minlength=len(classes))
    if counts.min() < least:
        few = int(counts.argmin())
        held = ", since some are held back to measure on" if least > 1 else ""
        raise PDCError(
            f"{folder / classes[few]} holds {counts[few]} image{'' if counts[few] == 1 else 's'}; every class needs at "
            f"least {least}{held}. Add images (known endings are {', '.join(sorted(ENDINGS))}) or remove the folder."
        )


def _place(name: str) -> tuple[Path, int]:
    """Return the folder and the size in a name."""
    path, _, size = name.removeprefix(FOLDER).rpartition("@")
    if not path:
        return Path(size), SIZE
    if not size.isdigit() or not 8 <= int(size) <= 4096:
        raise PDCError(
            f"{name}: after @ give the height and width of the images in pixels, 8 to 4096, for example folder:PATH@64."
        )
    return Path(path), int(size)


def _name(folder: Path, size: int) -> str:
    """Return the name of a folder of classes or splits as a data set."""
    return f"{FOLDER}{folder}" + (f"@{size}" if size != SIZE else "")


def _files(folder: Path, classes: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return paths and labels of the images under one split, in sorted order."""
    paths: list[str] = []
    labels: list[int] = []
    strange = sorted(set(_folders(folder)) - set(classes))
    if strange:
        raise PDCError(f"{folder} has a class {strange[0]!r} that train/ does not have; both need the same folders.")
    for label, name in enumerate(classes):
        found = _images(folder / name)
        paths += found
        labels += [label] * len(found)
    if not paths:
        raise PDCError(f"There are no images in {folder}/CLASS/; known endings are {', '.join(sorted(ENDINGS))}.")
    return np.array(paths, dtype=object), np.array(labels, dtype=np.int64)


def _as_tensor(images: ImageFiles) -> Any:
    """Hand the files to `Split`; they have the shape, type and indexing of a tensor."""
    return images
