"""The commands `teach` and `distil`: write a run folder and work on it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pdc_core.baselines import METHOD_HELP, WHOLE
from pdc_core.cli.dry_run import print_forecast
from pdc_core.cli.options import (
    AsJson,
    Budget,
    DataName,
    DryRun,
    Epochs,
    Images,
    Inside,
    ModelName,
    Out,
    Residual,
    Seed,
    Weights,
    absolute,
    app,
    count,
)
from pdc_core.cli.outcome import new_run, print_report, train
from pdc_core.data import describe_data
from pdc_core.errors import PDCError, first_reason
from pdc_core.graph import trace
from pdc_core.models import load_model
from pdc_core.models.load import RANDOM, SHIPPED
from pdc_core.plan import Plan, check_mergeable
from pdc_core.registry import choices, explained
from pdc_core.runs import RunSpec
from pdc_core.train import SCHEDULES, Training

if TYPE_CHECKING:
    from pydantic import ValidationError
from pdc_core.train.settings import EARLIER_NAMES, LONG

Setting = Annotated[
    list[str] | None,
    typer.Option("--setting", help="NAME=VALUE of any other setting, for example optimizer=adamw; may be repeated."),
]


@app.command(epilog="Example: pdc teach resnet20 --data digits --seed 0")
def teach(
    model: Annotated[str, typer.Argument(help="A network's name.")],
    data: DataName = "digits",
    weights: Weights = None,
    epochs: Annotated[
        int | None,
        typer.Option(help="Passes over the training images; left out: 30 from random weights, else 10."),
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Images per step.")] = 64,
    lr: Annotated[
        float | None,
        typer.Option(help="Highest learning rate; falls as a cosine. Left out: 0.1 from random weights, else 0.01."),
    ] = None,
    images: Images = None,
    budget: Budget = None,
    setting: Setting = None,
    seed: Seed = 0,
    dry_run: DryRun = False,
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Train a network on labels alone. The result is folded.safetensors in the run folder."""
    start = absolute(weights, RANDOM)
    given = {"epochs": epochs, "batch_size": batch_size, "lr": lr}
    chosen = {name: value for name, value in given.items() if value is not None}
    spec = asked_run(
        kind="teach",
        model=model,
        data=data,
        weights=start,
        images=images,
        budget=budget,
        training=_valid(partial(Training.for_teaching, start), setting, **chosen),
        seed=seed,
    )
    describe_data(data)
    _do(spec, out, dry_run, as_json)


@app.command(epilog="Example: pdc distil --model resnet20 --data digits --keep 0.25 --epochs 8 --seed 0")
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
    inside: Inside = "",
    epochs: Epochs = 8,
    batch_size: Annotated[int | None, typer.Option(help="Images per step; left out: 32 for digits, else 128.")] = None,
    lr: Annotated[
        float | None,
        typer.Option(
            help="Highest learning rate; falls as a cosine. "
            f"Left out: 0.05 for digits and from {LONG} steps on, else 0.02."
        ),
    ] = None,
    augment: Annotated[
        float | None, typer.Option(help="Share of images that are augmented, 0 to 1; left out: 0 for digits, else 1.")
    ] = None,
    temperature: Annotated[float | None, typer.Option(help="T of the distillation loss; 4 by default.")] = None,
    alpha: Annotated[
        float | None, typer.Option(help="The teacher's share of the loss, 0 to 1; 0.5 by default.")
    ] = None,
    schedule: Annotated[
        str | None,
        typer.Option(help=f"How filters become identical; merge by default. {explained(SCHEDULES)}."),
    ] = None,
    tied_after: Annotated[
        float | None, typer.Option("--tied-after", "--ramp", help="Share of the run after which filters are tied.")
    ] = None,
    allow_weak_teacher: Annotated[
        bool,
        typer.Option("--allow-weak-teacher", help="Also learn from a network that is hardly better than guessing."),
    ] = False,
    method: Annotated[str, typer.Option(help=f"How the network is made smaller. {explained(METHOD_HELP)}.")] = "pdc",
    teacher: Annotated[
        str | None,
        typer.Option(
            "--teacher",
            help="Another network that teaches: NAME:WEIGHTS (resnet56:published), a file, or a finished run. Left "
            "out: the network itself.",
        ),
    ] = None,
    images: Images = None,
    budget: Budget = None,
    setting: Setting = None,
    seed: Seed = 0,
    dry_run: DryRun = False,
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Run PDC's one stage: cluster the filters, merge them while the teacher guides training, and fold."""
    options = {name: value for name, value in locals().items() if name not in ("dry_run", "out", "as_json")}
    _do(distil_spec(**options), out, dry_run, as_json)


