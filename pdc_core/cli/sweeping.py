"""The command `sweep`, and what `run`, `status`, `show` and others do with the folder of a sweep."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from pdc_core.baselines import METHOD_HELP
from pdc_core.cli.options import FLOPS, AsJson, DryRun, app, print_json, stdout
from pdc_core.cli.training import distil, distil_spec
from pdc_core.durations import duration
from pdc_core.errors import PDCError
from pdc_core.registry import explained
from pdc_core.runs import (
    Sweep,
    SweepSpec,
    WeakTeacher,
    create_sweep,
    is_sweep,
    run_sweep,
)
from pdc_core.runs.sweeps import (
    SWEEP_RULES,
    forecast_sweep,
    parse_numbers,
    read_sweep_spec,
    remove_sweep,
    seed_means,
    validated_sweep,
)

KEEPS, METHODS, SEEDS = "0.8,0.6,0.4,0.2,0.1", "pdc,l1,whole", "0"
_VARIED = ("keep", "plan", "clusters", "method", "seed")  # options of `distil` that a sweep has its own for
_FOR_ALL = ("folder", "jobs", "dry_run", "as_json")  # options that a sweep that is described in a file takes too

Folder = Annotated[
    Path | None, typer.Argument(help="A sweep folder to go on with, or a recipe of a sweep. Left out: a new sweep.")
]
Keeps = Annotated[str, typer.Option("--keeps", help="Keep ratios, separated by commas.")]
Methods = Annotated[str, typer.Option("--methods", help=f"Methods, separated by commas. {explained(METHOD_HELP)}.")]
Seeds = Annotated[str, typer.Option("--seeds", help="Seeds, separated by commas.")]
Rule = Annotated[
    str,
    typer.Option(
        "--rule",
        help="How a keep ratio becomes a plan. uniform: that ratio of every group. Others save as many MACs as uniform "
        f"does, shared out by the rule. {explained(SWEEP_RULES)}.",
    ),
]
Out = Annotated[
    Path | None, typer.Option("--out", help="Sweep folder; left out: a new one under ./runs (or $PDC_RUNS).")
]
Jobs = Annotated[
    int,
    typer.Option(
        "--jobs", min=1, help="Runs at the same time. Cores are divided among them, GPUs are dealt out in turn."
    ),
]


def sweep(
    context: typer.Context,
    folder: Folder = None,
    keeps: Keeps = KEEPS,
    methods: Methods = METHODS,
    seeds: Seeds = SEEDS,
    rule: Rule = "uniform",
    jobs: Jobs = 1,
    dry_run: DryRun = False,
    out: Out = None,
    as_json: AsJson = False,
    **options: Any,
) -> None:
    """Train every method at every keep ratio with every seed: a curve of accuracy against cost.

    All runs share one folder. A sweep that was stopped or killed goes on where it was: `pdc sweep FOLDER`.
    """
    if folder is not None and is_sweep(folder):
        _refuse_options(context, "a sweep folder says itself what it is", _FOR_ALL)
        if dry_run:
            _print_forecast(read_sweep_spec(folder), as_json)
            return
        work_on_sweep(folder, as_json, jobs=jobs)
        return
    if folder is not None:
        _refuse_options(context, "a recipe says itself what the sweep is", (*_FOR_ALL, "out"))
        spec = read_sweep_spec(folder)
    else:
        spec = _spec_of(keeps, methods, seeds, rule, options)
    start_sweep(spec, out, dry_run, as_json, jobs)


def _with_options_of_distil(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command every option of `distil` that is the same for all runs; what `distil` learns, it learns too."""
    hints, own = get_type_hints(distil, include_extras=True), get_type_hints(command, include_extras=True)
    shared = {name: each for name, each in inspect.signature(distil).parameters.items() if name not in _VARIED}
    listed = inspect.signature(command).parameters
    first = [each for name, each in listed.items() if name not in shared and each.kind is not each.VAR_KEYWORD]
    last = [each for name, each in listed.items() if name in shared]
    between = [each for name, each in shared.items() if name not in listed]
    parameters = [
        each.replace(annotation=(own | hints | own)[each.name]) for each in (*first[:1], *between, *first[1:], *last)
    ]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {each.name: each.annotation for each in parameters}
    return command


