"""The command line: everything the app does, as commands. Results go to stdout, progress and errors to stderr.

Exit codes: 0 done; 1 wrong input, one line on stderr names it; 2 mistyped command;
3 the run was stopped or paused; 130 interrupted from the keyboard.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from pdc_core.cli import (  # noqa: F401  each of these modules adds its commands
    app_command,
    custom,
    exporting,
    layers,
    planning,
    report,
    running,
    sweeping,
    training,
)
from pdc_core.cli.custom import build_first
from pdc_core.cli.options import app
from pdc_core.errors import PDCError
from pdc_core.train import Stopped


@contextmanager
def _errors() -> Iterator[None]:
    """Turn errors that users can correct into one line and an exit code."""
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    try:
        yield
    except PDCError as error:
        console.print(f"error: {error}", style="red", markup=False)
        sys.exit(1)
    except Stopped as stop:
        console.print(str(stop), markup=False)
        sys.exit(3)
    except OSError as error:  # of the output, since files have their own errors: a disk that is full
        console.print(f"error: {error.strerror or error}; the output could not be written.", style="red", markup=False)
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  what is left to be written would fail again at the end
        sys.exit(1)


def main() -> None:
    """Run the command line."""
    if sys.stdout is None:  # it was closed
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    with _errors():
        app(build_first(sys.argv[1:]), prog_name="pdc")
