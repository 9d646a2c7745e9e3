"""Commands about plans, before anything is trained: `sensitivity` and `plan`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from torch import nn

from pdc_core.charts.network import draw_network
from pdc_core.cli.options import (
    FLOPS,
    AsJson,
    DataName,
    Inside,
    ModelName,
    Residual,
    Seed,
    Weights,
    absolute,
    app,
    count,
    print_json,
    stdout,
)
from pdc_core.costs import plan_cost
from pdc_core.data import Data, load_data
from pdc_core.errors import PDCError
from pdc_core.estimates import (
    DEFAULT_RULE,
    JOINT,
    MEASURED,
    QUANTITIES,
    RULES,
    RulePlan,
    Sensitivity,
    compare_rules,
    plan_from_rule,
    preview,
)
from pdc_core.estimates import sensitivity as measure
from pdc_core.estimates.sensitivities import KEEPS, SENSITIVITY_IMAGES
from pdc_core.estimates.untrained import PREVIEW_IMAGES
from pdc_core.graph import ChannelGraph, trace
from pdc_core.models import load_model, model_info
from pdc_core.models.load import SHIPPED
from pdc_core.plan import Plan, difference
from pdc_core.registry import choices
from pdc_core.runs import runs_root

Images = Annotated[int, typer.Option(help="Validation images to measure on.", min=1)]


@app.command(epilog="Example: pdc sensitivity --model resnet20 --data digits")
def sensitivity(
    model: ModelName = "resnet20",
    data: DataName = "digits",
    weights: Weights = None,
    residual: Residual = "internal",
    inside: Inside = "",
    keep: Annotated[list[float] | None, typer.Option("--keep", help="Keep ratio to try; may be repeated.")] = None,
    images: Images = SENSITIVITY_IMAGES,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Measure what each group costs on its own, merged at several counts, without training."""
    network, graph, loaded = _loaded(model, data, weights, residual, inside)
    found = _measured(network, graph, loaded, tuple(keep) if keep else KEEPS, images, seed)
    if as_json:
        points = [vars(point) for point in found.points]
        print_json({"accuracy": found.accuracy, "images": found.images, "points": points})
        return
    table = Table("group", "filters", title=f"{model} on {data}: accuracy of {found.accuracy:.2%}, one group merged")
    columns = max(len(found.of(g.name)) for g in graph.clusterable)
    for i in range(columns):
        table.add_column("most clusters" if i == 0 else "fewest" if i == columns - 1 else "", justify="right")
    for group in graph.clusterable:
        own = found.of(group.name)[::-1]
        table.add_row(group.name, str(group.size), *(f"{p.k}: {p.accuracy:.1%}" for p in own))
    stdout().print(table)
    stdout().print(f"Measured on {found.images} validation images, each group alone, without training.")


