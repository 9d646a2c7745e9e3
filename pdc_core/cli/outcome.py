"""Working on a run folder with a progress bar on stderr, and printing what came out."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from pdc_core.cli.options import FLOPS, print_json, stdout
from pdc_core.runs import run_worker
from pdc_core.train import Result


def train(folder: Path, queue: bool = False, tensorboard: bool = False) -> Result:
    """Work on a run folder with a progress bar on stderr."""
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("steps"), TimeElapsedColumn(),
        TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    first = int(os.environ.get("RANK", 0)) == 0
    with Progress(*columns, console=Console(stderr=True), disable=not first) as progress:
        task = progress.add_task(f"{folder.name}", total=None)

        def show(step: int, steps: int) -> None:
            progress.update(task, completed=step, total=steps)

        return run_worker(folder, queue=queue, tensorboard=tensorboard, show=show)


def print_report(folder: Path, report: dict[str, Any], as_json: bool) -> None:
    """Print a report, as a table or as one JSON object with its main numbers."""
    if as_json:
        keys = ("test_accuracy", "val_accuracy", "macs", "params")
        short: dict[str, Any] = {
            name: {key: report[name][key] for key in keys} for name in ("before", "taught", "folded") if name in report
        }
        short |= {
            key: report[key]
            for key in ("max_abs_diff", "same_predictions", "seconds", "residual", "last", "best", "ended_early")
            if key in report
        }
        print_json({**short, "folder": str(folder)})
        return
    names = [name for name in ("before", "reconstructed", "folded", "taught") if name in report]
    table = Table("", *names, title=f"{folder}")
    percent: Callable[[str], list[str]] = lambda key: [f"{report[name][key]:.2%}" for name in names]  # noqa: E731
    table.add_row("accuracy, test", *percent("test_accuracy"))
    table.add_row("accuracy, validation", *percent("val_accuracy"))
    if all("test_top5" in report[name] for name in names):
        table.add_row("top-5, test", *percent("test_top5"))
    if "folded" in report:
        guided = ("", *(f"{report[name]['test_agreement']:.2%}" for name in names[1:]))
        table.add_row("same class as before, test", *guided)
    table.add_row("MACs of one image", *(f"{report[name]['macs']:,}" for name in names))
    table.add_row("parameters", *(f"{report[name]['params']:,}" for name in names))
    for batch in report[names[0]]["latency"]:
        table.add_row(f"latency, batch {batch}", *(f"{1000 * report[name]['latency'][batch]:.2f} ms" for name in names))
    console = stdout()
    console.print(table)
    if "folded" in report:
        cut = 1 - report["folded"]["macs"] / report["before"]["macs"]
        same = (
            "every test image gets the same class"
            if report["same_predictions"]
            else "some test images get ANOTHER class"
        )
        console.print(
            f"MACs cut {cut:.1%} (residual sums: {report['residual']}). Reconstructed and folded logits differ by "
            f"at most {report['max_abs_diff']:.1e}; {same}. {FLOPS}"
        )
    last, best = report.get("last", {}), report.get("best", {})
    if best.get("epoch") != last.get("epoch"):
        console.print(
            f"The table is of the last epoch, {last['epoch']:g}. Best on validation: epoch {best['epoch']:g}, "
            f"{best['val_accuracy']:.2%} (test {best['test_accuracy']:.2%}): {folder / 'best.safetensors'}"
        )
    if "ended_early" in report:
        console.print("Ended after step {step} of {steps}, as was asked.".format(**report["ended_early"]))
    console.print(f"{report['seconds']:.1f} s. Network: {folder / 'folded.safetensors'}")
