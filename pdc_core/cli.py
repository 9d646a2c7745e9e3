"""The command line: everything the app does, as commands. Results go to stdout, progress and errors to stderr.

Exit codes: 0 done; 1 something given was wrong, one line on stderr says what; 2 the command itself was mistyped;
3 the run was stopped; 130 interrupted from the keyboard.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from pdc_core.cost import plan_cost
from pdc_core.data import describe_data
from pdc_core.errors import PDCError
from pdc_core.graph import ChannelGraph, trace
from pdc_core.models import load_model
from pdc_core.plan import Plan
from pdc_core.runs import RunSpec, create_run, list_runs, read_run, read_spec, request_stop, runs_root, work
from pdc_core.train import Result, Stopped, Training

FLOPS = "MACs: multiply-accumulates of conv and linear layers for one image, what the pruning literature calls FLOPs."
app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    help=f"Prune CNNs by clustering their filters, distilling, and folding the clusters away.\n\n{FLOPS}",
    epilog="Exit codes: 0 done, 1 wrong input, 2 mistyped command, 3 run stopped, 130 interrupted.",
)

ModelName = Annotated[
    str,
    typer.Option("--model", help="Network: resnet20 ... resnet110 (add _b for projections), or a torchvision name."),
]
DataName = Annotated[str, typer.Option("--data", help="digits, cifar10, cifar100, fashion_mnist, or npz:PATH.")]
Weights = Annotated[
    str | None, typer.Option("--weights", help="Checkpoint file; left out: the weights that come with PDC.")
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Of clustering, batch order and augmentation.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout instead of a table.")]
Out = Annotated[Path | None, typer.Option("--out", help="Run folder; left out: a new one under ./runs (or $PDC_RUNS).")]
Residual = Annotated[str, typer.Option("--residual", help="Residual sums: internal (left whole), shared or gather.")]
Epochs = Annotated[int, typer.Option("--epochs", help="Passes over the training images.")]


@app.command(epilog="Example: python -m pdc_core layers resnet56 --data cifar10")
def layers(
    model: Annotated[str, typer.Argument(help="A network's name.")],
    data: DataName = "digits",
    residual: Residual = "internal",
    as_json: AsJson = False,
) -> None:
    """Print the channel groups of a network: sizes, MACs, who is tied to whom, and why something is frozen."""
    info = describe_data(data)
    network = load_model(model, data=data, weights=False)
    graph = trace(network, torch.zeros(1, *info.shape), residual=residual)
    rows = list(_group_rows(graph))
    macs, params = sum(layer.macs for layer in graph.layers), graph.params
    if as_json:
        _print_json(
            {"model": model, "data": info.name, "residual": residual, "macs": macs, "params": params, "groups": rows}
        )
        return
    table = Table(title=f"{model} on {info.name} ({'x'.join(map(str, info.shape))}), residual sums: {residual}")
    for name, justify in (
        ("group", "left"),
        ("filters", "right"),
        ("MACs", "right"),
        ("producers", "left"),
        ("frozen because", "left"),
    ):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for row in rows:
        table.add_row(
            row["name"], str(row["size"]), f"{row['macs']:,}", ", ".join(row["producers"]), row["frozen"] or ""
        )
    _stdout().print(table)
    _stdout().print(
        f"{len(graph.clusterable)} of {len(rows)} groups can be clustered. {macs:,} MACs, {params:,} parameters. "
        f"{FLOPS}"
    )


def _group_rows(graph: ChannelGraph) -> Iterator[dict[str, Any]]:
    per_filter = {layer.name: layer.macs // layer.out_channels for layer in graph.layers}
    for group in graph.groups:
        yield {
            "name": group.name,
            "size": group.size,
            "macs": group.size * sum(per_filter[p.module] for p in group.producers),
            "producers": [p.module for p in group.producers],
            "readers": sorted({r.module for r in group.readers}),
            "frozen": group.frozen,
        }


@app.command(epilog="Example: python -m pdc_core teach resnet20 --data digits --seed 0")
def teach(
    model: Annotated[str, typer.Argument(help="A network's name.")],
    data: DataName = "digits",
    weights: Weights = None,
    epochs: Epochs = 30,
    batch_size: Annotated[int, typer.Option(help="Images a step.")] = 64,
    lr: Annotated[float, typer.Option(help="First learning rate; falls as a cosine.")] = 0.1,
    seed: Seed = 0,
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Train a network on labels alone; the result is folded.safetensors in the run folder."""
    training = _valid(lambda: Training.for_teaching(epochs=epochs, batch_size=batch_size, lr=lr))
    spec = RunSpec(
        kind="teach", model=model, data=data, weights=_absolute(weights, False), training=training, seed=seed
    )
    describe_data(data)
    folder = create_run(spec, folder=out)
    _report(folder, _train(folder), as_json)


