"""Which rule shares a budget out best? Plans by rule, trained, at equal MACs. Writes benchmarks/results/rules.*.

    python benchmarks/rules.py digits clothing                                # the tasks that come with PDC
    python benchmarks/rules.py cifar10 --data DATA --checkpoints CHECKPOINTS
    python benchmarks/rules.py digits clothing --choose                       # t of the mixed rule, on other seeds
    python benchmarks/rules.py cifar10 ... --cuts 0.8 --seeds 0               # part of it; no row is run twice
    python benchmarks/rules.py --table                                        # only write the Markdown tables again

One row per task, rule, cut and seed is appended to the CSV as soon as it is finished, so you can stop at any time. DATA
and CHECKPOINTS are those of quality.py. The sensitivity is measured once per task, with seed 0; everything else has the
row's seed. The rule joint takes the plan of another rule, whose row is copied. Digits train 8 epochs, clothing 2,
CIFAR-10 2 epochs on 10,000 images of the training split.

The mixed rule stands in the rows with its t, such as "mixed 0.5". t is chosen on validation images with seeds 10 and
11; the table of the rules has seeds 0 to 2 (clothing, with its 1,000 test images: 0 to 5) and the t of the default. The
published CIFAR-10 checkpoint has seen all training images: there, val_accuracy is that of test images 0 to 1,999,
test_accuracy that of the other 8,000.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import pandas as pd
import quality
import torch

import pdc_core as pdc
from pdc_core.estimates import JOINT, Sensitivity, compare_rules, measured_damage, mixed_damage, plan_from_rule
from pdc_core.estimates.budget import SHARE

RESULTS = Path(__file__).parent / "results"
COLUMNS = ("task", "rule", "cut", "seed", "test_accuracy", "val_accuracy", "macs")
RULES = (f"mixed {SHARE:g}", "sensitivity", "inertia", "uniform", JOINT)  # the last one takes the plan of another
CUTS, SEEDS = (0.8, 0.65, 0.5), {"digits": (0, 1, 2), "clothing": (0, 1, 2, 3, 4, 5), "cifar10": (0, 1, 2)}
SHARES, CHOICE_CUTS, CHOICE_SEEDS = (0.25, 0.5), (0.8, 0.65), (10, 11)


def clothing(folder: Path | None, checkpoints: Path | None) -> quality.Task:
    """The ResNet-20 and the images that come with PDC, two epochs."""
    settings = pdc.Training.for_data("clothing", epochs=2, **quality.FAST)
    return quality.Task("clothing", pdc.load_model("resnet20", "clothing"), pdc.load_data("clothing"), settings)


TASKS = {
    "digits": quality.digits,
    "clothing": clothing,
    "cifar10": lambda folder, checkpoints: quality.cifar10(folder, checkpoints, 10_000, 2),
}


class Bench:
    """A task, its trace and its sensitivity, which is measured when a row needs it."""

    def __init__(self, task: quality.Task) -> None:
        self.task, self.graph = task, pdc.trace(task.model, task.data.example)
        self._joint: dict[float, str] = {}

    @cached_property
    def found(self) -> Sensitivity:
        return pdc.sensitivity(self.task.model, self.graph, self.task.data)

    def joint(self, cut: float) -> str:
        """Return the rule whose plan the rule joint takes."""
        if cut not in self._joint:
            model, data, whole = self.task.model, self.task.data, pdc.Plan.uniform(self.graph, 1.0)
            best, *_ = compare_rules(model, self.graph, whole, cut, data=data, sensitivity=self.found)
            self._joint[cut] = f"mixed {SHARE:g}" if best.rule == "mixed" else best.rule
        return self._joint[cut]

    def plan(self, rule: str, cut: float) -> pdc.Plan:
        """Return the plan of a rule; that of the mixed rule has its t in its name, such as "mixed 0.5"."""
        name, _, share = (self.joint(cut) if rule == JOINT else rule).partition(" ")
        whole = pdc.Plan.uniform(self.graph, 1.0)
        damage = mixed_damage(measured_damage(self.found, self.graph), self.graph, float(share)) if share else None
        return plan_from_rule(self.task.model, self.graph, whole, cut, by=name, sensitivity=self.found, damage=damage)

    def row(self, rule: str, cut: float, seed: int) -> dict[str, object]:
        """Plan, train and measure once; return a row of the table."""
        task = self.task
        small = pdc.distil(task.model, self.plan(rule, cut), task.data, seed=seed, settings=task.settings).folded
        return {
            "task": task.name,
            "rule": rule,
            "cut": cut,
            "seed": seed,
            "test_accuracy": round(pdc.evaluate(small, task.data, task.data.test).accuracy, 6),
            "val_accuracy": round(pdc.evaluate(small, task.data, task.data.val).accuracy, 6),
            "macs": pdc.cost(small, task.data.example).macs,
        }


def table(rows: pd.DataFrame) -> str:
    """Return the Markdown tables: of the rules, and of the values of t that were tried."""
    lines = [
        "# Accuracy by rule at equal MACs",
        "",
        f"Written by `python benchmarks/rules.py` on {datetime.date.today()}, torch {torch.__version__}; what every "
        "row is given stands at the head of that file. Test accuracy in percent after training, mean ± standard "
        "deviation over seeds (n of them). Bold: the highest mean of a column.",
        *_tables(rows[~rows.seed.isin(CHOICE_SEEDS)], RULES, CUTS, "test_accuracy"),
    ]
    tried = [f"mixed {share:g}" for share in SHARES]
    chosen = rows[rows.seed.isin(CHOICE_SEEDS)]
    if len(chosen):
        lines += ["", "# t of the mixed rule", "", "Validation accuracy, seeds 10 and 11."]
        lines += _tables(chosen, tried, CHOICE_CUTS, "val_accuracy")
    return "\n".join(lines) + "\n"


def _tables(rows: pd.DataFrame, rules: Sequence[str], cuts: Sequence[float], quantity: str) -> list[str]:
    """Return one table per task: rules against cuts, also those that were not run."""
    lines: list[str] = []
    for task in TASKS:
        own = rows[rows.task == task]
        heads = " | ".join(f"{cut:.0%} of the MACs cut" for cut in sorted(cuts))
        lines += ["", f"## {task}", "", f"| rule | {heads} |", "|---|" + "--:|" * len(cuts)]
        means = own[own.rule.isin(rules)].groupby(["cut", "rule"])[quantity].mean()
        for rule in rules:
            cells = []
            for cut in sorted(cuts):
                values = 100 * own[(own.rule == rule) & (own.cut == cut)][quantity]
                deviation = f" ± {values.std():.2f}" if len(values) > 1 else ""
                text = f"{values.mean():.2f}{deviation} ({len(values)})" if len(values) else "not run"
                cells.append(f"**{text}**" if len(values) and means[cut].idxmax() == rule else text)
            lines.append(f"| {rule} | " + " | ".join(cells) + " |")
    return lines


def main() -> None:
    """Run what is missing, one row at a time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", help=", ".join(TASKS))
    parser.add_argument("--choose", action="store_true", help="try values of t for the mixed rule")
    parser.add_argument("--cuts", nargs="*", type=float)
    parser.add_argument("--seeds", nargs="*", type=int)
    parser.add_argument("--rules", nargs="*", choices=RULES)
    parser.add_argument("--table", action="store_true", help="write the Markdown tables and stop")
    parser.add_argument("--data", type=Path, help="folder of npz files")
    parser.add_argument("--checkpoints", type=Path, help="folder of published checkpoints")
    parser.add_argument("--out", type=Path, default=RESULTS / "rules.csv")
    given = parser.parse_args()
    if unknown := [name for name in given.tasks if name not in TASKS]:
        parser.error(f"there is no task {unknown[0]}; there are {', '.join(TASKS)}")
    rules = [f"mixed {share:g}" for share in SHARES] if given.choose else given.rules or RULES
    cuts = given.cuts or (CHOICE_CUTS if given.choose else CUTS)
    for name in [] if given.table else given.tasks:
        bench = Bench(TASKS[name](given.data, given.checkpoints))
        seeds = given.seeds or (CHOICE_SEEDS if given.choose else SEEDS[name])
        for seed, cut, rule in itertools.product(seeds, cuts, rules):
            rows = quality.finished(given.out, COLUMNS)
            if ((rows.task == name) & (rows.rule == rule) & (rows.cut == cut) & (rows.seed == seed)).any():
                continue
            own = rows[(rows.task == name) & (rows.cut == cut) & (rows.seed == seed)]
            twin = own[own.rule == bench.joint(cut)] if rule == JOINT else own[:0]
            values = {**twin.iloc[0], "rule": rule} if len(twin) else bench.row(rule, cut, seed)
            quality.append(given.out, values)
            print(*values.values(), flush=True)
            given.out.with_suffix(".md").write_text(table(quality.finished(given.out, COLUMNS)), encoding="utf-8")
    given.out.with_suffix(".md").write_text(table(quality.finished(given.out, COLUMNS)), encoding="utf-8")


if __name__ == "__main__":
    main()
