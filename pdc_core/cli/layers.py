"""The command `layers`: the channel groups of a network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer
from rich.table import Table

from pdc_core.cli.options import FLOPS, AsJson, DataName, Residual, app, print_json, stdout
from pdc_core.data import describe_data
from pdc_core.graph import ChannelGraph, trace
from pdc_core.models import load_model


@app.command(epilog="Example: pdc layers resnet56 --data cifar10")
def layers(
    model: Annotated[str, typer.Argument(help="A network's name.")],
    data: DataName = "digits",
    residual: Residual = "internal",
    as_json: AsJson = False,
) -> None:
    """Print the channel groups of a network: sizes, MACs, which layers are tied, and why some are frozen."""
    info = describe_data(data)
    network = load_model(model, data=data, weights="random")
    graph = trace(network, info.example, residual=residual)
    rows = list(_group_rows(graph))
    macs, params, reach = sum(layer.macs for layer in graph.layers), graph.params, graph.reach()
    if as_json:
        network_facts = {"model": model, "data": info.name, "residual": residual, "macs": macs, "params": params}
        print_json(network_facts | {"reach": {"filters": reach.filters, "macs": reach.macs}, "groups": rows})
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
