"""What a training loop tells and asks: the one way in which it touches the world around it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pdc_core.cluster import Labels


class Stopped(Exception):
    """Raised inside the loop when the recorder was asked to stop; what was recorded stays."""


class Recorder:
    """What a training loop tells, and asks. This one keeps nothing; `runs.FolderRecorder` writes a run folder."""

    def event(self, record: dict[str, Any]) -> None:
        """Take one line of history."""

    def progress(self, step: int, steps: int, epoch: int, epochs: int) -> None:
        """Take note that `step` of `steps` is done."""

    def labels(self, labels: Labels) -> None:
        """Take the labels as soon as they are known."""

    def stopping(self) -> bool:
        """Return whether somebody asked to stop."""
        return False

    def checkpoint(self, state: Callable[[], dict[str, Any]]) -> None:
        """Take what is enough to go on from here; `state` makes it when called."""

    def resume(self) -> dict[str, Any] | None:
        """Return the state to go on from, or None to begin."""
        return None