def distil_spec(
    *,
    model: str,
    data: str,
    weights: str | None,
    keep: float | None,
    plan: Path | None,
    clusters: list[str] | None,
    residual: str,
    inside: str,
    epochs: int,
    batch_size: int | None,
    lr: float | None,
    augment: float | None,
    temperature: float | None,
    alpha: float | None,
    schedule: str | None,
    tied_after: float | None,
    allow_weak_teacher: bool,
    method: str,
    teacher: str | None,
    images: int | None,
    budget: float | None,
    setting: list[str] | None,
    seed: int,
) -> RunSpec:
    """Return the run that the options of `distil` describe."""
    given = {
        "batch_size": batch_size,
        "lr": lr,
        "augment": augment,
        "temperature": temperature,
        "alpha": alpha,
        "schedule": schedule,
        "tied_after": tied_after,
    }
    chosen_settings: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    chosen_settings["epochs"] = epochs
    training = _valid(partial(Training.for_data, data), setting, **chosen_settings)
    if method not in METHOD_HELP:
        raise PDCError(f"--method {method}: {method!r} is unknown; choose {choices(METHOD_HELP)}.")
    if keep is not None and plan is not None:
        raise PDCError("Give --keep or --plan, not both.")
    chosen = Plan.load(plan) if plan is not None else None
    network = load_model(model, data=data, weights=absolute(weights, SHIPPED))
    if chosen is not None:
        residual, inside = chosen.residual, chosen.inside
    graph = trace(network, describe_data(data).example, residual=residual, inside=inside)
    if chosen is None:
        chosen = Plan.uniform(graph, 0.5 if keep is None else keep, model=model)
    chosen = chosen.replace(dict(map(count, clusters or []))).check(graph)
    if method == WHOLE:
        chosen = chosen.whole()
    else:
        check_mergeable(chosen, graph)
    return asked_run(
        kind="distil",
        method=method,
        model=model,
        data=data,
        weights=absolute(weights, SHIPPED),
        plan=chosen,
        allow_weak_teacher=allow_weak_teacher,
        teacher=teacher,
        images=images,
        budget=budget,
        training=training,
        seed=seed,
    )


def _do(spec: RunSpec, out: Path | None, dry_run: bool, as_json: bool) -> None:
    """Make a run folder and work on it, or only print what that would take."""
    if dry_run:
        print_forecast(spec, as_json)
        return
    with new_run(spec, out) as folder:
        print_report(folder, train(folder).report, as_json)


def asked_run(**given: Any) -> RunSpec:
    """Return the run that options describe; an error names the option that is wrong."""
    from pydantic import ValidationError

    try:
        return RunSpec(**given)
    except ValidationError as error:
        raise _refused(error) from error


def _valid(make: Callable[..., Training], settings: list[str] | None, **given: Any) -> Training:
    """Make the settings from options and from --setting NAME=VALUE; an error names the one that is wrong."""
    from pydantic import ValidationError

    for text in settings or []:
        name, _, value = text.partition("=")
        name = EARLIER_NAMES.get(name, name)
        if name not in Training.model_fields or not value:
            raise PDCError(
                f"--setting {text}: expected NAME=VALUE; NAME is one of {', '.join(sorted(Training.model_fields))}."
            )
        given[name] = _value(value)
    try:
        return make(**given)
    except ValidationError as error:
        raise _refused(error) from error


def _refused(error: ValidationError) -> PDCError:
    """Return the error that names the option of which a value was refused."""
    where, message = first_reason(error)
    if not where:
        return PDCError(f"{message[0].upper()}{message[1:]}.")
    option = where.partition(".")[0].replace("_", "-")
    return PDCError(f"--{option} {error.errors()[0]['input']}: {message[0].lower()}{message[1:]}.")


def _value(text: str) -> Any:
    """Return the value of a setting as it was typed; only null and lists are read as YAML."""
    import yaml

    return yaml.safe_load(text) if text in ("null", "~") or text.startswith("[") else text
