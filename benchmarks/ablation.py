"""PDC's default with one piece removed at a time. Writes benchmarks/results/ablation.csv and .md.

    python benchmarks/ablation.py digits --keep 0.1
    python benchmarks/ablation.py cifar10 --keep 0.4 --data DATA --checkpoints CHECKPOINTS

Each row is appended when it is finished, and no row is run twice. Seeds, splits and folders are those of quality.py.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import time
from pathlib import Path
from typing import Any

import pandas as pd
import quality
import torch

import pdc_core as pdc

RESULTS = Path(__file__).parent / "results"
COLUMNS = ("task", "variant", "keep", "seed", "test_accuracy", "val_accuracy", "val_loss", "seconds")
DATA = {"vectors": "activations", "algorithm": "representatives"}

# name of a variant: (settings, parts of the plan) that differ from the default
VARIANTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "default": ({}, {}),
    "merged at once": ({"merges": 1}, {}),
    "merged in 6 steps over 0.3": ({"merges": 6, "tied_after": 0.3}, {}),
    "progressive strength over half the run": ({"schedule": "progressive", "tied_after": 0.5}, {}),
    "progressive strength, centroids are plain means": (
        {"schedule": "progressive", "tied_after": 0.5, "centroid": "uniform"},
        {},
    ),
    "progressive strength, centroids are medoids": (
        {"schedule": "progressive", "tied_after": 0.5, "centroid": "medoid"},
        {},
    ),
    "tied from the start, readers added": ({"schedule": "tied"}, {}),
    "soft clusters, strength over half the run": ({"schedule": "recluster", "tied_after": 0.5}, {}),
    "gradients summed": ({"tied_gradients": "summed"}, {}),
    "gradients averaged": ({"tied_gradients": "averaged"}, {}),
    "no block outputs matched": ({"matching": 0.0}, {}),
    "attention transfer instead of matching": ({"matching": 0.0, "attention": 10.0}, {}),
    "decoupled logits": ({"kd_form": "dkd"}, {}),
    "no teacher": ({"matching": 0.0, "alpha": 0.0}, {}),
    "clusters from data": ({}, DATA),
    "Ward instead of k-means": ({}, {"algorithm": "ward"}),
    "k-medoids instead of k-means": ({}, {"algorithm": "kmedoids"}),
}


def row(task: quality.Task, variant: str, keep: float, seed: int) -> dict[str, Any]:
    """Distil once with one piece changed."""
    changes, chosen = VARIANTS[variant]
    graph = pdc.trace(task.model, torch.zeros(1, *task.data.shape))
    plan, began = pdc.Plan.uniform(graph, keep, **chosen), time.perf_counter()
    settings = task.settings.model_copy(update=changes)
    result = pdc.distil(task.model, plan, task.data, seed=seed, settings=settings)
    seconds = round(time.perf_counter() - began, 1)
    val = pdc.evaluate(result.folded, task.data, task.data.val)
    return {
        "task": task.name,
        "variant": variant,
        "keep": keep,
        "seed": seed,
        "test_accuracy": round(pdc.evaluate(result.folded, task.data, task.data.test).accuracy, 6),
        "val_accuracy": round(val.accuracy, 6),
        "val_loss": round(val.loss, 5),
        "seconds": seconds,
    }


def unchanged(task: quality.Task, variant: str) -> bool:
    """Return whether a variant is the task's default under another name."""
    changes, chosen = VARIANTS[variant]
    same = all(getattr(task.settings, name) == value for name, value in changes.items())
    return variant != "default" and same and not chosen


def table(rows: pd.DataFrame) -> str:
    """Return the Markdown table: mean and standard deviation over seeds."""
    lines = [
        "# Each piece of the default removed, one at a time",
        "",
        f"Written by `python benchmarks/ablation.py` on {datetime.date.today()}, torch {torch.__version__}. Accuracy "
        "in percent, mean ± standard deviation over seeds (n of them), and mean cross entropy, at the last epoch.",
        "",
        "| task | keep | variant | test accuracy | val accuracy | val loss |",
        "|---|--:|---|--:|--:|--:|",
    ]
    for (task, keep, variant), own in rows.groupby(["task", "keep", "variant"], sort=False):
        accuracies = " | ".join(quality.cell(100 * each, best=False) for each in (own.test_accuracy, own.val_accuracy))
        lines.append(f"| {task} | {keep:g} | {variant} | {accuracies} | {own.val_loss.mean():.4f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run what is missing, one row at a time, all variants of a seed before the next."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=list(quality.TASKS))
    parser.add_argument("--keep", type=float, default=0.4)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--checkpoints", type=Path)
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=RESULTS / "ablation.csv")
    given = parser.parse_args()
    task = quality.TASKS[given.task](given.data, given.checkpoints)
    for seed in given.seeds:
        for variant in [v for v in VARIANTS if not unchanged(task, v)]:
            rows = pd.read_csv(given.out) if given.out.exists() else pd.DataFrame(columns=list(COLUMNS))
            key = (rows.task == task.name) & (rows.variant == variant) & (rows.keep == given.keep) & (rows.seed == seed)
            if key.any():
                continue
            values = row(task, variant, given.keep, seed)
            new = not given.out.exists()
            with given.out.open("a", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
                if new:
                    writer.writeheader()
                writer.writerow(values)
            print(*values.values(), flush=True)
            given.out.with_suffix(".md").write_text(table(pd.read_csv(given.out)), encoding="utf-8")


if __name__ == "__main__":
    main()