@app.command(epilog="Example: pdc plan --model resnet20 --cut 0.6 --out plan.yaml")
def plan(
    model: ModelName = "resnet20",
    data: DataName = "digits",
    weights: Weights = None,
    residual: Residual = "internal",
    inside: Inside = "",
    given: Annotated[Path | None, typer.Option("--plan", help="Plan file to start from (JSON or YAML).")] = None,
    keep: Annotated[float | None, typer.Option("--keep", help="Keep ratio of every group, above 0 to 1.")] = None,
    clusters: Annotated[list[str] | None, typer.Option("--set", help="GROUP=K; may be repeated.")] = None,
    cut: Annotated[float | None, typer.Option(help="Share to save, 0 to below 1.")] = None,
    of: Annotated[str, typer.Option(help=f"What to save: {choices(QUANTITIES)}.")] = "macs",
    by: Annotated[str, typer.Option(help=f"How groups share the cut: {choices(RULES)}.")] = DEFAULT_RULE,
    round_to: Annotated[int | None, typer.Option(help="Counts are multiples of this number.", min=1)] = None,
    least: Annotated[int | None, typer.Option("--min", help="Clusters that every group keeps.", min=1)] = None,
    lock: Annotated[
        list[str] | None, typer.Option("--lock", help="GROUP that --cut leaves as it is; may be repeated.")
    ] = None,
    show: Annotated[bool, typer.Option("--preview", help="Merge and fold the plan now, and measure it.")] = False,
    against: Annotated[Path | None, typer.Option(help="Plan file to print the differences to.")] = None,
    images: Annotated[
        int | None,
        typer.Option(
            help=f"Validation images to measure on; left out: {SENSITIVITY_IMAGES:,} for the sensitivity, "
            f"{PREVIEW_IMAGES:,} for the preview.",
            min=1,
        ),
    ] = None,
    seed: Seed = 0,
    out: Annotated[Path | None, typer.Option("--out", help="File to write the plan to; .yaml or .json.")] = None,
    picture: Annotated[
        Path | None, typer.Option(help="File to draw the network to, before and after the plan; .svg.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make or change a plan by a keep ratio, by hand or from a budget, and print what it saves."""
    start = Plan.load(given) if given is not None else None
    if start is not None and keep is not None:
        raise PDCError("Give --keep or --plan, not both.")
    if start is not None:
        residual, inside = start.residual, start.inside
    network, graph, loaded = _loaded(model, data, weights, residual, inside)
    chosen = start.check(graph) if start else Plan.uniform(graph, 1.0 if keep is None else keep, model=model)
    limits = {name: value for name, value in {"round_to": round_to, "min": least}.items() if value is not None}
    if limits:
        chosen = chosen.constrain(graph, **limits)
    chosen = chosen.replace(dict(map(count, clusters or []))).check(graph)
    for name in lock or []:
        k = chosen.counts.get(name, graph.group(name).size)
        chosen = chosen.constrain(graph, bounds={**chosen.bounds, name: (k, k)})
    rules: tuple[RulePlan, ...] = ()
    if cut is not None:
        shown = images or SENSITIVITY_IMAGES
        found = _measured(network, graph, loaded, KEEPS, shown, seed) if by in MEASURED else None
        if by == JOINT:
            rules = compare_rules(
                network, graph, chosen, cut, of, data=loaded, sensitivity=found, images=shown, seed=seed
            )
        chosen = rules[0].plan if rules else plan_from_rule(network, graph, chosen, cut, of, by, sensitivity=found)
    before, after = plan_cost(graph, {}), plan_cost(graph, chosen)
    seen = preview(network, graph, chosen, loaded, images=images or PREVIEW_IMAGES, seed=seed) if show else None
    changes = difference(Plan.load(against), chosen) if against is not None else ()
    if picture is not None:
        draw_network(graph, chosen).save(picture)
    if out is not None:
        chosen.save(out)
    if as_json:
        content: dict[str, Any] = {
            "plan": chosen.model_dump(mode="json"),
            "macs": after.macs,
            "params": after.params,
            "macs_cut": 1 - after.macs / before.macs,
            "params_cut": 1 - after.params / before.params,
            "rules": [{"rule": each.rule, "damage": each.damage} for each in rules],
            "preview": vars(seen) if seen else None,
            "difference": [vars(change) for change in changes],
        }
        print_json(content)
        return
    table = Table("group", "filters", "clusters", "keep", title=f"{model} on {data}, residual sums: {chosen.residual}")
    for group in graph.clusterable:
        k = chosen.counts.get(group.name, group.size)
        table.add_row(group.name, str(group.size), str(k), f"{k / group.size:.0%}")
    console = stdout()
    console.print(table)
    console.print(
        f"MACs {before.macs:,} -> {after.macs:,} (cut {1 - after.macs / before.macs:.1%}), parameters "
        f"{before.params:,} -> {after.params:,} (cut {1 - after.params / before.params:.1%}). {FLOPS}"
    )
    if rules:
        others = ", ".join(f"{each.rule} {each.damage:.3f}" for each in rules[1:])
        console.print(
            f"Shared out by the rule {rules[0].rule}: merged whole and not trained, its plan changes the network's "
            f"answers least, by {rules[0].damage:.3f} nats (the others: {others})."
        )
    if seen:
        console.print(
            f"Merged and folded without training: {seen.accuracy:.2%} on {seen.images} validation images, "
            f"{seen.recalibrated:.2%} with norm statistics re-estimated (before: {seen.before:.2%}), "
            f"{seen.seconds:.1f} s."
        )
    for change in changes:
        console.print(f"{change.what}: {change.before} -> {change.after}", markup=False)
    for file in (out, picture):
        if file is not None:
            console.print(f"Written to {file}", markup=False)


def _measured(
    network: nn.Module, graph: ChannelGraph, data: Data, keeps: tuple[float, ...], images: int, seed: int
) -> Sensitivity:
    """Measure the sensitivity with a progress bar on stderr; earlier measurements are reused."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("sensitivity", total=None)
        return measure(
            network,
            graph,
            data,
            keeps=keeps,
            images=images,
            seed=seed,
            cache=runs_root() / "sensitivity",
            progress=lambda done, in_all, _: progress.update(task, completed=done, total=in_all),
        )


def _loaded(
    model: str, data: str, weights: str | None, residual: str, inside: str
) -> tuple[nn.Module, ChannelGraph, Data]:
    network, loaded = load_model(model, data=data, weights=absolute(weights, SHIPPED)), load_data(data)
    info = model_info(network)
    if info is not None and info.note:
        Console(stderr=True, soft_wrap=True).print(info.note, markup=False)
    return network, trace(network, loaded.example, residual=residual, inside=inside), loaded
