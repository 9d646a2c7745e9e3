"""The queue of a root folder: one run, or one sweep, trains at a time; the oldest first."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from pdc_core.runs.files import read_json
from pdc_core.runs.read import is_locked
from pdc_core.train import Stopped
from pdc_core.train.recorder import Request


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
        self.lock = FileLock(folder.parent / ".queue.lock")

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


def _waiting_before(folder: Path) -> int:
    """Return how many runs and sweeps of the same root have a worker that waits, and a smaller name."""
    locks = [lock for lock in folder.parent.glob("*/worker.lock") if lock.parent.name < folder.name]
    queued = [lock for lock in locks if (read_json(lock.parent / "status.json") or {}).get("state") == "queued"]
    return sum(map(is_locked, queued))
