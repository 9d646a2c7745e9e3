"""Writes what the loop reports into a run folder, and reads requests from it."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pdc_core.analysis.trajectories import Track
from pdc_core.clustering import FloatArray, Labels
from pdc_core.errors import PDCError
from pdc_core.runs.checkpoint import newest_checkpoint, write_checkpoint
from pdc_core.runs.files import SWEEP_FILE, append, table, write, write_events, write_labels
from pdc_core.runs.waiting import read_json
from pdc_core.train import Recorder
from pdc_core.train.recorder import Request

TRAINING = "training"  # the message of a run that makes its steps
HEARTBEAT_EVERY = 0.5  # seconds between writes of status.json
FRAMES_EVERY = 2.0  # seconds between writes of trajectory.npz, which is written whole
CSV_EVERY = 10.0  # seconds between writes of history.csv, which is written whole
# What the file `request` may hold; "keep" is what earlier versions wrote for "finish".
_REQUESTS: dict[str, Request] = {"stop": "stop", "pause": "pause", "finish": "finish", "keep": "finish"}


class WeakTeacher(PDCError):
    """Raised where a run would distil from a network near chance and its run.yaml does not allow that."""


class FolderRecorder(Recorder):
    """Writes what the loop reports into a run folder, and reads requests from it.

    Parameters
    ----------
    folder : Path
        The run folder.
    show : callable, optional
        Called with (step, steps).
    tell : callable, optional
        Called with what the run does beside its steps.
    checkpoint_seconds : float, default 60.0
        A checkpoint is due when the last one is older.
    tensorboard : bool, default False
        Whether event files for TensorBoard are written as well.
    allow_weak_teacher : bool, default False
        Whether a run may begin whose teacher is hardly better than guessing.
    """

    def __init__(
        self,
        folder: Path,
        show: Callable[[int, int], None] | None = None,
        *,
        tell: Callable[[str], None] | None = None,
        checkpoint_seconds: float = 60.0,
        tensorboard: bool = False,
        allow_weak_teacher: bool = False,
    ) -> None:
        self.folder, self.show, self.tell, self.checkpoint_seconds = folder, show, tell, checkpoint_seconds
        self.sweep = folder.parent if (folder.parent / SWEEP_FILE).exists() else None
        self.began: tuple[float, int] | None = None
        self.written = self.tabled = self.drawn = 0.0
        self.track = Track()
        self.saved = time.monotonic()
        self.history: list[dict[str, Any]] = []
        self.kept: str | None = None
        self.status: dict[str, Any] = new_status(folder)
        self.tensorboard, self.board = tensorboard, None
        self.allow_weak_teacher = allow_weak_teacher

    def state(self, state: str, message: str = "", **more: Any) -> None:
        """Write status.json.

        Parameters
        ----------
        state : str
            One of `STATES`, such as "running".
        message : str, default ""
            What happens, in words.
        **more : Any
            Further entries, such as step and eta_seconds; earlier ones stay.
        """
        self.status.update(state=state, message=message, heartbeat=time.time(), **more)
        self.written = time.monotonic()
        write(self.folder / "status.json", json.dumps(self.status))

    def event(self, record: dict[str, Any]) -> None:
        append(self.folder / "events.jsonl", json.dumps(record))
        self.history.append(record)
        if self.board is not None:
            for name, value in record.items():
                if isinstance(value, float):
                    self.board.add_scalar(f"{record['kind']}/{name}", value, record["step"])
        if record["kind"] == "evaluation" and time.monotonic() - self.tabled >= CSV_EVERY:
            self.close()

    def close(self) -> None:
        """Write history.csv."""
        self.tabled = time.monotonic()
        write(self.folder / "history.csv", table(self.history))
        if self.board is not None:
            self.board.flush()

    def progress(self, step: int, steps: int, epoch: int, epochs: int) -> None:
        now = time.monotonic()
        self.began = self.began or (now, step)
        done = step - self.began[1]
        eta = (now - self.began[0]) / done * (steps - step) if done else None
        if self.show is not None:
            self.show(step, steps)
        if step == steps or now - self.written >= HEARTBEAT_EVERY:
            self.state("running", TRAINING, step=step, steps=steps, epoch=epoch, epochs=epochs, eta_seconds=eta)

    def activity(self, what: str) -> None:
        self.state("running", what)
        if self.tell is not None:
            self.tell(what)

    def frame(self, step: int, vectors: Callable[[], dict[str, FloatArray]]) -> None:
        found = vectors()
        if found:
            self.track.add(step, found)
            if time.monotonic() - self.drawn >= FRAMES_EVERY:
                self._write_track()

    def _write_track(self) -> None:
        self.drawn = time.monotonic()
        write(self.folder / "trajectory.npz", self.track.to_bytes())

    def labels(self, labels: Labels) -> None:
        write_labels(self.folder, labels)

    def weak_teacher(self, sentence: str) -> None:
        if self.allow_weak_teacher or newest_checkpoint(self.folder) is not None:  # what has begun goes on
            return
        raise WeakTeacher(
            f"{sentence} Train it first (pdc teach) and give the result as --weights, or allow it: "
            "--allow-weak-teacher, or allow_weak_teacher: true in run.yaml."
        )

    def requested(self) -> Request | None:
        return read_request(self.folder) or (read_request(self.sweep) if self.sweep else None)

    def due(self) -> bool:
        return time.monotonic() - self.saved >= self.checkpoint_seconds

    def checkpoint(self, state: Callable[[], dict[str, Any]]) -> None:
        content = state()
        self._write_track()  # before the checkpoint: a run that resumes finds every frame up to it
        write_checkpoint(self.folder, content)
        self.saved = time.monotonic()
        self.kept = f"{self.folder / 'last.ckpt'} (step {content['step']})"

    def last_checkpoint(self) -> str:
        return self.kept or "none yet"

    def resume(self) -> dict[str, Any] | None:
        found = newest_checkpoint(self.folder)
        self.history = list(found[1]["history"]) if found else []  # events after the checkpoint will happen again
        write_events(self.folder, self.history)
        if self.tensorboard:
            self.board = _board(self.folder, found[1]["step"] + 1 if found else 0)
        if found is None:
            return None
        path, state = found
        self.track = Track.restore(self.folder / "trajectory.npz", state["step"])
        self.kept = f"{path} (step {state['step']})"
        return state


def new_status(folder: Path) -> dict[str, Any]:
    """Return the first entries of a worker's status.json: who it is, and since when it waits or works.

    Parameters
    ----------
    folder : Path
        The run folder or sweep folder, whose present status says when it was queued.
    """
    now = time.time()
    queued = (read_json(folder / "status.json") or {}).get("queued_at", now)
    return {"pid": os.getpid(), "host": platform.node(), "started": now, "queued_at": queued}


def read_request(folder: Path) -> Request | None:
    """Return what somebody asked of the worker of a run or a sweep, if anything.

    Parameters
    ----------
    folder : Path
        The run folder or sweep folder.
    """
    try:
        asked = (folder / "request").read_text(encoding="utf-8").strip()
    except OSError:
        return None
    return _REQUESTS.get(asked)


def _board(folder: Path, first: int) -> Any:
    """Return a writer of TensorBoard's event files that forgets what was written for step `first` and later."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise PDCError("--tensorboard needs the package tensorboard; pip install -e '.[tensorboard]'.") from error
    return SummaryWriter(str(folder / "tensorboard"), purge_step=first)
