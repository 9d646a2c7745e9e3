"""What a training loop reports and asks: its only contact with the world around it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Literal

from pdc_core.clustering import FloatArray, Labels

Request = Literal["stop", "pause", "finish"]


class Stopped(Exception):
    """Raised inside the loop when the recorder asked for it; a checkpoint was written, so the run can go on.

    Parameters
    ----------
    message : str
        What happened, in words.

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
        """Take one line of history.

        Parameters
        ----------
        record : dict
            Numbers by name, with "kind" ("train" or "evaluation") and "step".
        """

    def progress(self, step: int, steps: int, epoch: int, epochs: int) -> None:
        """Take how far the run is.

        Parameters
        ----------
        step, steps : int
            Steps done, and of all epochs together.
        epoch, epochs : int
            Epoch under way, from 1, and how many there are.
        """

    def activity(self, what: str) -> None:
        """Take what the run does beside its steps, which takes a while on large images.

        Parameters
        ----------
        what : str
            In a few words, such as "timing forward passes".
        """

    def frame(self, step: int, vectors: Callable[[], dict[str, FloatArray]]) -> None:
        """Take the filters of every group.

        Parameters
        ----------
        step : int
            Steps done.
        vectors : callable
            Returns the filters, arrays (n, d) by group; they are computed when it is called.
        """

    def labels(self, labels: Labels) -> None:
        """Take the labels as soon as they are known, and again when they change.

        Parameters
        ----------
        labels : dict of str to int array, shape (n,)
            The cluster of every filter, by group.
        """

    def weak_teacher(self, sentence: str) -> None:
        """Take that the teacher is hardly better than guessing. This one warns; another may raise, which ends the run.

        Parameters
        ----------
        sentence : str
            Its accuracy, and that of guessing.
        """
        warnings.warn(sentence, stacklevel=2)

    def requested(self) -> Request | None:
        """Return what somebody asks: "stop", "pause", "finish" (end here and fold the network as it is), or None."""
        return None

    def due(self) -> bool:
        """Return whether it is time for another checkpoint; asked before every step."""
        return False

    def checkpoint(self, state: Callable[[], dict[str, Any]]) -> None:
        """Take what is enough to resume from here.

        Parameters
        ----------
        state : callable
            Returns the state, of tensors and plain values; it is made when it is called.
        """

    def last_checkpoint(self) -> str:
        """Return where the last checkpoint is, in words, for messages."""
        return "none, since nothing records this run"

    def resume(self) -> dict[str, Any] | None:
        """Return the state to go on from, or None to begin."""
        return None
