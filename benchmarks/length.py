"""What the length of a run should change: merges, learning rate and others at several lengths. Writes results/length.*.

    python benchmarks/length.py --data DATA             # all rows that are missing; no row is run twice
    python benchmarks/length.py --data DATA --first 1   # the next of them
    python benchmarks/length.py --table                 # only write the Markdown table

DATA is the folder of quality.py. ResNet-20 on CIFAR-10, the weights that come with PDC, batches of 128, otherwise the
defaults of `distil`. This is where defaults are chosen, so it uses seeds from 10 on and validation images alone: the
5,000 that neither that network was trained on nor a run here.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import quality
import torch

import pdc_core as pdc
from pdc_core.data import Split

RESULTS = Path(__file__).parent / "results"
SCHEDULES: dict[str, dict[str, object]] = {
    "one merge at once": {"merges": 1},
    "6 merges over 0.3 of the run": {"merges": 6, "tied_after": 0.3},
    "progressive strength over 0.5 of the run": {"schedule": "progressive", "tied_after": 0.5},
}
ONE, SIX, PROGRESSIVE = SCHEDULES
OTHERS: dict[str, dict[str, object]] = {
    f"{SIX}, weight decay 1e-4": {"weight_decay": 1e-4},
    f"{SIX}, alpha 0.9": {"alpha": 0.9},
    f"{SIX}, feature decay 1": {"feature_decay": 1.0},
}
SCHEDULES |= {name: {**SCHEDULES[SIX], **changes} for name, changes in OTHERS.items()}


class Row(NamedTuple):
    """What a row of the table is of."""

    schedule: str
    lr: float
    keep: float
    images: int
    epochs: int
    seed: int


COLUMNS = (*Row._fields, "steps", "val_accuracy")


def rows() -> Iterator[Row]:
    """Yield every row of the table."""
    for seed in (10, 11):
        for keep, schedule, lr in itertools.product((0.2, 0.39), (ONE, SIX), (0.02, 0.05)):
            yield Row(schedule, lr, keep, 10_000, 2, seed)
        for epochs, schedule, lr in itertools.product((6, 12), (ONE, SIX), (0.02, 0.05)):
            yield Row(schedule, lr, 0.2, 10_000, epochs, seed)
    for images, schedule, lr in itertools.product((20_000, 45_000), (ONE, SIX), (0.02, 0.05)):
        yield Row(schedule, lr, 0.2, images, 12, 10)
    yield Row(SIX, 0.1, 0.2, 45_000, 12, 10)
    for other in (*OTHERS, PROGRESSIVE):
        yield Row(other, 0.05, 0.2, 20_000, 12, 10)
    for keep, schedule in ((0.2, PROGRESSIVE), (0.39, SIX), (0.39, PROGRESSIVE)):
        yield Row(schedule, 0.05, keep, 45_000, 12, 10)


def trained(row: Row, data: pdc.Data) -> dict[str, object]:
    """Train once and return the values of a row."""
    few = replace(data, train=Split(data.train.images[: row.images], data.train.labels[: row.images]))
    model = pdc.load_model("resnet20", "cifar10")
    plan = pdc.Plan.uniform(pdc.trace(model, data.example), row.keep)
    chosen = {**quality.FAST, "epochs": row.epochs, "lr": row.lr, **SCHEDULES[row.schedule]}
    done = pdc.distil(model, plan, few, seed=row.seed, settings=pdc.Training.for_data("cifar10", **chosen))
    accuracy = pdc.evaluate(done.folded, data, data.val).accuracy
    return {**row._asdict(), "steps": done.history[-1]["step"], "val_accuracy": round(accuracy, 4)}


def table(found: pd.DataFrame) -> str:
    """Return the Markdown table: validation accuracy in percent, a column for each length and keep ratio."""
    lines = [
        "# Runs by their length",
        "",
        f"Written by `python benchmarks/length.py` on {datetime.date.today()}, torch {torch.__version__}; what every "
        "row is given stands at the head of that file. Validation accuracy in percent at the last epoch, mean ± "
        "standard deviation over seeds from 10 on (n of them); one of 5,000 images is 0.02 points, and chance alone "
        "moves the difference of two runs by about 0.5. Bold: the highest mean of a column.",
        "",
    ]
    lengths = sorted(set(found[["steps", "keep"]].itertuples(index=False, name=None)))
    lines.append("| schedule | learning rate | " + " | ".join(f"{s:,} steps, keep {k:g}" for s, k in lengths) + " |")
    lines.append("|---|--:|" + "--:|" * len(lengths))
    for schedule, lr in itertools.product(SCHEDULES, sorted(set(found.lr))):
        cells = []
        for steps, keep in lengths:
            column = found[(found.steps == steps) & (found.keep == keep)]
            values = 100 * column[(column.schedule == schedule) & (column.lr == lr)].val_accuracy
            best = len(values) > 0 and column.groupby(["schedule", "lr"]).val_accuracy.mean().idxmax() == (schedule, lr)
            cells.append(quality.cell(values, best))
        if set(cells) != {"not run"}:
            lines.append(f"| {schedule} | {lr:g} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run what is missing, one row at a time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of npz files")
    parser.add_argument("--schedules", nargs="*", choices=list(SCHEDULES), default=list(SCHEDULES))
    parser.add_argument("--first", type=int, help="how many of the missing rows to run")
    parser.add_argument("--table", action="store_true", help="write the Markdown table and stop")
    parser.add_argument("--out", type=Path, default=RESULTS / "length.csv")
    given = parser.parse_args()
    if not given.table and given.data is None:
        parser.error("give --data, or --table")
    done = set(quality.finished(given.out, COLUMNS)[list(Row._fields)].itertuples(index=False, name=None))
    missing = [] if given.table else [row for row in rows() if row not in done and row.schedule in given.schedules]
    data = quality.as_shipped("cifar10", given.data) if missing else None
    for row in missing[: given.first] if data is not None else ():
        quality.append(given.out, trained(row, data))
        print(quality.finished(given.out).tail(1).to_string(header=False), flush=True)
    given.out.with_suffix(".md").write_text(table(quality.finished(given.out, COLUMNS)), encoding="utf-8")


if __name__ == "__main__":
    main()
