"""Commands on run and sweep folders: `run`, `resume`, `status`, `pause`, `stop`, `finish`, `list`, `show`, `rm`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from pdc_core.cli.dry_run import print_forecast
from pdc_core.cli.options import AsJson, Budget, DryRun, Images, Out, app, print_json, stdout
from pdc_core.cli.outcome import new_run, print_report, train
from pdc_core.cli.sweeping import print_sweep, print_sweep_status, start_sweep, sweep_row, work_on_sweep
from pdc_core.cli.training import asked_run
from pdc_core.durations import duration
from pdc_core.errors import PDCError
from pdc_core.models import build_environment
from pdc_core.runs import (
    Run,
    Sweep,
    is_sweep,
    list_runs,
    list_sweeps,
    read_run,
    read_spec,
    read_sweep,
    remove_run,
    repair_run,
    request_finish,
    request_pause,
    request_stop,
    runs_root,
    unreadable_runs,
)
from pdc_core.runs.sweeps import is_sweep_recipe, read_sweep_spec, remove_sweep, unreadable_sweeps

Folder = Annotated[Path, typer.Argument(help="The run folder or sweep folder.")]
Tensorboard = Annotated[bool, typer.Option("--tensorboard", help="Write event files for TensorBoard as well.")]


@app.command(epilog="Example: pdc run recipes/clothing_resnet20_teach.yaml --dry-run")
def run(
    folder: Annotated[Path, typer.Argument(help="A run folder, a sweep folder, or a recipe (a file ending in .yaml).")],
    queue: Annotated[bool, typer.Option("--queue", help="Wait for the runs queued before this one.")] = False,
    tensorboard: Tensorboard = False,
    dry_run: DryRun = False,
    data: Annotated[str | None, typer.Option("--data", help="Data set, in place of the recipe's.")] = None,
    images: Images = None,
    budget: Budget = None,
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Start the run or the sweep that a folder or a recipe describes; a folder goes on from its last checkpoint."""
    changes = {name: v for name, v in (("data", data), ("images", images), ("budget", budget)) if v is not None}
    if is_sweep(folder) or is_sweep_recipe(folder):
        if changes or tensorboard:
            raise PDCError(
                "--tensorboard, --data, --images and --budget are for single runs; the runs of a sweep can be resumed "
                "one by one."
            )
        _run_sweep(folder, queue, dry_run, out, as_json)
        return
    spec = read_spec(folder)
    recipe = not folder.is_dir()
    if not recipe and (changes or out is not None):
        raise PDCError(
            "--data, --images, --budget and --out are for recipes; a run folder names its own, and stays where it is."
        )
    spec = asked_run(**{**dict(spec), **changes}) if changes else spec
    if dry_run:
        print_forecast(spec, as_json)
        return
    if recipe:
        if int(os.environ.get("WORLD_SIZE", 1)) > 1:
            raise PDCError("torchrun needs a run folder that all processes share; make one first: distil --out FOLDER.")
        with new_run(spec, out) as made:
            Console(stderr=True, soft_wrap=True).print(f"The run folder is {made}", markup=False)
            _work_and_report(made, spec.training.devices, as_json, queue=queue, tensorboard=tensorboard)
        return
    _work_and_report(folder, spec.training.devices, as_json, queue=queue, tensorboard=tensorboard)


def _run_sweep(path: Path, queue: bool, dry_run: bool, out: Path | None, as_json: bool) -> None:
    if is_sweep_recipe(path) or dry_run:
        start_sweep(read_sweep_spec(path), out, dry_run, as_json)
    elif out is not None:
        raise PDCError("--out is for recipes; a sweep folder stays where it is.")
    else:
        work_on_sweep(path, as_json, queue=queue)


@app.command(epilog="Example: pdc resume runs/20261122-101500-distil-1a2b")
def resume(folder: Folder, tensorboard: Tensorboard = False, as_json: AsJson = False) -> None:
    """Resume a run or a sweep that was paused, stopped or killed, from its last checkpoint."""
    if is_sweep(folder):
        work_on_sweep(folder, as_json)
        return
    found = read_run(folder)
    if found.state == "done":
        repaired = f" Repaired: {', '.join(torn)}." if (torn := repair_run(folder)) else ""
        Console(stderr=True, soft_wrap=True).print(
            f"{found.id} is done; there is nothing left to do.{repaired}", markup=False
        )
        print_report(folder, found.report or {}, as_json)
        return
    _work_and_report(folder, found.spec.training.devices, as_json, tensorboard=tensorboard)


