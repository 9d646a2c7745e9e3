"""The run folder: what was asked, what happens, what came out. Written by a worker process, read by anyone.

run.yaml      what was asked             events.jsonl  one line per record, a torn last line is ignored
status.json   state, step, heartbeat     last.ckpt     enough to go on
labels.npz, folded.safetensors, report.json            what came out
request       what somebody asks of the worker ("stop")      worker.lock, worker.log
"""

from __future__ import annotations

import json
import os
import platform
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from pdc_core.cluster import Labels
from pdc_core.errors import PDCError
from pdc_core.plan import Plan
from pdc_core.train import Recorder, Result, Stopped, Training, distil, teach

STATES = ("queued", "running", "done", "stopped", "failed", "interrupted")
HEARTBEAT_EVERY = 0.5  # seconds between writes of status.json


class RunSpec(BaseModel):
    """What a run was asked to do: the content of run.yaml. People may write it by hand."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["distil", "teach"] = "distil"
    model: str = "resnet20"
    data: str = "digits"
    weights: bool | str = True
    plan: Plan | None = None
    training: Training = Training()
    seed: int = 0
    created: str | None = None
    versions: dict[str, str] = {}

    @model_validator(mode="after")
    def _distil_has_a_plan(self) -> RunSpec:
        if self.kind == "distil" and self.plan is None:
            raise ValueError("a distil run needs a plan: group names and the clusters each keeps")
        return self


@dataclass(frozen=True)
class Run:
    """One run folder as it is now.

    Attributes
    ----------
    state : "queued", "running", "done", "stopped", "failed", or "interrupted" (its worker is gone).
    status : the last status.json: step, steps, epoch, epochs, heartbeat, pid, eta_seconds, message.
    alive : whether a worker holds the run right now.
    report : None until the run is done.
    events : the history so far, read when it is first asked for.
    """

    folder: Path
    spec: RunSpec
    state: str
    status: dict[str, Any] = field(repr=False)
    alive: bool
    report: dict[str, Any] | None = field(repr=False)

    @cached_property
    def events(self) -> list[dict[str, Any]]:
        return _read_events(self.folder / "events.jsonl")

    @property
    def id(self) -> str:
        return self.folder.name


def runs_root(root: str | Path | None = None) -> Path:
    """Return the folder of all runs: the argument, else the environment variable PDC_RUNS, else ./runs."""
    return Path(root or os.environ.get("PDC_RUNS") or "runs")


# -- writing --------------------------------------------------------------------------------------------


def create_run(spec: RunSpec, root: str | Path | None = None, folder: str | Path | None = None) -> Path:
    """Write a new run folder that a worker can take up, and return it.

    Parameters
    ----------
    root : folder of all runs; the run gets a name of its own in it.
    folder : or the run folder itself. It may exist, but must not hold a run.

    Raises
    ------
    PDCError
        The folder holds a run already, or cannot be written.
    """
    import torch

    created = datetime.now(UTC)
    name = f"{created:%Y%m%d-%H%M%S}-{spec.kind}-{secrets.token_hex(2)}"  # never made from what a user typed
    path = Path(folder) if folder is not None else runs_root(root) / name
    if (path / "run.yaml").exists():
        raise PDCError(
            f"{path} holds a run already; choose another folder, or go on with it: python -m pdc_core run {path}"
        )
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    spec = spec.model_copy(update={"created": created.isoformat(timespec="seconds"), "versions": versions})
    try:
        path.mkdir(parents=True, exist_ok=True)
        _write(
            path / "status.json",
            json.dumps({"state": "queued", "heartbeat": time.time(), "message": "waiting for a worker"}),
        )
        _write(path / "run.yaml", yaml.safe_dump(spec.model_dump(mode="json"), sort_keys=False))
    except OSError as error:
        raise PDCError(f"The run folder {path} cannot be written: {error.strerror}.") from error
    return path


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
    if not _held(folder / "worker.lock"):  # it may have been quick
        _write(folder / "status.json", json.dumps({**waiting, "pid": worker.pid, "host": platform.node()}))
    return worker.pid


def request_stop(folder: str | Path) -> None:
    """Ask the worker of a run to stop after its current step."""
    _write(Path(folder) / "request", "stop")


def _write(path: Path, text: str) -> None:
    """Write a small file so that a reader sees the old content or the new, never half of it."""
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


class FolderRecorder(Recorder):
    """Writes what the loop tells into a run folder, and reads requests from it."""

    def __init__(self, folder: Path, show: Callable[[int, int], None] | None = None) -> None:
        self.folder, self.show = folder, show
        self.began: tuple[float, int] | None = None
        self.written = 0.0
        self.status: dict[str, Any] = {"pid": os.getpid(), "host": platform.node(), "started": time.time()}

    def state(self, state: str, message: str = "", **more: Any) -> None:
        self.status.update(state=state, message=message, heartbeat=time.time(), **more)
        self.written = time.monotonic()
        _write(self.folder / "status.json", json.dumps(self.status))

    def event(self, record: dict[str, Any]) -> None:
        with (self.folder / "events.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def progress(self, step: int, steps: int, epoch: int, epochs: int) -> None:
        now = time.monotonic()
        self.began = self.began or (now, step)
        done = step - self.began[1]
        eta = (now - self.began[0]) / done * (steps - step) if done else None
        if self.show is not None:
            self.show(step, steps)
        if step == steps or now - self.written >= HEARTBEAT_EVERY:
            self.state("running", "training", step=step, steps=steps, epoch=epoch, epochs=epochs, eta_seconds=eta)

    def labels(self, labels: Labels) -> None:
        np.savez(self.folder / "labels.npz", **labels)  # type: ignore[arg-type]

    def stopping(self) -> bool:
        return (self.folder / "request").exists()

    def checkpoint(self, state: Callable[[], dict[str, Any]]) -> None:
        import torch

        temporary = self.folder / ".last.ckpt.part"
        torch.save(state(), temporary)
        temporary.replace(self.folder / "last.ckpt")

    def resume(self) -> dict[str, Any] | None:
        import torch

        path = self.folder / "last.ckpt"
        state: dict[str, Any] | None = (
            torch.load(path, weights_only=True, map_location="cpu") if path.exists() else None
        )
        history = state["history"] if state else []  # events after the checkpoint will happen again
        _write(self.folder / "events.jsonl", "".join(json.dumps(record) + "\n" for record in history))
        return state


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


# -- reading --------------------------------------------------------------------------------------------


def read_spec(folder: str | Path) -> RunSpec:
    """Read run.yaml.

    Raises
    ------
    PDCError
        There is none, or it is not a run file; the message names the line.
    """
    path = Path(folder) / "run.yaml"
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise PDCError(
            f"{folder} is not a run folder: {path.name} cannot be read ({str(error).splitlines()[0]})."
        ) from error
    try:
        return RunSpec.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise PDCError(
            f"{path} is not a valid run file: {where or 'the file'}: {first['msg'].removeprefix('Value error, ')}."
        ) from error


def read_run(folder: str | Path) -> Run:
    """Read a run folder as it is now, also while its worker writes.

    Raises
    ------
    PDCError
        It holds no valid run.yaml.
    """
    folder = Path(folder)
    spec = read_spec(folder)
    status = _read_json(folder / "status.json") or {}
    alive = _held(folder / "worker.lock")
    state = str(status.get("state", "queued"))
    if state not in STATES:
        state = "failed"
    if state in ("queued", "running") and not alive and not (state == "queued" and _starting(status)):
        state = "interrupted"
    return Run(folder, spec, state, status, alive, _read_json(folder / "report.json"))


def list_runs(root: str | Path | None = None) -> list[Run]:
    """Return all runs under the root that can be read, newest first."""
    found = []
    for path in sorted(runs_root(root).glob("*/run.yaml"), key=lambda p: p.parent.name, reverse=True):
        try:
            found.append(read_run(path.parent))
        except PDCError:  # not one of ours, or from another version: listed by nobody, deleted by nobody
            continue
    return sorted(found, key=lambda run: run.spec.created or "", reverse=True)


def _starting(status: dict[str, Any]) -> bool:
    """Return whether a worker is still on its way to a queued run: it takes seconds to import torch."""
    if status.get("pid") is None:  # nobody was launched yet
        return time.time() - float(status.get("heartbeat", 0)) < 60
    if status.get("host") != platform.node():
        return False
    try:
        os.kill(int(status["pid"]), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _held(lock: Path) -> bool:
    """Return whether a living process holds the lock; a killed one cannot leave it behind."""
    from filelock import FileLock, Timeout

    if not lock.exists():
        return False
    try:
        with FileLock(lock, timeout=0):
            return False
    except Timeout:
        return True
    except OSError:  # a read-only copy of somebody's run has no worker here
        return False


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _read_events(path: Path) -> list[dict[str, Any]]:
    """Return the whole lines of a history; one that is torn, or not JSON, is left out."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    events = []
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            events.append(record)
    return events
