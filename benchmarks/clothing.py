"""Make the data set `clothing` from Fashion-MNIST: 700 training and 100 test images of every class, drawn with seed 0.

    python benchmarks/clothing.py SOURCE            # writes pdc_core/data/clothing.npz
    python benchmarks/clothing.py SOURCE --check    # compares that file with Fashion-MNIST, image by image

SOURCE is an npz file of the whole set in its original order (x_train, y_train, x_test, y_test), or a folder that holds
torchvision's FashionMNIST; if it does not, that is downloaded into it. Exits with status 1 if the file is wrong.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from pdc_core.data import describe_data
from pdc_core.torchvision_adapter import torchvision

TARGET = Path(__file__).parents[1] / "pdc_core" / "data" / "clothing.npz"
PER_CLASS = {"train": 700, "test": 100}
MOST_BYTES = 5 * 10**6
Arrays = dict[str, np.ndarray]


def whole(source: Path) -> Arrays:
    """Return Fashion-MNIST, images (n, 28, 28), in the order of its files."""
    if source.is_file():
        with np.load(source) as stored:
            arrays = {key: stored[key] for key in ("x_train", "y_train", "x_test", "y_test")}
        return {key: a.reshape(len(a), 28, 28) if key.startswith("x") else a for key, a in arrays.items()}
    parts = {name: torchvision().datasets.FashionMNIST(source, name == "train", download=True) for name in PER_CLASS}
    images = {f"x_{name}": part.data.numpy() for name, part in parts.items()}
    return images | {f"y_{name}": part.targets.numpy() for name, part in parts.items()}


def chosen(labels: np.ndarray, count: int) -> np.ndarray:
    """Return the positions of the first `count` images of every class in an order drawn with seed 0, ascending."""
    order = np.random.default_rng(0).permutation(len(labels))
    return np.sort(np.concatenate([order[labels[order] == c][:count] for c in np.unique(labels)]))


def part(source: Arrays) -> Arrays:
    """Return the arrays of the data set, as the file holds them."""
    arrays = {}
    for name, count in PER_CLASS.items():
        rows = chosen(source[f"y_{name}"], count)
        arrays[f"x_{name}"] = source[f"x_{name}"][rows][..., None]  # (n, 28, 28, 1)
        arrays[f"y_{name}"] = source[f"y_{name}"][rows].astype(np.uint8)
    return {**arrays, "classes": np.array(describe_data("fashion_mnist").classes)}


def faults(stored: Arrays, source: Arrays) -> list[str]:
    """Return what is wrong with the file: images that are not Fashion-MNIST's, or other ones than the seed draws."""
    found = []
    for name, count in PER_CLASS.items():
        images, labels = stored[f"x_{name}"][..., 0], stored[f"y_{name}"]
        known = {(x.tobytes(), int(y)) for x, y in zip(source[f"x_{name}"], source[f"y_{name}"], strict=True)}
        strange = sum((x.tobytes(), int(y)) not in known for x, y in zip(images, labels, strict=True))
        if strange:
            found.append(f"{strange} of {len(images)} {name} images are not in Fashion-MNIST with that label")
        if np.bincount(labels, minlength=10).tolist() != [count] * 10:
            found.append(f"the classes have {np.bincount(labels).tolist()} {name} images, not {count} each")
    expected = part(source)
    found += [f"{key} differs" for key in expected if not np.array_equal(expected[key], stored[key])]
    return found


def main() -> int:
    """Write or check the file and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="npz file with the whole set, or a folder for torchvision's files")
    parser.add_argument("--check", action="store_true", help="compare the file with the set; nothing is written")
    arguments = parser.parse_args()
    source = whole(arguments.source)
    if not arguments.check:
        np.savez_compressed(TARGET, **part(source))
    with np.load(TARGET, allow_pickle=False) as file:
        stored = dict(file)
    wrong, size = faults(stored, source), TARGET.stat().st_size
    if size > MOST_BYTES:
        wrong.append(f"it has {size:,} bytes, more than {MOST_BYTES:,}")
    for fault in wrong:
        print(f"{TARGET}: {fault}")
    if not wrong:
        counts = " and ".join(f"{len(stored[f'x_{name}']):,} {name}" for name in PER_CLASS)
        print(f"{TARGET}: {counts} images of Fashion-MNIST, {size / 1e6:.2f} MB")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
