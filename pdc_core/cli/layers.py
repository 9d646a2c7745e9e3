"""The command `layers`: the channel groups of a network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer
from rich.table import Table

from pdc_core.cli.options import FLOPS, AsJson, DataName, Inside, Residual, app, print_json, stdout
from pdc_core.graph import ChannelGraph, trace
from pdc_core.models import load_model, model_info


@app.command(epilog="Example: pdc layers resnet56 --data cifar10")
def layers(
    model: Annotated[str, typer.Argument(help="A network's name.")],
    data: DataName = "digits",
    residual: Residual = "internal",
    inside: Inside = "",
    as_json: AsJson = False,
) -> None:
    """Print the channel groups of a network: sizes, MACs, which layers are tied, and why some are frozen."""
    network = load_model(model, data=data, weights="random")
    info = model_info(network)
    assert info is not None
    graph = trace(network, info.example, residual=residual, inside=inside)
    rows = list(_group_rows(graph))
    macs, params, reach = sum(layer.macs for layer in graph.layers), graph.params, graph.reach()
    if as_json:
        traced = {"model": model, "data": data, "residual": residual, "inside": inside}
        costs = {"macs": macs, "params": params, "reach": {"filters": reach.filters, "macs": reach.macs}}
        print_json(traced | costs | {"groups": rows})
        return
    table = Table(title=f"{model} on {data} ({'x'.join(map(str, info.shape))}), residual sums: {residual}")
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
    stdout().print(table)
    stdout().print(
        f"{len(graph.clusterable)} of {len(rows)} groups can be clustered. {macs:,} MACs, {params:,} parameters. "
        f"{FLOPS}"
    )
    stdout().print(str(reach), markup=False)


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