@app.command(epilog="Example: pdc status runs/20261122-101500-distil-1a2b --json")
def status(folder: Folder, as_json: AsJson = False) -> None:
    """Print the state of a run or a sweep, how far it is, and how long it will still take."""
    if is_sweep(folder):
        print_sweep_status(read_sweep(folder), as_json)
        return
    found = read_run(folder)
    content = {"run": found.id, "state": found.state, "alive": found.alive, "message": found.message} | {
        key: found.status.get(key) for key in ("step", "steps", "epoch", "epochs", "eta_seconds", "pid", "host")
    }
    if as_json:
        print_json(content)
        return
    at = f", step {content['step']} of {content['steps']}" if content["step"] else ""
    left = f", about {duration(found.status['eta_seconds'])} left" if found.alive and content["eta_seconds"] else ""
    message = f": {content['message']}" if content["message"] not in ("", found.state) else ""
    stdout().print(f"{found.id} is {found.state}{at}{left}{message}", markup=False)


@app.command(epilog="Example: pdc pause runs/20261122-101500-distil-1a2b")
def pause(folder: Folder, as_json: AsJson = False) -> None:
    """Ask a run or a sweep to write a checkpoint after the current step and end; `resume` goes on, bit for bit."""
    _ask(folder, "pause", request_pause, as_json)


@app.command(epilog="Example: pdc stop runs/20261122-101500-distil-1a2b")
def stop(
    folder: Folder,
    keep: Annotated[bool, typer.Option("--keep", help="The same as `pdc finish`.")] = False,
    as_json: AsJson = False,
) -> None:
    """Ask a run or a sweep to stop after the current step; `resume` can go on with it later."""
    _ask(folder, "finish" if keep else "stop", request_finish if keep else request_stop, as_json)


@app.command(epilog="Example: pdc finish runs/20261122-101500-distil-1a2b")
def finish(folder: Folder, as_json: AsJson = False) -> None:
    """Ask a run to end after its current step, and to tie, fold and report the network as it is then."""
    _ask(folder, "finish", request_finish, as_json)


def _ask(folder: Path, what: str, request: Callable[[Path], None], as_json: bool) -> None:
    found = read_sweep(folder) if is_sweep(folder) else read_run(folder)
    if what == "finish" and isinstance(found, Sweep):
        raise PDCError(f"{folder} is a sweep: pause or stop it, or finish one of its runs: pdc finish {folder}/RUN")
    if not found.alive:
        raise PDCError(f"No worker trains {folder}: it is {found.state}.")
    request(folder)
    if as_json:
        print_json({"run": found.id, "requested": what})
    else:
        stdout().print(f"Asked {found.id} to {what}.")


@app.command(epilog="Example: pdc rm runs/20261122-101500-distil-1a2b")
def rm(folder: Folder, as_json: AsJson = False) -> None:
    """Delete a run folder or a sweep folder and everything in it; refused while a worker is at work on it."""
    if is_sweep(folder):
        name = read_sweep(folder).id
        remove_sweep(folder)
    else:
        name = read_run(folder).id
        remove_run(folder)
    if as_json:
        print_json({"removed": name})
    else:
        stdout().print(f"Removed {name}.")


