"""The turn of a worker: held while it trains, waited for where it was started without `waiting`."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from pdc_core.runs.waiting import LOOK_EVERY, REQUESTS, before_this_one, left_text, queue_lock, waiting_before
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
        self.lock = FileLock(queue_lock(folder))

    def __enter__(self) -> None:
        from filelock import Timeout

        while True:
            asked = self.requested()
            if asked is not None:
                raise Stopped(left_text(REQUESTS[asked]), REQUESTS[asked])
            ahead = waiting_before(self.folder)
            if not ahead:
                try:
                    self.lock.acquire(timeout=0)
                    return
                except Timeout:
                    pass
            self.waiting(before_this_one(ahead))
            time.sleep(LOOK_EVERY)

    def __exit__(self, *_: object) -> None:
        self.lock.release()
