"""Workers as processes of their own: launched for a run or a sweep, with what the process that launches them knows."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from pdc_core.errors import PDCError
from pdc_core.models import build_environment
from pdc_core.runs import waiting
from pdc_core.runs.files import write
from pdc_core.runs.read import read_run
from pdc_core.runs.waiting import is_locked, read_json
from pdc_core.runs.worker import clear_request


def launch(folder: str | Path, home: str | Path | None = None) -> int:
    """Start a worker process for a run folder, independent of this process, and return its process id.

    It waits for its turn while another run of the same queue trains, and resumes from the last checkpoint, if there is
    one. Earlier requests are forgotten.

    Parameters
    ----------
    folder : str or Path
        The run folder.
    home : str or Path, optional
        The folder in which relative paths of run.yaml begin; that of this process by default.
    """
    folder = Path(folder)
    clear_request(folder)
    before = read_json(folder / "status.json") or {}  # how far it was stays on show
    if not is_locked(folder / "worker.lock"):
        before["queued_at"] = time.time()
        write(folder / "status.json", json.dumps(before))
    with (folder / "worker.log").open("ab") as log:
        command, where, environment = _command(["run", "--queue"], folder, home)
        command = [sys.executable, "-P", waiting.__file__, where, *command]
        worker = _start(command, environment, home, stdout=log, stderr=log, start_new_session=True)
    threading.Thread(target=worker.wait, daemon=True).start()  # or a dead worker would stay in the process table
    starting = {"state": "queued", "message": "the worker is starting", "heartbeat": time.time()}
    if not is_locked(folder / "worker.lock"):  # it may have been quick
        write(folder / "status.json", json.dumps({**before, **starting, "pid": worker.pid, "host": platform.node()}))
    return worker.pid


def start_command(
    words: list[str], folder: str | Path, home: str | Path | None = None, **options: Any
) -> subprocess.Popen[Any]:
    """Start a command of PDC on a run folder in a process of its own, which knows the same networks and data.

    Parameters
    ----------
    words : list of str
        The command without the folder, such as ["export"].
    folder : str or Path
        The run folder, the last argument of the command.
    home : str or Path, optional
        Where the process starts, and relative paths of run.yaml begin; its messages then name the folder relative to
        it. By default it starts where this process did.
    **options : Any
        Of `subprocess.Popen`.
    """
    command, _, environment = _command(words, folder, home)
    return _start(command, environment, home, **options)


def _command(words: list[str], folder: str | Path, home: str | Path | None) -> tuple[list[str], str, dict[str, str]]:
    """Return a command of PDC on a folder, how it names the folder, and the environment that it needs."""
    environment = build_environment()  # what this process was started with, and no more
    python, where = [sys.executable, "-m", "pdc_core"], str(Path(folder).resolve())
    if home is not None:
        # Nothing is imported from there: -P keeps it out of the path, and what this process imports from is named.
        paths = (
            str(Path(__file__).resolve().parents[2]),
            str(Path.cwd()),
            *environment.get("PYTHONPATH", "").split(os.pathsep),
        )
        environment["PYTHONPATH"] = os.pathsep.join(str(Path(path).resolve()) for path in dict.fromkeys(paths) if path)
        python, where = [sys.executable, "-P", "-m", "pdc_core"], os.path.relpath(where, Path(home).resolve())
    return [*python, *words, where], where, environment


def _start(
    command: list[str], environment: dict[str, str], home: str | Path | None, **options: Any
) -> subprocess.Popen[Any]:
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, env=environment, cwd=home, **options)


def resume(folder: str | Path, home: str | Path | None = None) -> int:
    """Launch a worker that resumes a paused, stopped, interrupted or failed run; return its process id.

    Parameters
    ----------
    folder : str or Path
        The run folder.
    home : str or Path, optional
        As `launch` takes it.

    Raises
    ------
    PDCError
        The run is done, or a worker is at work on it.
    """
    run = read_run(folder)
    if run.state == "done":
        raise PDCError(f"The run {run.id} is done; there is nothing left to do.")
    if run.alive:
        raise PDCError(f"A worker trains the run {run.id} already.")
    return launch(folder, home)
