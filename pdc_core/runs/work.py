"""Doing what a run folder asks: launch a worker, work in this process, wait for a turn, ask a worker to stop."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from pdc_core.errors import PDCError
from pdc_core.runs.files import write
from pdc_core.runs.read import held, list_runs
from pdc_core.runs.recorder import FolderRecorder
from pdc_core.runs.spec import RunSpec, read_spec
from pdc_core.train import Result, Stopped, distil, teach


def launch(folder: str | Path) -> int:
    """Start a worker process for a run folder, independent of this process, and return its process id."""
    folder = Path(folder)
    with (folder / "worker.log").open("ab") as log:
        worker = subprocess.Popen(
            [sys.executable, "-m", "pdc_core", "run", "--queue", str(folder.resolve())],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    threading.Thread(target=worker.wait, daemon=True).start()  # or a dead worker would stay in the process table
    waiting = {"state": "queued", "message": "the worker is starting", "heartbeat": time.time()}
    if not held(folder / "worker.lock"):  # it may have been quick
        write(folder / "status.json", json.dumps({**waiting, "pid": worker.pid, "host": platform.node()}))
    return worker.pid


def request_stop(folder: str | Path) -> None:
    """Ask the worker of a run to stop after its current step."""
    write(Path(folder) / "request", "stop")


def work(folder: str | Path, *, queue: bool = False, show: Callable[[int, int], None] | None = None) -> Result:
    """Do what a run folder asks, in this process: train, fold, write the report.

    Parameters
    ----------
    queue : wait until no other queued run of the same root is at work.
    show : called with (step, steps).

    Raises
    ------
    PDCError
        The run cannot be read, another worker has it, it is done already, or training failed (the status says so too).
    Stopped
        Somebody asked to stop.
    """
    from filelock import FileLock, Timeout

    folder = Path(folder)
    spec = read_spec(folder)
    if (folder / "report.json").exists():
        raise PDCError(f"The run {folder} is done; its report.json holds the result. Start a new run for another one.")
    try:
        with FileLock(folder / "worker.lock", timeout=2):
            (folder / "request").unlink(missing_ok=True)
            recorder = FolderRecorder(folder, show)
            try:
                if queue:
                    with _Turn(folder, recorder):
                        return _work(folder, spec, recorder)
                return _work(folder, spec, recorder)
            except Stopped as stop:
                recorder.state("stopped", str(stop))
                raise
            except PDCError as error:
                recorder.state("failed", str(error))
                raise
            except KeyboardInterrupt:
                recorder.state("stopped", "interrupted from the keyboard")
                raise
            except BaseException as error:
                recorder.state("failed", f"{type(error).__name__}: {error}")
                raise
    except Timeout as error:
        raise PDCError(f"Another process works on {folder}; wait for it or stop it first.") from error


class _Turn:
    """Hold the queue of a root folder: one run at a time, the oldest first."""

    def __init__(self, folder: Path, recorder: FolderRecorder) -> None:
        from filelock import FileLock

        self.folder, self.recorder = folder, recorder
        self.lock = FileLock(folder.parent / ".queue.lock")

    def __enter__(self) -> None:
        from filelock import Timeout

        while True:
            if self.recorder.stopping():
                raise Stopped("Stopped while it waited in the queue.")
            ahead = [
                r for r in list_runs(self.folder.parent) if r.state == "queued" and r.alive and r.id < self.folder.name
            ]
            if not ahead:
                try:
                    self.lock.acquire(timeout=0)
                    return
                except Timeout:
                    pass
            self.recorder.state("queued", f"{len(ahead) + 1} before this one")
            time.sleep(0.5)

    def __exit__(self, *_: object) -> None:
        self.lock.release()


def _work(folder: Path, spec: RunSpec, recorder: FolderRecorder) -> Result:
    from pdc_core.data import load_data
    from pdc_core.export import save, write_whole
    from pdc_core.models import load_model

    recorder.state("running", "loading data and network")
    data = load_data(spec.data)
    weights = spec.weights if spec.kind == "distil" or isinstance(spec.weights, str) else False
    model = load_model(spec.model, data=spec.data, weights=weights, seed=spec.seed)
    if spec.kind == "teach":
        result = teach(model, data, seed=spec.seed, settings=spec.training, recorder=recorder)
    else:
        assert spec.plan is not None
        result = distil(model, spec.plan, data, seed=spec.seed, settings=spec.training, recorder=recorder)
    save(result.folded, folder / "folded.safetensors")
    write_whole(folder / "report.json", json.dumps(result.report, indent=2).encode())
    recorder.state("done", "done", eta_seconds=0.0)
    return result
