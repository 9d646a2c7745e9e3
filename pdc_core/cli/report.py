"""The command `report`: a finished run as one HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pdc_core.cli.options import app, stdout
from pdc_core.files import write_whole
from pdc_core.report import html_report
from pdc_core.runs import read_run


@app.command(epilog="Example: pdc report runs/20261122-101500-distil-1a2b --out report.html")
def report(
    folder: Annotated[Path, typer.Argument(help="The run folder.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="HTML file to write; left out: report.html in the run folder.")
    ] = None,
) -> None:
    """Write the report of a finished run as one HTML page that opens offline: numbers, charts, plan and command."""
    path = out or folder / "report.html"
    write_whole(path, html_report(read_run(folder)))
    stdout().print(f"Wrote {path}", markup=False)
