"""What a training loop reports and asks: its only contact with the world around it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from pdc_core.clustering import FloatArray, Labels

Request = Literal["stop", "pause", "finish"]


class Stopped(Exception):
    """Raised inside the loop when the recorder asked for it; a checkpoint was written, so the run can go on.

    Attributes
    ----------
    state : {"stopped", "paused"}
        What the run is now.
    """

    def __init__(self, message: str, state: str = "stopped") -> None:
        super().__init__(message)
        self.state = state


class Recorder:
    """What a training loop reports, and asks. This one keeps nothing; `runs.FolderRecorder` writes a run folder."""

    def event(self, record: dict[str, Any]) -> None:
        """Take one line of history."""

    def progress(self, step: int, steps: int, epoch: int, epochs: int) -> None:
        """Take how far the run is: steps done of all steps, epoch (from 1) of all epochs."""

    def frame(self, step: int, vectors: Callable[[], dict[str, FloatArray]]) -> None:
        """Take the filters of every group after `step` steps; calling `vectors` makes them, arrays (n, d) by group."""

    def labels(self, labels: Labels) -> None:
        """Take the labels as soon as they are known, and again when they change."""

    def requested(self) -> Request | None:
        """Return what somebody asks: "stop", "pause", "finish" (end here and fold the network as it is), or None."""
        return None

    def due(self) -> bool:
        """Return whether it is time for another checkpoint; asked before every step."""
        return False

    def checkpoint(self, state: Callable[[], dict[str, Any]]) -> None:
        """Take what is enough to go on from here; `state` makes it when called."""

    def last_checkpoint(self) -> str:
        """Return where the last checkpoint is, in words, for messages."""
        return "none, since nothing records this run"

    def resume(self) -> dict[str, Any] | None:
        """Return the state to go on from, or None to begin."""
        return None
