"""The command `export`: the networks of a run as float and INT8 files, measured, with a model card."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from pdc_core.cli.options import AsJson, app, print_json, stdout
from pdc_core.deployment import Exported, export_run
from pdc_core.deployment.exporting import CALIBRATION
from pdc_core.runs import read_run


@app.command(epilog="Example: pdc export runs/20261122-101500-distil-1a2b --out shipped --batch 1 --batch 32")
def export(
    folder: Annotated[Path, typer.Argument(help="The run folder.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for the files; left out: export in the run folder.")
    ] = None,
    threads: Annotated[int, typer.Option("--threads", help="Threads while latency is measured.")] = 1,
    batch: Annotated[
        list[int] | None, typer.Option("--batch", help="Batch size to time, repeatable; left out: 1, 16 and 64.")
    ] = None,
    calibration: Annotated[
        int, typer.Option("--calibration", help="Training images that INT8 is calibrated with.")
    ] = CALIBRATION,
    as_json: AsJson = False,
) -> None:
    """Write a finished run's networks as safetensors, ONNX and INT8 ONNX files, measure them, and add a model card."""
    console = Console(stderr=True, soft_wrap=True)

    def show(done: int, total: int, what: str) -> None:
        console.print(f"{done} of {total}  {what}", markup=False, highlight=False)

    place = out or folder / "export"
    found = export_run(
        read_run(folder), place, threads=threads, batch_sizes=batch or (1, 16, 64), n_images=calibration, progress=show
    )
    if as_json:
        print_json(found.model_dump(mode="json") | {"folder": str(place)})
        return
    stdout().print(_table(found))
    stdout().print(f"Files and model card: {place}", markup=False)


def _table(found: Exported) -> Table:
    batches = list(found.variants[0].latency)
    table = Table(
        Column("file", no_wrap=True),
        "size",
        "test accuracy",
        *(f"{batch} image{'s' if batch > 1 else ''}" for batch in batches),
    )
    for variant in found.variants:
        table.add_row(
            variant.file,
            f"{variant.size / 1e6:.2f} MB",
            f"{variant.test_accuracy:.2%}",
            *(f"{1e3 * t.median:.2f} ms" for t in variant.latency.values()),
        )
    return table
