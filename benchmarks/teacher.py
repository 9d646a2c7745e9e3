"""What a larger teacher is worth: ResNet-20 on CIFAR-10 taught by ResNet-56 or by itself. Writes results/teacher.*.

    python benchmarks/teacher.py --data DATA --checkpoints CHECKPOINTS
    python benchmarks/teacher.py --data DATA --checkpoints CHECKPOINTS --keeps 0.2 --seeds 0    # part of it
    python benchmarks/teacher.py --table                          # only write the Markdown table again

DATA is a folder with cifar10.npz (x_train, y_train, x_test and y_test, uint8 images); CHECKPOINTS holds those of
akamaster/pytorch_resnet_cifar10 (ResNet-20: 91.73%, ResNet-56: 93.39% of the test images). One row per teacher, keep
ratio and seed is appended to the CSV as soon as it is finished, so you can stop at any time and go on; no row is run
twice. Every run has the same 10,000 training images, 3 epochs, losses and plan.

teacher is "self" (ResNet-20, whose block outputs are compared as well), "resnet56" (block outputs compared where shapes
agree, at the end of each stage) or "resnet56_logits" (its logits alone).

The published networks have seen all 50,000 training images, so val_accuracy is of test images 0 to 1,999 and
test_accuracy of the other 8,000, as in quality.py.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import platform
import time
from pathlib import Path

import pandas as pd
import quality
import torch
from torch import nn

import pdc_core as pdc

RESULTS = Path(__file__).parent / "results"
COLUMNS = ("teacher", "keep", "seed", "test_accuracy", "val_accuracy", "teacher_accuracy", "before", "macs", "seconds")
TEACHERS = {"self": "itself", "resnet56": "ResNet-56", "resnet56_logits": "ResNet-56, logits alone"}
KEEPS, SEEDS, IMAGES, EPOCHS = (0.2, 0.4), (0, 1, 2), 10_000, 3
FILES = {"resnet20": "resnet20-12fca82f.th", "resnet56": "resnet56-4bfd9763.th"}


def row(name: str, keep: float, seed: int, data: pdc.Data, models: dict[str, nn.Module]) -> dict[str, object]:
    """Distil once and return a row of the table."""
    student = models["resnet20"]
    plan = pdc.Plan.uniform(pdc.trace(student, data.example), keep)
    settings = pdc.Training.for_data("cifar10", epochs=EPOCHS, **quality.FAST)
    if name == "resnet56_logits":
        settings = settings.model_copy(update={"matching": 0.0})
    teacher = None if name == "self" else models["resnet56"]
    began = time.perf_counter()
    report = pdc.distil(student, plan, data, teacher=teacher, settings=settings, seed=seed).report
    taught_by = report["teacher"] if teacher is not None else report["before"]
    return {
        "teacher": name,
        "keep": keep,
        "seed": seed,
        "test_accuracy": round(report["folded"]["test_accuracy"], 4),
        "val_accuracy": round(report["folded"]["val_accuracy"], 4),
        "teacher_accuracy": round(taught_by["test_accuracy"], 4),
        "before": round(report["before"]["test_accuracy"], 4),
        "macs": report["folded"]["macs"],
        "seconds": round(time.perf_counter() - began, 1),
    }


def markdown(rows: pd.DataFrame) -> str:
    """Return the table: mean and spread over seeds, and the difference from the network itself, paired by seed."""
    lines = [
        f"ResNet-20 (published weights) on CIFAR-10: {IMAGES:,} training images x {EPOCHS} epochs. "
        "Test accuracy [%]: mean ± standard deviation over seeds.",
        "",
        "| keep | teacher | its accuracy | seeds | folded | points over itself, same seeds |",
        "|--:|---|--:|--:|--:|--:|",
    ]
    for keep, name in itertools.product(sorted(rows["keep"].unique(), reverse=True), TEACHERS):
        at = rows[(rows["keep"] == keep) & (rows["teacher"] == name)].set_index("seed")
        if at.empty:
            continue
        own = rows[(rows["keep"] == keep) & (rows["teacher"] == "self")].set_index("seed")["test_accuracy"]
        ours, n = 100 * at["test_accuracy"], len(at)
        mean = f"{ours.mean():.2f}" + (f" ± {ours.std():.2f}" if n > 1 else "")
        gain = (ours - 100 * own).dropna()
        over = "" if name == "self" or gain.empty else f"{gain.mean():+.2f} ({len(gain)})"
        lines.append(
            f"| {keep:g} | {TEACHERS[name]} | {100 * at['teacher_accuracy'].iloc[0]:.2f} | {n} | {mean} | {over} |"
        )
    before = 100 * rows["before"].iloc[0]
    date = datetime.datetime.now(datetime.UTC).date()
    return "\n".join(
        [
            *lines,
            "",
            f"Before pruning: {before:.2f}. Accuracies are of test images 2,000 to 9,999. torch {torch.__version__}, "
            f"{platform.machine()}, {date}. Written by `python benchmarks/teacher.py`.",
            "",
        ]
    )


def main() -> None:
    """Run what is missing, one row at a time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--checkpoints", type=Path)
    parser.add_argument("--teachers", nargs="+", choices=TEACHERS, default=list(TEACHERS))
    parser.add_argument("--keeps", nargs="+", type=float, default=KEEPS)
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    parser.add_argument("--table", action="store_true", help="only write the table")
    arguments = parser.parse_args()
    file = RESULTS / "teacher.csv"
    if not arguments.table:
        if arguments.data is None or arguments.checkpoints is None:
            parser.error("give --data and --checkpoints, or --table")
        data = quality.cifar10_images(arguments.data, IMAGES)
        models = {
            name: pdc.load_model(name, "cifar10", weights=arguments.checkpoints / path) for name, path in FILES.items()
        }
        for seed, keep, name in itertools.product(arguments.seeds, arguments.keeps, arguments.teachers):
            done = quality.finished(file, COLUMNS)
            if ((done["teacher"] == name) & (done["keep"] == keep) & (done["seed"] == seed)).any():
                continue
            found = row(name, keep, seed, data, models)
            quality.append(file, found)
            print(*(f"{key} {value}" for key, value in found.items()), flush=True)
    rows = quality.finished(file, COLUMNS)
    if not rows.empty:
        (RESULTS / "teacher.md").write_text(markdown(rows))


if __name__ == "__main__":
    main()
