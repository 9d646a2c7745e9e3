"""Is the difference between two methods more than chance? Trains both again and compares them image by image.

    python benchmarks/paired.py fashion_mnist 0.6 pdc fpgm --seeds 0 1 2 3 4 5 --data DATA

The standard deviation over seeds in results/quality.md shows what other batches and clusterings would give, but every
seed is measured on the same test images. Differences on single images show what other images would give: d_i, the mean
over seeds of (first right) - (second right), has a mean over images and, with n images, a standard error of
std(d_i) / sqrt(n). Writes one line per pair and keep ratio to results/paired.csv and .md.
"""

from __future__ import annotations

import argparse
import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import quality
import torch
from numpy.typing import NDArray

import pdc_core as pdc

RESULTS = Path(__file__).parent / "results"
KEY = ["task", "keep", "first", "second"]


def right(task: quality.Task, method: str, keep: float, seeds: list[int]) -> NDArray[np.float64]:
    """Return 1 for every test image that a compressed network classifies correctly, else 0, (seeds, images)."""
    rows = []
    for seed in seeds:
        found = pdc.evaluate(quality.compressed(task, method, keep, seed), task.data, task.data.test)
        rows.append(found.predictions.eq(task.data.test.labels).double().numpy())
        print(f"{method}, seed {seed}: {100 * rows[-1].mean():.2f}", flush=True)
    return np.stack(rows)


def difference(first: NDArray[np.float64], second: NDArray[np.float64]) -> dict[str, float]:
    """Return how far the first is ahead, in points, with its standard errors over seeds and over images.

    Parameters
    ----------
    first, second : (seeds, images), 1 where right; at least two of each.

    Examples
    --------
    >>> found = difference(np.array([[1.0, 1, 0, 1]] * 2), np.array([[1.0, 0, 0, 1]] * 2))
    >>> found["points"], found["error_seeds"], found["error_images"]
    (25.0, 0.0, 25.0)
    """
    d = 100 * (first - second)
    seeds, images = d.mean(1), d.mean(0)
    return {
        "points": float(d.mean()),
        "error_seeds": float(seeds.std(ddof=1) / len(seeds) ** 0.5),
        "error_images": float(images.std(ddof=1) / len(images) ** 0.5),
    }


def table(rows: pd.DataFrame) -> str:
    """Return the Markdown table."""
    lines = [
        "# Differences with their errors",
        "",
        f"Written by `python benchmarks/paired.py` on {datetime.date.today()}, torch {torch.__version__}. Points by "
        "which the first is ahead on the test split, and the standard error of that over seeds and over images.",
        "",
        "| task | keep | first | second | seeds | points | error over seeds | error over images |",
        "|---|--:|---|---|--:|--:|--:|--:|",
    ]
    for r in rows.itertuples():
        numbers = f"{r.points:+.2f} | {r.error_seeds:.2f} | {r.error_images:.2f}"
        lines.append(f"| {r.task} | {r.keep:g} | {r.first} | {r.second} | {r.seeds} | {numbers} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Train both methods with every seed, compare, and write the line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=list(quality.TASKS))
    parser.add_argument("keep", type=float)
    parser.add_argument("first")
    parser.add_argument("second")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--checkpoints", type=Path)
    parser.add_argument("--out", type=Path, default=RESULTS / "paired.csv")
    given = parser.parse_args()
    if len(given.seeds) < 2:
        parser.error("one seed has no deviation; give two or more")
    methods = [*quality.TRAINED, *quality.UNTRAINED, *quality.OUTSIDE]
    if unknown := [m for m in (given.first, given.second) if m not in methods]:
        parser.error(f"there is no method {unknown[0]}; there are {', '.join(methods)}")
    task = quality.TASKS[given.task](given.data, given.checkpoints)
    found = difference(*(right(task, method, given.keep, given.seeds) for method in (given.first, given.second)))
    key = dict(zip(KEY, (task.name, given.keep, given.first, given.second), strict=True))
    lines = pd.read_csv(given.out).to_dict("records") if given.out.exists() else []
    others = [line for line in lines if any(line[name] != value for name, value in key.items())]
    rows = pd.DataFrame([*others, {**key, "seeds": len(given.seeds), **found}])
    rows.round(4).to_csv(given.out, index=False)
    given.out.with_suffix(".md").write_text(table(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