app.command(
    epilog="Example: pdc sweep --model resnet20 --data clothing --keeps 0.6,0.4,0.2 --methods pdc,l1 --seeds 0,1,2"
)(_with_options_of_distil(sweep))


def _refuse_options(context: typer.Context, why: str, allowed: tuple[str, ...]) -> None:
    """Raise if options were typed that a sweep in a file does not take."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    typed = [name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"]
    if wrong := [f"--{name.replace('_', '-')}" for name in typed if name not in allowed]:
        raise PDCError(f"{', '.join(wrong)}: {why}; leave it out, or start a new sweep without a folder.")


def _spec_of(keeps: str, methods: str, seeds: str, rule: str, options: dict[str, Any]) -> SweepSpec:
    base = distil_spec(**options, keep=None, plan=None, clusters=None, method="pdc", seed=0)
    asked = {
        "base": base,
        "keeps": parse_numbers("--keeps", keeps, float),
        "methods": [name.strip() for name in methods.split(",") if name.strip()],
        "seeds": parse_numbers("--seeds", seeds, int),
        "rule": rule,
    }
    return validated_sweep(asked, "This sweep cannot be")


def start_sweep(spec: SweepSpec, out: Path | None, dry_run: bool, as_json: bool, jobs: int = 1) -> None:
    """Estimate a new sweep, make its folder and do its runs; or only estimate it."""
    if dry_run:
        _print_forecast(spec, as_json)
        return
    found, err = forecast_sweep(spec), Console(stderr=True, soft_wrap=True, highlight=False)
    new = out is None or not os.path.exists(out)
    folder = create_sweep(spec, folder=out)
    err.print(
        f"{len(found.seconds)} runs, about {duration(found.total)} one after the other. The sweep is {folder}",
        markup=False,
    )
    try:
        work_on_sweep(folder, as_json, jobs=jobs)
    except WeakTeacher:
        if new:
            remove_sweep(folder)
        raise


def work_on_sweep(folder: Path, as_json: bool, *, jobs: int = 1, queue: bool = False) -> None:
    """Do the runs of a sweep that are left, with progress bars on stderr, and print the table."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[unit]}"))
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as progress:
        whole = progress.add_task(folder.name, total=None, unit="runs")
        single: dict[str, TaskID] = {}

        def show(ended: int, of: int, active: Mapping[str, tuple[int, int]]) -> None:
            progress.update(whole, completed=ended, total=of)
            for name in [name for name in single if name not in active]:
                progress.remove_task(single.pop(name))
            for name, (step, steps) in active.items():
                if name not in single:
                    single[name] = progress.add_task(name, total=None, unit="steps")
                progress.update(single[name], completed=step, total=steps or None)

        def say(sentence: str) -> None:
            progress.console.print(sentence, markup=False, highlight=False)

        done = run_sweep(folder, jobs=jobs, queue=queue, show=show, say=say)
    print_sweep_results(done, as_json)
    if done.state != "done":
        raise PDCError(f"{done.status['message']} Go on with them: pdc sweep {folder}")


def print_sweep_results(sweep: Sweep, as_json: bool) -> None:
    """Print the means over seeds, as a table or as one JSON object."""
    means = seed_means(sweep)
    before = next((run.results.before for run in sweep.runs if run.results is not None), None)
    if as_json:
        first = before and {"test_accuracy": before.test_accuracy, "macs": before.macs, "params": before.params}
        found = {"before": first, "means": [asdict(mean) for mean in means], "failures": sweep.failures}
        print_json(_status(sweep) | found | {"folder": str(sweep.folder)})
        return
    table = Table("method", "keep", "test accuracy", "MACs", "cut", "parameters", "runs", title=f"{sweep.folder}")
    if before is not None:
        table.add_row("before", "", f"{before.test_accuracy:.2%}", f"{before.macs:,}", "", f"{before.params:,}", "")
    for mean in means:
        spread = f" ± {100 * mean.spread:.2f}" if mean.spread is not None else ""
        keep, runs = "" if mean.keep is None else f"{mean.keep:g}", f"{mean.runs} of {mean.of}"
        costs = f"{mean.macs:,.0f}", f"{mean.macs_cut:.1%}", f"{mean.params:,.0f}"
        table.add_row(mean.method, keep, f"{100 * mean.accuracy:.2f}%{spread}", *costs, runs)
    stdout().print(table)
    stdout().print(f"Mean ± standard deviation over seeds. {FLOPS}")


