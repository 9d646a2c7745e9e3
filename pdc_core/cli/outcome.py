"""Training a run folder with a progress bar on stderr, and printing its results."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from pdc_core.cli.options import FLOPS, print_json, stdout
from pdc_core.durations import duration
from pdc_core.errors import PDCError
from pdc_core.runs import Report, RunSpec, create_run, remove_run, run_worker
from pdc_core.runs.files import read_events
from pdc_core.runs.results import NetworkReport
from pdc_core.train import Result


def train(folder: Path, queue: bool = False, tensorboard: bool = False) -> Result:
    """Train a run folder with a progress bar on stderr."""
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("steps"), TimeElapsedColumn(),
        TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    first = int(os.environ.get("RANK", 0)) == 0
    with Progress(*columns, console=Console(stderr=True), disable=not first) as progress:
        task = progress.add_task(f"{folder.name}", total=None)

        def show(step: int, steps: int) -> None:
            progress.update(task, completed=step, total=steps, description=folder.name)

        def say(sentence: str) -> None:
            progress.console.print(sentence, markup=False, highlight=False)

        def tell(what: str) -> None:
            progress.update(task, description=what)

        try:
            done = run_worker(folder, queue=queue, tensorboard=tensorboard, show=show, say=say, tell=tell)
        except KeyboardInterrupt:
            if first:
                say(f"Interrupted. Go on from its last checkpoint: pdc resume {folder}")
            raise
        progress.update(task, description=folder.name)
        return done


@contextmanager
def new_run(spec: RunSpec, out: Path | None) -> Iterator[Path]:
    """Make a run folder to work on in this block; if the run fails before its first step, the folder goes."""
    new = out is None or not os.path.exists(out)
    folder = create_run(spec, folder=out)
    try:
        yield folder
    except PDCError:
        if new and not read_events(folder / "events.jsonl"):
            remove_run(folder)
        raise


def print_report(folder: Path, content: dict[str, Any], as_json: bool) -> None:
    """Print a report, as a table or as one JSON object with its main numbers."""
    if as_json:
        keys = ("test_accuracy", "val_accuracy", "macs", "params")
        short: dict[str, Any] = {
            name: {key: content[name][key] for key in keys}
            for name in ("before", "taught", "folded")
            if name in content
        }
        short |= {
            key: content[key]
            for key in (
                "max_abs_diff",
                "compared_images",
                "same_predictions",
                "seconds",
                "residual",
                "last",
                "best",
                "ended_early",
                "new_head",
                "teacher",
                "train_images",
            )
            if key in content
        }
        print_json({**short, "folder": str(folder)})
        return
    report = Report.of(content)
    console, networks = stdout(), report.networks
    console.print(_table(folder, networks, "the teacher" if report.teacher else "before"))
    if report.folded is not None and report.macs_cut == 0:
        console.print(f"Nothing was pruned: the change in accuracy is training's alone. {FLOPS}")
    elif report.folded is not None:
        every = "every" if report.same_predictions else "NOT every"
        exact = (
            f" Logits of the reconstructed and the folded network differ by at most {report.max_abs_diff:.1e} on "
            f"{report.compared}; {every} test image keeps its class."
            if report.was_folded
            else ""
        )
        console.print(f"MACs cut {report.macs_cut:.1%} (residual sums: {report.residual}).{exact} {FLOPS}")
    if report.best is not None and report.last is not None and report.best.epoch != report.last.epoch:
        console.print(
            f"The table is of the last epoch, {report.last.epoch:g}. Best on validation: epoch {report.best.epoch:g}, "
            f"{report.best.val_accuracy:.2%} (test {report.best.test_accuracy:.2%}): {folder / 'best.safetensors'}",
            markup=False,
        )
    if report.ended_early is not None:
        early = report.ended_early
        console.print(f"Finished early, after step {early.step} of {early.steps}, on request.")
    if report.teacher is not None:
        console.print(
            f"Teacher: {report.teacher.name}, test accuracy {report.teacher.test_accuracy:.2%}.", markup=False
        )
    if report.train_images is not None:
        console.print(f"Trained on {report.train_images:,} images.")
    if report.new_head is not None:
        console.print(f"New head: {report.new_head} began with random weights.", markup=False)
    seconds = f"{duration(report.seconds)}. " if report.seconds is not None else ""
    console.print(f"{seconds}Network: {folder / 'folded.safetensors'}", markup=False)


def _table(folder: Path, networks: dict[str, NetworkReport], teacher: str) -> Table:
    """Return the table of all networks that were measured."""
    table = Table("", *networks, title=Text(str(folder)))
    each = list(networks.values())
    table.add_row("accuracy, test", *(f"{n.test_accuracy:.2%}" for n in each))
    table.add_row("accuracy, validation", *(f"{n.val_accuracy:.2%}" for n in each))
    for row, values in (
        ("top-5, test", [n.test_top5 for n in each]),
        (f"same class as {teacher}, test", [n.test_agreement for n in each]),
    ):
        if any(value is not None for value in values):
            table.add_row(row, *("" if value is None else f"{value:.2%}" for value in values))
    table.add_row("MACs of one image", *(f"{n.macs:,}" for n in each))
    table.add_row("parameters", *(f"{n.params:,}" for n in each))
    for batch in each[0].latency:
        table.add_row(f"latency, batch {batch}", *(f"{1000 * n.latency[batch]:.2f} ms" for n in each))
    return table
