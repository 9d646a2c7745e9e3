"""The queue of a root folder: one run, or one sweep, trains at a time; the one that was queued first goes first."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from pdc_core.runs.files import read_json
from pdc_core.runs.read import is_locked
from pdc_core.train import Stopped
from pdc_core.train.recorder import Request

COMMON_QUEUE = ".common-queue"  # a file in a folder whose folders of runs share one queue


class Turn:
    """Wait for the turn of a run or sweep among those of its root, and hold it inside a `with` block.

    Parameters
    ----------
    folder : Path
        The run folder or sweep folder, whose worker lock this process holds.
    requested : callable
        Asked every half second; a request ends the waiting.
    waiting : callable
        Called with what to say of the waiting.
    """

    def __init__(self, folder: Path, requested: Callable[[], Request | None], waiting: Callable[[str], None]) -> None:
        from filelock import FileLock

        self.folder, self.requested, self.waiting = folder, requested, waiting
        self.lock = FileLock(queue_folder(folder) / ".queue.lock")

    def __enter__(self) -> None:
        from filelock import Timeout

        while True:
            asked = self.requested()
            if asked is not None:
                state = "paused" if asked == "pause" else "stopped"
                raise Stopped(f"{state.capitalize()} while it waited in the queue.", state)
            ahead = _waiting_before(self.folder)
            if not ahead:
                try:
                    self.lock.acquire(timeout=0)
                    return
                except Timeout:
                    pass
            self.waiting(f"{ahead + 1} before this one")
            time.sleep(0.5)

    def __exit__(self, *_: object) -> None:
        self.lock.release()


def queue_folder(folder: Path) -> Path:
    """Return where a run waits: in the folder of its runs, or in the one above it where several of them share a queue.

    Parameters
    ----------
    folder : Path
        The run folder or sweep folder.
    """
    above = folder.absolute().parent.parent
    return above if (above / COMMON_QUEUE).exists() else folder.parent


def queued_since(folder: Path) -> tuple[float, str]:
    """Return what runs of a queue are sorted by: the seconds since 1970 at which a worker was launched, and the name.

    Parameters
    ----------
    folder : Path
        The run folder or sweep folder. Those of earlier versions do not say when; they come first, by name.
    """
    try:
        since = float((read_json(folder / "status.json") or {}).get("queued_at", 0.0))
    except (TypeError, ValueError):
        since = 0.0
    return since, folder.name


def runs_in_queue(folder: Path) -> list[Path]:
    """Return the folders of the runs and sweeps of a queue that ever had a worker, in any order.

    Parameters
    ----------
    folder : Path
        As `queue_folder` returns it.
    """
    below = "*/*/worker.lock" if (folder / COMMON_QUEUE).exists() else "*/worker.lock"
    return [lock.parent for lock in folder.glob(below)]


def _waiting_before(folder: Path) -> int:
    """Return how many runs and sweeps of the same queue have a worker that waits, and were queued earlier."""
    own = queued_since(folder)
    queued = [
        other
        for other in runs_in_queue(queue_folder(folder))
        if (read_json(other / "status.json") or {}).get("state") == "queued" and queued_since(other) < own
    ]
    return sum(is_locked(other / "worker.lock") for other in queued)