@app.command(epilog="Example: python -m pdc_core distil --model resnet20 --data digits --keep 0.25 --epochs 8 --seed 0")
def distil(
    model: ModelName = "resnet20",
    data: DataName = "digits",
    weights: Weights = None,
    keep: Annotated[float | None, typer.Option("--keep", help="Keep ratio of every group, above 0 to 1.")] = None,
    plan: Annotated[Path | None, typer.Option("--plan", help="Plan file (JSON or YAML) in place of --keep.")] = None,
    clusters: Annotated[
        list[str] | None, typer.Option("--set", help="GROUP=K, for single groups; may be repeated.")
    ] = None,
    residual: Residual = "internal",
    epochs: Epochs = 8,
    batch_size: Annotated[int | None, typer.Option(help="Images a step; digits 32, else 128.")] = None,
    lr: Annotated[
        float | None, typer.Option(help="First learning rate, falls as a cosine; digits 0.05, else 0.02.")
    ] = None,
    augment: Annotated[float | None, typer.Option(help="Share of images augmented; digits 0, else 1.")] = None,
    temperature: Annotated[float, typer.Option(help="T of the teacher's guidance.")] = 4.0,
    alpha: Annotated[float, typer.Option(help="The teacher's share of the loss, 0 to 1.")] = 0.5,
    schedule: Annotated[
        str, typer.Option(help="How the strength rises: progressive, or tied from the start.")
    ] = "progressive",
    ramp: Annotated[float, typer.Option(help="Share of the run after which filters are tied.")] = 0.5,
    seed: Seed = 0,
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Cluster, train under the teacher while filters are pulled together, fold: PDC's one stage."""
    given = {"batch_size": batch_size, "lr": lr, "augment": augment}
    chosen_settings: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    chosen_settings |= {
        "epochs": epochs,
        "temperature": temperature,
        "alpha": alpha,
        "schedule": schedule,
        "ramp": ramp,
    }
    training = _valid(lambda: Training.for_data(data, **chosen_settings))
    if keep is not None and plan is not None:
        raise PDCError("Give --keep or --plan, not both.")
    chosen = Plan.load(plan) if plan is not None else None
    network = load_model(model, data=data, weights=_absolute(weights, True))
    graph = trace(network, torch.zeros(1, *describe_data(data).shape), residual=chosen.residual if chosen else residual)
    if chosen is None:
        chosen = Plan.uniform(graph, 0.5 if keep is None else keep, model=model)
    chosen = chosen.replace(dict(map(_count, clusters or []))).check(graph)
    plan_cost(graph, chosen)
    spec = RunSpec(
        kind="distil",
        model=model,
        data=data,
        weights=_absolute(weights, True),
        plan=chosen,
        training=training,
        seed=seed,
    )
    folder = create_run(spec, folder=out)
    _report(folder, _train(folder), as_json)


@app.command(epilog="Example: python -m pdc_core run runs/20261122-101500-distil-1a2b")
def run(
    folder: Annotated[Path, typer.Argument(help="A run folder with a run.yaml.")],
    queue: Annotated[bool, typer.Option("--queue", help="Wait until no other queued run is at work.")] = False,
    as_json: AsJson = False,
) -> None:
    """Do what a run folder asks, or go on with it from its last checkpoint."""
    read_spec(folder)
    _report(folder, _train(folder, queue), as_json)


@app.command(epilog="Example: python -m pdc_core stop runs/20261122-101500-distil-1a2b")
def stop(folder: Annotated[Path, typer.Argument(help="The run folder.")], as_json: AsJson = False) -> None:
    """Ask a run to stop after its current step; `run FOLDER` goes on with it later."""
    found = read_run(folder)
    if not found.alive:
        raise PDCError(f"No worker is at work on {folder}: it is {found.state}.")
    request_stop(folder)
    if as_json:
        _print_json({"run": found.id, "requested": "stop"})
    else:
        _stdout().print(f"Asked {found.id} to stop.")


@app.command("list", epilog="Example: python -m pdc_core list --json")
def list_(
    root: Annotated[Path | None, typer.Option(help="Folder of the runs; ./runs or $PDC_RUNS.")] = None,
    as_json: AsJson = False,
) -> None:
    """List all runs, newest first."""
    rows = [
        {
            "run": r.id, "kind": r.spec.kind, "model": r.spec.model, "data": r.spec.data, "state": r.state,
            "step": r.status.get("step"), "steps": r.status.get("steps"),
            "test_accuracy": _final(r.report, "test_accuracy"), "macs": _final(r.report, "macs"),
            "folder": str(r.folder),
        }
        for r in list_runs(root)
    ]  # fmt: skip
    if as_json:
        _print_json(rows)
        return
    if not rows:
        _stdout().print(f"No runs under {runs_root(root)} yet; start one: python -m pdc_core distil --keep 0.25")
        return
    table = Table("run", "kind", "network", "data", "state", "progress", "test accuracy", "MACs")
    for row in rows:
        done = f"{row['step']} / {row['steps']}" if row["step"] else ""
        accuracy = f"{row['test_accuracy']:.2%}" if row["test_accuracy"] is not None else ""
        macs = f"{row['macs']:,}" if row["macs"] else ""
        table.add_row(row["run"], row["kind"], row["model"], row["data"], row["state"], done, accuracy, macs)
    _stdout().print(table)


def _final(report: dict[str, Any] | None, key: str) -> Any:
    return (report.get("folded") or report.get("taught") or {}).get(key) if report else None


# -- doing it --------------------------------------------------------------------------------------------


def _train(folder: Path, queue: bool = False) -> Result:
    """Work on a run folder with a progress bar on stderr."""
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("steps"), TimeElapsedColumn(),
        TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(f"{folder.name}", total=None)
        return work(folder, queue=queue, show=lambda step, steps: progress.update(task, completed=step, total=steps))


def _report(folder: Path, result: Result, as_json: bool) -> None:
    report = result.report
    if as_json:
        keys = ("test_accuracy", "val_accuracy", "macs", "params")
        short: dict[str, Any] = {
            name: {key: report[name][key] for key in keys} for name in ("before", "taught", "folded") if name in report
        }
        short |= {
            key: report[key] for key in ("max_abs_diff", "same_predictions", "seconds", "residual") if key in report
        }
        _print_json({**short, "folder": str(folder)})
        return
    names = [name for name in ("before", "reconstructed", "folded", "taught") if name in report]
    table = Table("", *names, title=f"{folder}")
    percent: Callable[[str], list[str]] = lambda key: [f"{report[name][key]:.2%}" for name in names]  # noqa: E731
    table.add_row("accuracy, test", *percent("test_accuracy"))
    table.add_row("accuracy, validation", *percent("val_accuracy"))
    table.add_row("MACs of one image", *(f"{report[name]['macs']:,}" for name in names))
    table.add_row("parameters", *(f"{report[name]['params']:,}" for name in names))
    for batch in report[names[0]]["latency"]:
        table.add_row(f"latency, batch {batch}", *(f"{1000 * report[name]['latency'][batch]:.2f} ms" for name in names))
    console = _stdout()
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
    console.print(f"{report['seconds']:.1f} s. Network: {folder / 'folded.safetensors'}")


def _count(text: str) -> tuple[str, int]:
    group, _, k = text.partition("=")
    if not group or not k.isdigit():
        raise PDCError(f"--set {text}: expected GROUP=K with a whole number K, for example --set layer1.0.conv1=4.")
    return group, int(k)


def _valid(make: Callable[[], Training]) -> Training:
    from pydantic import ValidationError

    try:
        return make()
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]).replace("_", "-")
        raise PDCError(f"--{name} {first['input']}: {first['msg'].lower()}.") from error


def _absolute(weights: str | None, default: bool) -> bool | str:
    return str(Path(weights).resolve()) if weights else default


def _stdout() -> Console:
    return Console(soft_wrap=not sys.stdout.isatty())


def _print_json(content: Any) -> None:
    print(json.dumps(content, indent=2))


@contextmanager
def _errors() -> Iterator[None]:
    """Turn what users can mend into one line and an exit code."""
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    try:
        yield
    except PDCError as error:
        console.print(f"error: {error}", style="red", markup=False)
        sys.exit(1)
    except Stopped as stop:
        console.print(str(stop), markup=False)
        sys.exit(3)


def main() -> None:
    """Run the command line."""
    with _errors():
        app()
