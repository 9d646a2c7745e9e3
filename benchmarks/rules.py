"""Which rule shares a budget out best? Plans by rule, trained, at equal MACs. Writes benchmarks/results/rules.*.

    python benchmarks/rules.py digits clothing                  # the tasks that come with PDC
    python benchmarks/rules.py cifar10 --data DATA --checkpoints CHECKPOINTS
    python benchmarks/rules.py digits clothing --choose         # exponents of the mixed rule, on other seeds
    python benchmarks/rules.py --table                          # only write the Markdown table again

One row per task, rule, cut and seed is appended to the CSV as soon as it is finished, and no row is run twice. The
sensitivity is measured once per task, with seed 0. Clothing and CIFAR-10 train two epochs, CIFAR-10 on 10,000 images of
the training split; of CIFAR-10 the test accuracy is that of test images 2,000 to 9,999. The exponent of the mixed rule
was chosen on validation images with seeds 10 and 11, the table has seeds 0 to 2.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import itertools
from pathlib import Path

import pandas as pd
import quality
import torch

import pdc_core as pdc
from pdc_core.estimates import Sensitivity, measured_damage, mixed_damage, plan_from_rule

RESULTS = Path(__file__).parent / "results"
COLUMNS = ("task", "rule", "cut", "seed", "test_accuracy", "val_accuracy", "macs")
RULES, CUTS, SEEDS = ("uniform", "inertia", "sensitivity", "mixed"), (0.8, 0.65, 0.5), (0, 1, 2)
EXPONENTS, CHOICE_CUTS, CHOICE_SEEDS = (0.25, 0.5, 0.75), (0.8, 0.65), (10, 11)


def clothing(folder: Path | None, checkpoints: Path | None) -> quality.Task:
    """The ResNet-20 and the images that come with PDC, two epochs."""
    settings = pdc.Training.for_data("clothing", epochs=2, **quality.FAST)
    return quality.Task("clothing", pdc.load_model("resnet20", "clothing"), pdc.load_data("clothing"), settings)


TASKS = {
    "digits": quality.digits,
    "clothing": clothing,
    "cifar10": lambda folder, checkpoints: quality.cifar10(folder, checkpoints, 10_000, 2),
}


def planned(task: quality.Task, found: Sensitivity, rule: str, cut: float) -> pdc.Plan:
    """Return the plan of a rule, or of the mixed rule with another exponent, such as "mixed 0.25"."""
    graph = pdc.trace(task.model, task.data.example)
    name, _, exponent = rule.partition(" ")
    damage = mixed_damage(measured_damage(found, graph), graph, float(exponent)) if exponent else None
    return plan_from_rule(
        task.model, graph, pdc.Plan.uniform(graph, 1.0), cut, by=name, sensitivity=found, damage=damage
    )


def row(task: quality.Task, found: Sensitivity, rule: str, cut: float, seed: int) -> dict[str, object]:
    """Plan, train and measure once; return a row of the table."""
    plan = planned(task, found, rule, cut)
    small = pdc.distil(task.model, plan, task.data, seed=seed, settings=task.settings).folded
    return {
        "task": task.name,
        "rule": rule,
        "cut": cut,
        "seed": seed,
        "test_accuracy": round(pdc.evaluate(small, task.data, task.data.test).accuracy, 6),
        "val_accuracy": round(pdc.evaluate(small, task.data, task.data.val).accuracy, 6),
        "macs": pdc.cost(small, task.data.example).macs,
    }


def finished(path: Path) -> pd.DataFrame:
    """Return the rows measured so far."""
    return pd.read_csv(path) if path.exists() else pd.DataFrame(columns=list(COLUMNS))


def append(path: Path, values: dict[str, object]) -> None:
    """Append one row, with the header if the file is new."""
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(values)


def table(rows: pd.DataFrame) -> str:
    """Return the Markdown tables: of the rules, and of the exponents that were tried."""
    lines = [
        "# Accuracy by rule at equal MACs",
        "",
        f"Written by `python benchmarks/rules.py` on {datetime.date.today()}, torch {torch.__version__}; what every "
        "row is given stands at the head of that file. Test accuracy in percent after training, mean ± standard "
        "deviation over seeds (n of them). Bold: the highest mean of a column.",
        *_cells(rows[rows.rule.isin(RULES)], "test_accuracy"),
    ]
    tried = rows[rows.rule.str.startswith("mixed ")]
    if len(tried):
        lines += ["", "# The exponent of the mixed rule", "", "Validation accuracy, seeds 10 and 11."]
        lines += _cells(tried, "val_accuracy")
    return "\n".join(lines) + "\n"


def _cells(rows: pd.DataFrame, quantity: str) -> list[str]:
    lines = []
    for task, own in rows.groupby("task", sort=False):
        cuts = sorted(own.cut.unique())
        means = own.groupby(["cut", "rule"])[quantity].mean()
        heads = " | ".join(f"{cut:.0%} of the MACs cut" for cut in cuts)
        lines += ["", f"## {task}", "", f"| rule | {heads} |", "|---|" + "--:|" * len(cuts)]
        for rule in dict.fromkeys(own.rule):
            cells = []
            for cut in cuts:
                values = 100 * own[(own.rule == rule) & (own.cut == cut)][quantity]
                deviation = f" ± {values.std():.2f}" if len(values) > 1 else ""
                text = f"{values.mean():.2f}{deviation} ({len(values)})" if len(values) else "not run"
                cells.append(f"**{text}**" if len(values) and means[cut].idxmax() == rule else text)
            lines.append(f"| {rule} | " + " | ".join(cells) + " |")
    return lines


def main() -> None:
    """Run what is missing, one row at a time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", choices=[*TASKS, []])
    parser.add_argument("--choose", action="store_true")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--checkpoints", type=Path)
    parser.add_argument("--out", type=Path, default=RESULTS / "rules.csv")
    given = parser.parse_args()
    rules = [f"mixed {exponent:g}" for exponent in EXPONENTS] if given.choose else RULES
    cuts, seeds = (CHOICE_CUTS, CHOICE_SEEDS) if given.choose else (CUTS, SEEDS)
    for name in () if given.table else given.tasks:
        task = TASKS[name](given.data, given.checkpoints)
        found = pdc.sensitivity(task.model, pdc.trace(task.model, task.data.example), task.data)
        done = set(finished(given.out)[["task", "rule", "cut", "seed"]].itertuples(index=False, name=None))
        for seed, cut, rule in itertools.product(seeds, cuts, rules):
            if (task.name, rule, cut, seed) not in done:
                values = row(task, found, rule, cut, seed)
                append(given.out, values)
                print(*values.values(), flush=True)
    given.out.with_suffix(".md").write_text(table(finished(given.out)), encoding="utf-8")


if __name__ == "__main__":
    main()
