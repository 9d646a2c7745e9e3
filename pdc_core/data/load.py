"""Data sets by name: digits and clothing, which are here already, npz files, image folders, and torchvision's sets."""

from __future__ import annotations

import math
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from pdc_core.data.arrays import PARTS
from pdc_core.data.custom import is_custom_data, made_data
from pdc_core.data.folders import FOLDER, describe_folder, load_folder
from pdc_core.data.images import Data, DataInfo, held_back, to_split
from pdc_core.data.named import named
from pdc_core.data.npz import CLASSES, read_npz
from pdc_core.errors import PDCError
from pdc_core.torchvision_adapter import torchvision

NPZ = "npz:"
CACHE = Path("~/.cache/pdc")
_VAL_SHARE, _VAL_MOST = 0.1, 5000
_DIGITS_HELD_BACK = 360
_CLOTHING, _CLOTHING_HELD_BACK = Path(__file__).with_name("clothing.npz"), 1000  # made by benchmarks/clothing.py

# Class in torchvision, and the training augmentation that is usual for the set: pixels of shift, and flip.
_TORCHVISION = {
    "fashion_mnist": ("FashionMNIST", 2, True),
    "cifar10": ("CIFAR10", 4, True),
    "cifar100": ("CIFAR100", 4, True),
}
# Where torchvision stores them below the root.
_STORED = {"fashion_mnist": "FashionMNIST/raw", "cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}


def load_data(
    name: str,
    *,
    root: str | Path | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
) -> Data:
    """Load a data set into memory.

    Parameters
    ----------
    name : str
        "digits" (1,797 real handwritten digits of 8x8 pixels, part of scikit-learn), "clothing" (8,000 images of 28x28
        pixels, a part of Fashion-MNIST that comes with PDC), "fashion_mnist", "cifar10", "cifar100", "npz:PATH" for a
        file with x_train, y_train, x_test, y_test (uint8 images, NHWC or NCHW), x_val and y_val (validation images) and
        classes (text, one name per class) if it has them, "folder:PATH" for images in train/CLASS/ and val/CLASS/ (see
        `load_folder`), which are read when needed, or "module:function" of your own (see `register_data`).
    root : str or Path, optional
        Folder that holds, or will hold, torchvision's data sets; by default ~/.cache/pdc.
    mean, std : tuple of float, optional
        Normalisation per channel instead of the set's own (npz: measured on the training images).

    Returns
    -------
    Data
        Part of the training images (a tenth, at most 5,000; 360 for digits, 1,000 for clothing) is split off as `val`,
        stratified and always the same, unless there are validation images.

    Raises
    ------
    PDCError
        If the name is unknown, a file is missing or wrong, a download fails, or mean and std do not fit.

    Examples
    --------
    >>> data = load_data("digits")
    >>> len(data.train), len(data.val), len(data.test), data.shape
    (1077, 360, 360, (1, 8, 8))
    """
    if name.startswith(FOLDER):
        data = load_folder(name)
    elif name.startswith(NPZ):
        data = _load_npz(name)
    elif is_custom_data(name):
        data = _load_custom(name)
    elif name == "digits":
        data = _load_digits(named(name))
    elif name == "clothing":
        data = _load_clothing(named(name))
    elif name in _TORCHVISION:
        data = _load_torchvision(named(name), Path(root or CACHE).expanduser())
    else:
        named(name)
        raise PDCError(
            f"only the shape and the classes of {name} are known; to load images give folder:PATH or npz:PATH"
        )
    mean, std = mean or data.mean, std or data.std
    channels = data.shape[0]
    if len(mean) != channels or len(std) != channels or not all(map(math.isfinite, (*mean, *std))) or min(std) <= 0:
        raise PDCError(
            f"mean {mean} and std {std} have to be {channels} finite numbers each, "
            f"one per channel of {name}, and std above 0"
        )
    return replace(data, mean=tuple(mean), std=tuple(std))


def is_local(name: str, root: str | Path | None = None) -> bool:
    """Return whether a data set that is known by name is here already, so that loading it downloads nothing.

    Parameters
    ----------
    name : str
        A name in DATASETS.
    root : str or Path, optional
        As for `load_data`.

    Examples
    --------
    >>> is_local("digits"), is_local("cifar10", root="/nowhere")
    (True, False)
    """
    return name not in _STORED or (Path(root or CACHE).expanduser() / _STORED[name]).is_dir()


def describe_data(name: str) -> DataInfo:
    """Return the shape, classes and normalisation of a data set; files are read only where their names do not say it.

    Parameters
    ----------
    name : str
        As for `load_data`; "imagenet" is known too.

    Returns
    -------
    DataInfo
        Without images.

    Raises
    ------
    PDCError
        If the name is unknown or the file or folder is wrong.

    Examples
    --------
    >>> describe_data("cifar10").shape
    (3, 32, 32)
    """
    if name.startswith(FOLDER):
        return describe_folder(name)
    if not name.startswith(NPZ) and not is_custom_data(name):
        return named(name)
    data = _load_custom(name) if is_custom_data(name) else _load_npz(name)
    return DataInfo(name, data.shape, data.classes, data.mean, data.std)


def _load_digits(info: DataInfo) -> Data:
    ink, labels = _digits()
    images = np.round(ink * (255 / 16)).astype(np.uint8)[:, None]  # (1797, 1, 8, 8), ink 16 becomes 255
    test = held_back(labels, _DIGITS_HELD_BACK)
    rest = np.delete(np.arange(len(labels)), test)
    return _assemble(
        info,
        images[rest],
        labels[rest],
        images[test],
        labels[test],
        shift=1,
        flip=False,
        val=_DIGITS_HELD_BACK,
    )


def _digits() -> tuple[np.ndarray, np.ndarray]:
    """Return scikit-learn's digits, (1797, 8, 8) of 0 to 16 and (1797,), from the file that comes with it.

    Its loader is used only if the file is elsewhere: importing it takes longer than the rest of the first screen.
    """
    spec = find_spec("sklearn")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        file = Path(folder) / "datasets" / "data" / "digits.csv.gz"
        if file.is_file():
            table = np.loadtxt(file, delimiter=",")
            return table[:, :-1].reshape(-1, 8, 8), table[:, -1].astype(np.int64)
    from sklearn.datasets import load_digits

    digits = load_digits()
    return digits.images, digits.target


def _load_clothing(info: DataInfo) -> Data:
    arrays = read_npz(_CLOTHING)
    parts = (arrays["x_train"], arrays["y_train"], arrays["x_test"], arrays["y_test"])
    _, shift, flip = _TORCHVISION["fashion_mnist"]  # of which it is a part
    return _assemble(info, *parts, shift=shift, flip=flip, val=_CLOTHING_HELD_BACK)


def _load_npz(name: str) -> Data:
    arrays = read_npz(name.removeprefix(NPZ))
    return _from_arrays(name, arrays, tuple(arrays[CLASSES].tolist()))


def _load_custom(name: str) -> Data:
    found = made_data(name)
    if isinstance(found, Data):
        return replace(found, name=name)
    return _from_arrays(name, *found)


def _from_arrays(name: str, arrays: dict[str, np.ndarray], classes: tuple[str, ...]) -> Data:
    """Return the data of checked arrays; without validation images, a part of those for training is held back."""
    x = arrays["x_train"]
    info = DataInfo(name, x.shape[1:], classes, *_mean_and_std(x))
    if "x_val" in arrays:
        train, val, test = (to_split(arrays[f"x_{part}"], arrays[f"y_{part}"]) for part in PARTS)
        return Data(name, train, val, test, classes, info.shape, info.mean, info.std, shift=1, flip=False)
    return _assemble(info, x, arrays["y_train"], arrays["x_test"], arrays["y_test"], shift=1, flip=False)


def _load_torchvision(info: DataInfo, root: Path) -> Data:
    kind, shift, flip = _TORCHVISION[info.name]
    dataset: type = getattr(torchvision().datasets, kind)
    arrays = []
    for train in (True, False):
        part = _find_or_download(dataset, info.name, root, train)
        images = np.asarray(part.data)  # type: ignore[attr-defined]
        images = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
        arrays += [images, np.asarray(part.targets)]  # type: ignore[attr-defined]
    return _assemble(info, *arrays, shift=shift, flip=flip)


def _find_or_download(dataset: type, name: str, root: Path, train: bool) -> object:
    try:
        return dataset(root=str(root), train=train, download=False)
    except RuntimeError:  # «Dataset not found or corrupted»
        pass
    try:
        root.mkdir(parents=True, exist_ok=True)
        return dataset(root=str(root), train=train, download=True)
    except (OSError, RuntimeError) as error:
        raise PDCError(
            f"{name} is not in {root} and could not be downloaded ({error}). Either put the files there as "
            f"torchvision stores them, on a machine with a network connection: torchvision.datasets.{dataset.__name__}"
            f"({str(root)!r}, download=True); or give a file of your own as npz:PATH"
        ) from error


def _assemble(
    info: DataInfo,
    x: np.ndarray,
    y: np.ndarray,
    x_test: np.ndarray,
    y_test: np.ndarray,
    *,
    shift: int,
    flip: bool,
    val: int | None = None,
) -> Data:
    """Split the validation images off the training images and put everything together."""
    if val is None:
        val = max(1, min(_VAL_MOST, round(_VAL_SHARE * len(y))))
    held = held_back(y, val)
    kept = np.delete(np.arange(len(y)), held)
    return Data(
        info.name,
        to_split(x[kept], y[kept]),
        to_split(x[held], y[held]),
        to_split(x_test, y_test),
        info.classes,
        info.shape,
        info.mean,
        info.std,
        shift,
        flip,
    )


def _mean_and_std(images: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation per channel of uint8 images (n, c, h, w) scaled to 0..1, exactly.

    A constant channel has a standard deviation of 0; it gets that of one grey level, so that
    dividing works.
    """
    values = np.arange(256) / 255
    mean, std = [], []
    for channel in range(images.shape[1]):
        share = np.bincount(images[:, channel].ravel(), minlength=256) / images[:, channel].size
        mu = float(share @ values)
        mean.append(mu)
        std.append(max(math.sqrt(share @ (values - mu) ** 2), 1 / 255))
    return tuple(mean), tuple(std)