@app.command("list", epilog="Example: pdc list --json")
def list_(
    root: Annotated[Path | None, typer.Option(help="Folder of all runs; left out: ./runs (or $PDC_RUNS).")] = None,
    as_json: AsJson = False,
) -> None:
    """List all runs and sweeps, newest first; the runs of a sweep are listed by `show`."""
    dated = [(found.spec.created or "", _row(found)) for found in list_runs(root)]
    dated += [(found.spec.created or "", sweep_row(found)) for found in list_sweeps(root)]
    rows = [row for _, row in sorted(dated, key=lambda each: each[0], reverse=True)]
    for reason in (*unreadable_runs(root), *unreadable_sweeps(root)):
        Console(stderr=True, soft_wrap=True).print(f"not listed: {reason}", markup=False)
    if as_json:
        print_json(rows)
        return
    if not rows:
        stdout().print(f"No runs under {runs_root(root)} yet; start one: pdc distil --keep 0.25")
        return
    table = Table("run", "kind", "network", "data", "state", "progress", "test accuracy", "MACs")
    for row in rows:
        runs = " runs" if row["kind"] == "sweep" else ""
        done = f"{row['step']} / {row['steps']}{runs}" if row["step"] else ""
        accuracy = f"{row['test_accuracy']:.2%}" if row["test_accuracy"] is not None else ""
        macs = f"{row['macs']:,}" if row["macs"] else ""
        table.add_row(row["run"], row["kind"], row["model"], row["data"], row["state"], done, accuracy, macs)
    stdout().print(table)


def _row(found: Run) -> dict[str, Any]:
    final = (found.report or {}).get("folded") or (found.report or {}).get("taught") or {}
    return {
        "run": found.id,
        "kind": found.spec.title,
        "model": found.spec.model,
        "data": found.spec.data,
        "state": found.state,
        "step": found.status.get("step"),
        "steps": found.status.get("steps"),
        "test_accuracy": final.get("test_accuracy"),
        "macs": final.get("macs"),
        "folder": str(found.folder),
    }


@app.command(epilog="Example: pdc show runs/20261122-101500-distil-1a2b")
def show(folder: Folder, as_json: AsJson = False) -> None:
    """Print the settings of a run, its accuracy after every epoch, and its report if it is done; or a sweep's runs."""
    if is_sweep(folder):
        print_sweep(read_sweep(folder), as_json)
        return
    found = read_run(folder)
    evaluations = [event for event in found.events if event.get("kind") == "evaluation"]
    asked = found.spec.model_dump(mode="json", exclude_defaults=True)
    made = {"on": asked.pop("created", None), **asked.pop("versions", {})}
    if as_json:
        print_json(_row(found) | {"asked": asked, "evaluations": evaluations, "report": found.report})
        return
    console = stdout()
    counts = asked.pop("plan", {}).get("counts", {})
    spec = found.spec
    console.print(
        f"{found.id} is {found.state}: {spec.title} {spec.model} on {spec.data}, seed {spec.seed}", markup=False
    )
    console.print("Made " + ", ".join(f"{name} {value}" for name, value in made.items() if value), markup=False)
    settings = asked.get("training", {})
    changed = ", ".join(f"{name} {value}" for name, value in settings.items())
    console.print(f"Settings that are not the default: {changed or 'none'}", markup=False)
    if counts:
        console.print(f"Clusters: {', '.join(f'{name} {k}' for name, k in counts.items())}", markup=False)
    table = Table("epoch", "training loss", "validation accuracy", "strength")
    for event in evaluations:
        numbers = (event.get(key) for key in ("train_loss", "val_accuracy", "strength"))
        loss, accuracy, strength = (float(number) if number is not None else float("nan") for number in numbers)
        table.add_row(str(event.get("epoch")), f"{loss:.4f}", f"{accuracy:.2%}", f"{strength:.3f}")
    if evaluations:
        console.print(table)
    if found.state == "done" and found.report:
        print_report(folder, found.report, False)


def _work_and_report(
    folder: Path, devices: int, as_json: bool, *, queue: bool = False, tensorboard: bool = False
) -> None:
    """Train in this process; or become torchrun, where a run asks for several devices and nobody started them yet."""
    if devices > 1 and "WORLD_SIZE" not in os.environ:
        flags = [flag for flag, on in (("--queue", queue), ("--tensorboard", tensorboard), ("--json", as_json)) if on]
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(devices)]
        sys.stderr.flush()
        words = [sys.executable, *launcher, "-m", "pdc_core", "run", str(folder), *flags]
        os.execve(sys.executable, words, build_environment())
    report = train(folder, queue, tensorboard).report
    if int(os.environ.get("RANK", 0)) == 0:
        print_report(folder, report, as_json)
