"""Merge at once or step by step? Schedules at several lengths of the run. Writes benchmarks/results/length.*.

    python benchmarks/length.py --data DATA --checkpoints CHECKPOINTS                 # all; no row is run twice
    python benchmarks/length.py --data DATA --checkpoints CHECKPOINTS --epochs 2 12   # part of it
    python benchmarks/length.py --table                                               # only write the Markdown table

ResNet-20 on CIFAR-10, published weights, 10,000 images of the training split, batches of 128, otherwise the defaults of
`distil`. DATA and CHECKPOINTS are those of quality.py. This is where defaults are chosen, so it uses seeds from 10 on
and validation images alone: test images 0 to 1,999, since the checkpoint has seen all training images.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
from pathlib import Path

import pandas as pd
import quality
import torch

import pdc_core as pdc

RESULTS = Path(__file__).parent / "results"
COLUMNS = ("schedule", "keep", "epochs", "steps", "seed", "val_accuracy")
SCHEDULES: dict[str, dict[str, object]] = {
    "one merge at once": {"merges": 1},
    "6 merges over 0.1 of the run": {"merges": 6, "tied_after": 0.1},
    "6 merges over 0.3 of the run": {"merges": 6, "tied_after": 0.3},
    "progressive over 0.5 of the run": {"schedule": "progressive", "tied_after": 0.5},
}
EPOCHS, KEEPS, SEEDS, IMAGES = (2, 6, 12, 24), (0.2,), (10, 11), 10_000


def row(task: quality.Task, schedule: str, keep: float, epochs: int, seed: int) -> dict[str, object]:
    """Train once and return a row of the table."""
    settings = pdc.Training.for_data("cifar10", **{**quality.FAST, "epochs": epochs, **SCHEDULES[schedule]})
    plan = pdc.Plan.uniform(pdc.trace(task.model, task.data.example), keep)
    done = pdc.distil(task.model, plan, task.data, seed=seed, settings=settings)
    return {
        "schedule": schedule,
        "keep": keep,
        "epochs": epochs,
        "steps": done.history[-1]["step"],
        "seed": seed,
        "val_accuracy": round(pdc.evaluate(done.folded, task.data, task.data.val).accuracy, 6),
    }


def table(rows: pd.DataFrame) -> str:
    """Return the Markdown tables: validation accuracy in percent, mean of the seeds, a column for each length."""
    lines = [
        "# Schedules by the length of the run",
        "",
        f"Written by `python benchmarks/length.py` on {datetime.date.today()}, torch {torch.__version__}; what every "
        "row is given stands at the head of that file. Validation accuracy in percent at the last epoch, mean over "
        "seeds from 10 on (n of them). Bold: the highest mean of a column.",
    ]
    for keep, own in rows.groupby("keep", sort=True):
        means = 100 * own.pivot_table("val_accuracy", "schedule", "steps", "mean")
        counts = own.pivot_table("val_accuracy", "schedule", "steps", "count")
        lines += ["", f"## Inner layers kept at {keep:g}", ""]
        lines += ["| schedule | " + " | ".join(f"{steps:,} steps" for steps in means.columns) + " |"]
        lines += ["|---|" + "--:|" * len(means.columns)]
        for name in SCHEDULES:
            cells = []
            for steps in means.columns:
                mean = means[steps].get(name)
                if mean is None or pd.isna(mean):
                    cells.append("not run")
                    continue
                text = f"{mean:.2f} ({counts[steps][name]:.0f})"
                cells.append(f"**{text}**" if means[steps].idxmax() == name else text)
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run what is missing, one row at a time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", nargs="*", type=int, default=EPOCHS)
    parser.add_argument("--keeps", nargs="*", type=float, default=KEEPS)
    parser.add_argument("--seeds", nargs="*", type=int, default=SEEDS)
    parser.add_argument("--table", action="store_true", help="write the Markdown table and stop")
    parser.add_argument("--data", type=Path, help="folder of npz files")
    parser.add_argument("--checkpoints", type=Path, help="folder of published checkpoints")
    parser.add_argument("--out", type=Path, default=RESULTS / "length.csv")
    given = parser.parse_args()
    task = None if given.table else quality.cifar10(given.data, given.checkpoints, IMAGES, 2)
    for seed, keep, epochs, name in itertools.product(given.seeds, given.keeps, given.epochs, SCHEDULES):
        rows = quality.finished(given.out, COLUMNS)
        done = (rows.schedule == name) & (rows.keep == keep) & (rows.epochs == epochs) & (rows.seed == seed)
        if task is not None and not done.any():
            values = row(task, name, keep, epochs, seed)
            quality.append(given.out, values)
            print(*values.values(), flush=True)
    given.out.with_suffix(".md").write_text(table(quality.finished(given.out, COLUMNS)), encoding="utf-8")


if __name__ == "__main__":
    main()
