"""The command `app`: start the app in the browser."""

from __future__ import annotations

import importlib.util
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from pdc_core.classroom import PIN, class_environment
from pdc_core.cli.options import app
from pdc_core.errors import PDCError
from pdc_core.models import build_environment

_APP = Path(__file__).resolve().parents[2] / "app.py"


@app.command(
    "app",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    epilog="Example: pdc app --port 8502 --build mynets:make; for a class: pdc app --class --address 0.0.0.0",
)
def app_(
    context: typer.Context,
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65535)] = 8501,
    address: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 opens the app to other machines.")] = (
        "localhost"
    ),
    class_: Annotated[
        bool,
        typer.Option(
            "--class",
            help="Serve a class: visitors see only their own runs, open no files of this machine and share a queue.",
        ),
    ] = False,
    pin: Annotated[
        str, typer.Option(help="PIN of the lecturer with --class, 6 characters or more; made up if left out.")
    ] = "",
) -> None:
    """Start the app; stop it with Ctrl+C. Further options are handed on to `streamlit run`."""
    words, environment = app_command(port, address, context.args), build_environment()
    if pin and not class_:
        raise PDCError("--pin is for a class; add --class.")
    if class_:
        environment |= class_environment(pin)
        print(f"A class is served; the lecturer's PIN: {environment[PIN]}", file=sys.stderr)
    import subprocess

    server = subprocess.Popen(words, env=environment)
    signal.signal(signal.SIGTERM, lambda *_: server.terminate())  # which ends a container
    try:
        code = server.wait()
    except KeyboardInterrupt:  # the server got it as well, and ends
        server.wait()
        code = 130
    sys.exit(code)


def app_command(port: int, address: str, further: list[str], path: Path = _APP) -> list[str]:
    """Return the command that serves the app.

    Parameters
    ----------
    port : int
        Port to listen on, 1 to 65535.
    address : str
        Address to listen on.
    further : list of str
        Options of `streamlit run` that are handed on.
    path : Path
        Where app.py is.

    Raises
    ------
    PDCError
        The app's files or Streamlit are not there.
    """
    if not (path.is_file() and (path.parent / "ui").is_dir()):
        raise PDCError(
            f"The app is not installed: there is no {path.name} in {path.parent}. It comes with the repository, not "
            "with the package: run `pip install -e .` in a clone."
        )
    if importlib.util.find_spec("streamlit") is None:
        raise PDCError("The app needs Streamlit; pip install streamlit.")
    options = ["--server.port", str(port), "--server.address", address]
    return [sys.executable, "-m", "streamlit", "run", str(path), *options, *further]
