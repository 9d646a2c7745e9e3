"""Waiting for the turn of a run or sweep: one of a queue trains at a time; the one that was queued first goes first.

A worker imports torch, which takes seconds and 200 MB, so that the runs of a class would wait in 6 GB. This file is
therefore a program too, which imports nothing of PDC, waits in a few megabytes, and then becomes the worker:

    python -P waiting.py FOLDER COMMAND...
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

COMMON_QUEUE = ".common-queue"  # a file in a folder whose folders of runs share one queue
REQUESTS = {"pause": "paused", "stop": "stopped", "finish": "stopped", "keep": "stopped"}  # and what a run is then
LOOK_EVERY, LOOK_RARELY, SAY_EVERY, STARTING = 0.5, 5.0, 5.0, 60.0  # seconds


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the object in a JSON file, or None where there is no whole one."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def is_locked(lock: Path) -> bool:
    """Return whether a living process holds the lock; a killed one cannot leave it behind.

    It is asked for as a shared lock, where the system has them: two who ask at once do not find each other's.
    """
    try:
        import fcntl
    except ImportError:
        return _is_locked_on_windows(lock)
    try:
        with lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
    except BlockingIOError:
        return True
    except OSError:  # there is none; or somebody else's run, which has no worker here
        return False


def _is_locked_on_windows(lock: Path) -> bool:
    from filelock import FileLock, Timeout

    if not lock.exists():
        return False
    try:
        with FileLock(lock, timeout=0):
            return False
    except Timeout:
        return True
    except OSError:
        return False


def is_starting(status: dict[str, Any]) -> bool:
    """Return whether a worker is still on its way to a queued run: it takes seconds to import torch.

    Parameters
    ----------
    status : dict
        The content of status.json.
    """
    if status.get("pid") is None:  # nobody was launched yet
        return _is_recent(status)
    if status.get("host") != platform.node():
        return False
    if os.name == "nt":  # where the signal 0 interrupts a process
        return _is_recent(status)
    try:
        os.kill(int(status["pid"]), 0)
    except PermissionError:
        return True
    except (ProcessLookupError, TypeError, ValueError, OverflowError):  # it has ended, or the file is damaged
        return False
    return True


def _is_recent(status: dict[str, Any]) -> bool:
    return abs(time.time() - _seconds(status, "heartbeat")) < STARTING  # the clock may have been set meanwhile


def _seconds(status: dict[str, Any], name: str) -> float:
    """Return a time in a status.json, in seconds since 1970; 0 where there is none."""
    try:
        return float(status.get(name, 0.0))
    except (TypeError, ValueError):
        return 0.0


def queue_folder(folder: Path) -> Path:
    """Return where a run waits: in the folder of its runs, or in the one above it where several of them share a queue.

    Parameters
    ----------
    folder : Path
        The run folder or sweep folder.
    """
    above = folder.absolute().parent.parent
    return above if (above / COMMON_QUEUE).exists() else folder.parent


def queue_lock(folder: Path) -> Path:
    """Return the lock that the run or sweep of a queue holds which trains.

    Parameters
    ----------
    folder : Path
        The run folder or sweep folder.
    """
    return queue_folder(folder) / ".queue.lock"


def queued_since(folder: Path) -> tuple[float, str]:
    """Return what runs of a queue are sorted by: the seconds since 1970 at which a worker was launched, and the name.

    Parameters
    ----------
    folder : Path
        The run folder or sweep folder. Those of earlier versions do not say when; they come first, by name.
    """
    return _seconds(read_json(folder / "status.json") or {}, "queued_at"), folder.name


def runs_in_queue(folder: Path) -> list[Path]:
    """Return the folders of the runs and sweeps of a queue that ever had a worker, in any order.

    Parameters
    ----------
    folder : Path
        As `queue_folder` returns it.
    """
    below = "*/*/worker.lock" if (folder / COMMON_QUEUE).exists() else "*/worker.lock"
    return [lock.parent for lock in folder.glob(below)]


def waiting_before(folder: Path) -> int:
    """Return how many runs and sweeps of the same queue wait and were queued earlier.

    Parameters
    ----------
    folder : Path
        The run folder or sweep folder.
    """
    own, count = queued_since(folder), 0
    for other in runs_in_queue(queue_folder(folder)):
        status = read_json(other / "status.json") or {}
        if status.get("state") == "queued" and queued_since(other) < own:
            # On its way to torch a worker holds no lock; the number of one that was killed may be another process's.
            count += is_locked(other / "worker.lock") or (_is_recent(status) and is_starting(status))
    return count


def before_this_one(ahead: int) -> str:
    """Say how many runs are before one that waits, the one that trains included.

    Parameters
    ----------
    ahead : int
        As `waiting_before` returns it.
    """
    return f"{ahead + 1} before this one"


def left_text(state: str) -> str:
    """Say that a run was stopped or paused before its turn.

    Parameters
    ----------
    state : {"stopped", "paused"}
        What it is now.
    """
    return f"{state.capitalize()} while it waited in the queue."


def wait(folder: Path) -> bool:
    """Wait for the turn of a run or sweep, and return whether it came; False if somebody asked it to stop or pause.

    Parameters
    ----------
    folder : Path
        The run folder or sweep folder.
    """
    from filelock import FileLock, Timeout

    said: tuple[str, float] = ("", 0.0)
    try:
        with FileLock(folder / "worker.lock", timeout=2):
            while True:
                if (state := _requested(folder)) is not None:
                    _say(folder, state, left_text(state))
                    (folder / "request").unlink(missing_ok=True)
                    return False
                ahead = waiting_before(folder)
                if not ahead and not is_locked(queue_lock(folder)):
                    return True
                message = before_this_one(ahead)
                if message != said[0] or time.monotonic() - said[1] >= SAY_EVERY:
                    _say(folder, "queued", message)
                    said = message, time.monotonic()
                time.sleep(min(LOOK_RARELY, LOOK_EVERY * (1 + ahead)))  # thirty that wait need not look all the time
    except Timeout:
        return True  # another worker has it: the one that starts now says so


def _requested(folder: Path) -> str | None:
    try:
        return REQUESTS.get((folder / "request").read_text(encoding="utf-8").strip())
    except OSError:
        return None


def _say(folder: Path, state: str, message: str) -> None:
    """Write status.json, whole: what it says besides stays."""
    file = folder / "status.json"
    now = {"state": state, "message": message, "heartbeat": time.time(), "pid": os.getpid(), "host": platform.node()}
    part = folder / f".status.json.{os.getpid()}.part"
    part.write_text(json.dumps({**(read_json(file) or {}), **now}), encoding="utf-8")
    part.replace(file)


def main(folder: str, *command: str) -> int:
    """Wait, then become the worker; return the exit code where that is a process of its own, or was not to come.

    Parameters
    ----------
    folder : str
        The run folder or sweep folder.
    *command : str
        The worker, a program with its arguments.
    """
    if not wait(Path(folder)):
        return 0
    if os.name == "nt":  # there, the process that takes this one's place has another id
        return subprocess.call(command)
    os.execv(command[0], command)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