def print_sweep_status(sweep: Sweep, as_json: bool) -> None:
    """Print the state of a sweep, how far it is, and how long it will still take."""
    content = _status(sweep)
    if as_json:
        print_json(content)
        return
    failed = f", {content['failed']} failed" if content["failed"] else ""
    left = f", about {duration(content['eta_seconds'])} left" if sweep.alive and content["eta_seconds"] else ""
    message = f": {content['message']}" if content["message"] not in ("", sweep.state) else ""
    at = f", {content['done']} of {content['runs']} runs done{failed}{left}"
    stdout().print(f"{sweep.id} is {sweep.state}{at}{message}", markup=False)


def print_sweep(sweep: Sweep, as_json: bool) -> None:
    """Print what a sweep was asked, each of its runs, and the means over seeds."""
    if as_json:
        print_sweep_results(sweep, True)
        return
    console, base = stdout(), sweep.spec.base
    console.print(f"{sweep.id} is {sweep.state}: {sweep.spec.title}", markup=False)
    rule = "" if sweep.spec.rule == "uniform" else f", plans by {sweep.spec.rule}"
    epochs = base.training.epochs
    console.print(f"{base.model} on {base.data}, {epochs} epoch{'s' if epochs > 1 else ''}{rule}", markup=False)
    runs = {run.folder.name: run for run in sweep.runs}
    table = Table("run", "state", "test accuracy", "MACs", "seconds")
    for member in sweep.spec.members:
        run = runs.get(member.name)
        results = run.results if run is not None and run.state == "done" else None
        numbers = ("", "", "")
        if results is not None:
            seconds = f"{results.seconds:.0f}" if results.seconds is not None else ""
            numbers = f"{results.result.test_accuracy:.2%}", f"{results.result.macs:,}", seconds
        table.add_row(member.name, run.state if run else "not begun", *numbers)
    console.print(table)
    for name, reason in sweep.failures.items():
        console.print(f"{name} failed: {reason}", markup=False)
    if sweep.progress.done:
        print_sweep_results(sweep, False)


def sweep_row(sweep: Sweep) -> dict[str, Any]:
    """Return a sweep as a row of `pdc list`; its steps are runs."""
    return {
        "run": sweep.id,
        "kind": "sweep",
        "model": sweep.spec.base.model,
        "data": sweep.spec.base.data,
        "state": sweep.state,
        "step": sweep.progress.done,
        "steps": sweep.progress.total,
        "test_accuracy": None,
        "macs": None,
        "folder": str(sweep.folder),
    }


def _status(sweep: Sweep) -> dict[str, Any]:
    at = sweep.progress
    return {
        "sweep": sweep.id,
        "state": sweep.state,
        "alive": sweep.alive,
        "message": sweep.message,
        "done": at.done,
        "failed": at.failed,
        "runs": at.total,
        "share": round(at.share, 4),
        "eta_seconds": at.eta_seconds,
    }


def _print_forecast(spec: SweepSpec, as_json: bool) -> None:
    """Print the runs of a sweep, their MACs and their time, from ten timed steps; nothing is written."""
    found = forecast_sweep(spec)
    if as_json:
        print_json({"runs": len(found.seconds), "seconds": found.total, "each": found.seconds, "macs": found.macs})
        return
    console, run = stdout(), found.run
    table = Table("run", "MACs of one image", "cut", "about")
    for name, seconds in found.seconds.items():
        cut = f"{1 - found.macs[name] / run.macs_before:.1%}"
        table.add_row(name, f"{found.macs[name]:,}", cut, duration(seconds))
    console.print(table)
    console.print(
        f"{len(found.seconds)} runs of {run.epochs} epochs of {run.images:,} images, about {duration(found.total)} one "
        f"after the other on {run.device}. {FLOPS}"
    )
