"""Long runs on all of CIFAR-10: PDC, its schedules and its rivals at equal epochs. Writes benchmarks/results/long.*.

    python benchmarks/long.py --data DATA --checkpoints CHECKPOINTS                  # all: days on two cores
    python benchmarks/long.py --data DATA --checkpoints CHECKPOINTS --first 1        # the next row that is missing
    python benchmarks/long.py --table                                                # only write the Markdown table

DATA and CHECKPOINTS are those of quality.py; torch_pruning_group needs the package torch-pruning. Every run starts from
a published network, trains on all 50,000 images and is measured on all 10,000 test images after its last epoch: nothing
is chosen on them. What choosing the best epoch on them would add is a column of its own, since part of the literature
reports that number. A run that is interrupted goes on from its last checkpoint in runs/long, and no row is run twice.

pdc is the default of `distil` at this length; one_shot merges all filters before the first step; progressive is PDC's
other schedule; whole trains as long and prunes nothing. Inner layers keep the same share everywhere but in
pdc_sensitivity, whose layers share the same MACs by their sensitivity, measured on training images. pdc_lr0.02 and
pdc_lr0.1 are pdc at another highest learning rate than 0.05. The teacher is the network itself everywhere but in
pdc_teacher56, where it is the published ResNet-56.
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
from torch import nn

import pdc_core as pdc
from pdc_core.analysis.literature import literature_results
from pdc_core.baselines import train_baseline, train_small
from pdc_core.data import Split
from pdc_core.estimates import plan_from_rule
from pdc_core.runs import FolderRecorder

RESULTS, RUNS = Path(__file__).parent / "results", Path(__file__).parents[1] / "runs" / "long"
FILES = {"resnet20": "resnet20-12fca82f.th", "resnet56": "resnet56-4bfd9763.th"}
FAST = {**quality.FAST, "compile": True}
VARIANTS: dict[str, dict[str, object]] = {
    "pdc": {},
    "progressive": {"schedule": "progressive", "tied_after": 0.5},
    "one_shot": {"merges": 1},
    "pdc_sensitivity": {},
    "pdc_lr0.02": {"lr": 0.02},
    "pdc_lr0.1": {"lr": 0.1},
    "pdc_teacher56": {},
}
TEACHERS = {"pdc_teacher56": "resnet56"}
MEASURED = 2000  # training images on which a sensitivity is measured
BASELINES = ("l1", "fpgm", "torch_pruning_group", "whole")
NEAR = 7.0  # published results are shown beside ours where they cut as much of the MACs, give or take these points


class Row(NamedTuple):
    """What a row of the table is of."""

    network: str
    keep: float
    epochs: int
    method: str
    seed: int


COLUMNS = (*Row._fields, "test_accuracy", "best_epoch", "before", "macs_cut", "seconds")


def rows() -> Iterator[Row]:
    """Yield every row of the table, the most telling first."""
    pruned = ("pdc", "l1", "one_shot", "progressive", "fpgm", "torch_pruning_group")
    for seed in (0, 1, 2):
        for keep, method in (*itertools.product((0.2, 0.39), pruned), (1.0, "whole")):
            yield Row("resnet20", keep, 30, method, seed)
    deep = ((0.39, "pdc"), (0.39, "progressive"), (0.39, "l1"), (1.0, "whole"), (0.39, "pdc_sensitivity"))
    for epochs, (keep, method) in itertools.product((20, 40, 60), deep):
        yield Row("resnet56", keep, epochs, method, 0)
    for method in ("pdc_lr0.02", "pdc_lr0.1"):
        yield Row("resnet56", 0.39, 20, method, 0)
    for keep in (0.2, 0.39):
        yield Row("resnet20", keep, 30, "pdc_teacher56", 0)
    for seed in (0, 1, 2):
        for keep, method in (*itertools.product((0.2, 0.39), ("pdc", "l1")), (1.0, "whole")):
            yield Row("resnet20", keep, 60, method, seed)


def images(folder: Path) -> pdc.Data:
    """Return all training images and all test images, which are watched after every epoch as well."""
    data = quality.cifar10_images(folder, 50_000)
    test = Split(torch.cat([data.val.images, data.test.images]), torch.cat([data.val.labels, data.test.labels]))
    return replace(data, val=test, test=test)


def published(network: str, checkpoints: Path) -> nn.Module:
    """Return a published network."""
    return pdc.load_model(network, "cifar10", weights=checkpoints / FILES[network])


def plan_of(row: Row, model: nn.Module, graph: pdc.ChannelGraph, train: Split) -> pdc.Plan:
    """Return the plan of a row: the same share everywhere, or the same MACs shared out by sensitivity."""
    plan = pdc.Plan.uniform(graph, row.keep)
    if row.method != "pdc_sensitivity":
        return plan
    whole = pdc.Plan.uniform(graph, 1.0)
    cut = 1 - pdc.plan_cost(graph, plan).macs / pdc.plan_cost(graph, whole).macs
    info, seen = pdc.describe_data("cifar10"), train.first(MEASURED)
    data = pdc.Data("cifar10", seen, seen, seen, info.classes, info.shape, info.mean, info.std)
    return plan_from_rule(model, graph, whole, cut, by="sensitivity", data=data, images=MEASURED)


def trained(row: Row, data: pdc.Data, checkpoints: Path) -> dict[str, object]:
    """Run a row, or go on with it, and return its values."""
    model = published(row.network, checkpoints)
    graph = pdc.trace(model, data.example)
    plan = plan_of(row, model, graph, data.train)
    teacher = published(TEACHERS[row.method], checkpoints) if row.method in TEACHERS else None
    settings = pdc.Training.for_data("cifar10", **{**FAST, "epochs": row.epochs, **VARIANTS.get(row.method, {})})
    folder = RUNS / "-".join(str(value) for value in row)
    folder.mkdir(parents=True, exist_ok=True)
    recorder = FolderRecorder(folder)
    if row.method in VARIANTS:
        done = pdc.distil(model, plan, data, teacher=teacher, seed=row.seed, settings=settings, recorder=recorder)
    elif row.method in quality.OUTSIDE:
        small = quality.pruned_by_torch_pruning(row.method, model, graph, plan)
        done = train_small(small, model, plan, data, seed=row.seed, settings=settings, recorder=recorder)
    else:
        done = train_baseline(row.method, model, plan, data, seed=row.seed, settings=settings, recorder=recorder)
    before, folded = done.report["before"], done.report["folded"]
    return {
        **row._asdict(),
        "test_accuracy": round(folded["test_accuracy"], 4),
        "best_epoch": round(done.report["best"]["test_accuracy"], 4),
        "before": round(before["test_accuracy"], 4),
        "macs_cut": round(1 - folded["macs"] / before["macs"], 4),
        "seconds": round(sum(event["seconds"] for event in done.history if "seconds" in event)),
    }


def table(found: pd.DataFrame) -> str:
    """Return the Markdown tables: test accuracy in percent, mean and standard deviation over seeds."""
    lines = [
        "# Long runs on CIFAR-10",
        "",
        f"Written by `python benchmarks/long.py` on {datetime.date.today()}, torch {torch.__version__}; what every row "
        "is given stands at the head of that file. Test accuracy in percent after the last epoch, all 10,000 test "
        "images, mean ± standard deviation over seeds (n of them). MACs of conv + linear for one image, which the "
        "pruning literature calls FLOPs. Bold: the highest mean among those that prune.",
    ]
    every = pd.DataFrame(rows())
    for (network, epochs), planned in every.groupby(["network", "epochs"], sort=False):
        own = found[(found.network == network) & (found.epochs == epochs)]
        keeps = sorted(set(planned.keep) - {1.0})
        cuts = {keep: own[own.keep == keep].macs_cut.mean() for keep in keeps}
        heads = [f"keep {k:g}" + (f", {100 * cut:.1f}% of the MACs cut" if cut > 0 else "") for k, cut in cuts.items()]
        lines += ["", f"## {network}, {epochs} epochs", ""]
        lines += ["| method | " + " | ".join(heads) + " |", "|---|" + "--:|" * len(keeps)]
        pruned = own[own.method != "whole"].groupby(["keep", "method"]).test_accuracy.mean()
        for method in dict.fromkeys(planned.method):
            cells = []
            for keep in keeps:
                kept = 1.0 if method == "whole" else keep
                values = 100 * own[(own.method == method) & (own.keep == kept)].test_accuracy
                best = method != "whole" and len(values) > 0 and pruned[keep].idxmax() == method
                cells.append(quality.cell(values, best))
            lines.append(f"| {method} | " + " | ".join(cells) + " |")
        if len(own):
            lines += ["", f"Before: {100 * own.before.mean():.2f}. {worth(own)}"]
            lines += literature(network, [cut for cut in cuts.values() if cut > 0])
    return "\n".join(lines) + "\n"


def worth(own: pd.DataFrame) -> str:
    """Return the sentence that says what reporting the best epoch, or the best seed, would add to our numbers."""
    gain = 100 * (own.best_epoch - own.test_accuracy)
    text = f"The best epoch on the test images is {gain.mean():.2f} points above the last (n = {len(gain)})"
    seeds = own.groupby(["keep", "method"]).test_accuracy.agg(["max", "mean", "count"])
    several = seeds[seeds["count"] == seeds["count"].max()]
    if (count := int(several["count"].max())) > 1:
        over = 100 * (several["max"] - several["mean"]).mean()
        text += f", the best of {count} seeds {over:.2f} above their mean"
    return f"{text}."


def literature(network: str, cuts: list[float]) -> list[str]:
    """Return a table of published results that cut about as much of the MACs; nothing where there are none."""
    results = literature_results(network, "cifar10")
    near = results[[any(abs(cut - ours) <= NEAR / 100 for ours in cuts) for cut in results["macs_cut"]]]
    if near.empty:
        return []
    lines = [
        "",
        f"Published within {NEAR:g} points of that cut, the networks their own; what is not given is left empty:",
        "",
        "| method | year | before | after | change | MACs cut | epochs | teacher | runs | source |",
        "|---|--:|--:|--:|--:|--:|--:|---|---|---|",
    ]
    for r in near.itertuples():
        accuracies = ("" if pd.isna(a) else f"{100 * a:.2f}" for a in (r.base_accuracy, r.pruned_accuracy))
        change = "" if pd.isna(r.change) else f"{100 * r.change:+.2f}"
        epochs = "" if pd.isna(r.epochs) else f"{r.epochs:.0f}"
        cells = (r.method, r.year, *accuracies, change, f"{100 * r.macs_cut:.1f}%", epochs, r.distilled, r.repeats)
        lines.append("| " + " | ".join(map(str, cells)) + f" | {r.source} |")
    return lines


def main() -> None:
    """Run what is missing, one row at a time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of npz files")
    parser.add_argument("--checkpoints", type=Path, help="folder of published checkpoints")
    parser.add_argument("--first", type=int, help="how many of the missing rows to run")
    parser.add_argument("--methods", nargs="*", choices=[*VARIANTS, *BASELINES], default=[*VARIANTS, *BASELINES])
    parser.add_argument("--networks", nargs="*", choices=list(FILES), default=list(FILES))
    parser.add_argument("--table", action="store_true", help="write the Markdown table and stop")
    parser.add_argument("--out", type=Path, default=RESULTS / "long.csv")
    given = parser.parse_args()
    if not given.table and (given.data is None or given.checkpoints is None):
        parser.error("give --data and --checkpoints, or --table")
    known = quality.finished(given.out, COLUMNS)
    done = set(known[list(Row._fields)].itertuples(index=False, name=None))
    wanted = [row for row in rows() if row.method in given.methods and row.network in given.networks]
    missing = [row for row in wanted if row not in done]
    data = None if given.table else images(given.data)
    for row in missing[: given.first] if data is not None else ():
        quality.append(given.out, trained(row, data, given.checkpoints))
        print(quality.finished(given.out).tail(1).to_string(header=False), flush=True)
        given.out.with_suffix(".md").write_text(table(quality.finished(given.out, COLUMNS)), encoding="utf-8")
    given.out.with_suffix(".md").write_text(table(quality.finished(given.out, COLUMNS)), encoding="utf-8")


if __name__ == "__main__":
    main()
