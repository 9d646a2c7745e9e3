"""The queue of a class: whose runs train and wait, how long that takes, and who may start another one.

One run trains at a time, and each visitor has one in the queue at most: so whoever asked first goes first.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import streamlit as st

from pdc_core.durations import duration
from pdc_core.errors import PDCError
from pdc_core.files import write_whole
from pdc_core.runs.read import state_of
from pdc_core.runs.waiting import is_locked, queued_since, read_json
from ui.classroom import in_class
from ui.visitors import class_root, visitor

_EXPECTED = "expected.json"  # in a run folder: the seconds that it was said to take
_UNKNOWN = 60.0  # seconds of a run of which nothing is known
_starting = threading.Lock()


@dataclass(frozen=True)
class Place:
    """A run under way or waiting: its folder, whose it is, its state, and the seconds that it still takes."""

    folder: Path
    visitor: str
    state: str
    seconds: float


def read_queue() -> tuple[Place, ...]:
    """Return the runs of the class that train or wait, in the order in which they are done."""
    found = []
    for file in class_root().glob("*/*/status.json"):
        status = read_json(file) or {}
        if status.get("state") in ("queued", "running"):
            state = state_of(status, is_locked(file.with_name("worker.lock")), "interrupted")
            if state in ("queued", "running"):
                found.append(Place(file.parent, file.parent.parent.name, state, _seconds_left(file.parent, status)))
    return tuple(sorted(found, key=lambda place: (place.state != "running", *queued_since(place.folder))))


@st.cache_data(ttl=1.0, max_entries=4, show_spinner=False)
def _recent_queue(root: str) -> tuple[Place, ...]:
    return read_queue()


def class_queue() -> tuple[Place, ...]:
    """Return `read_queue`, at most a second old; nothing without a class."""
    return _recent_queue(str(class_root())) if in_class() else ()


def own_place() -> Place | None:
    """Return this visitor's run in the queue, if there is one."""
    return next((place for place in class_queue() if place.visitor == visitor()), None)


def waiting_text(folder: Path) -> str:
    """Return the position of a run in the queue of the class and its wait, in words; "" where it does not wait."""
    queue = class_queue()
    places = [place.folder.resolve() for place in queue]
    if folder.resolve() not in places or queue[places.index(folder.resolve())].state != "queued":
        return ""
    at = places.index(folder.resolve())
    if at == 0:
        return "next in the queue of the class"
    return f"{at} before yours in the queue of the class, about {duration(sum(each.seconds for each in queue[:at]))}"


def ahead_text() -> str:
    """Return what a new run would wait for, in words that follow "Takes about 20 s"; "" for nothing."""
    queue = class_queue()
    if not queue:
        return ""
    wait = duration(sum(place.seconds for place in queue))
    return f", after {len(queue)} run{'s' if len(queue) > 1 else ''} of the class (about {wait})"


@contextmanager
def admission() -> Iterator[None]:
    """Let one visitor start a run inside the block, if none of theirs trains or waits.

    Raises
    ------
    PDCError
        One does.
    """
    if not in_class():
        yield
        return
    with _starting:
        own = [place for place in read_queue() if place.visitor == visitor()]
        if own:
            raise PDCError(
                f"Your run {own[0].folder.name} is {own[0].state}; in a class, each visitor has one run in the queue. "
                "Wait for it, or stop it."
            )
        yield
    _recent_queue.clear()


def expect(folder: Path, seconds: float) -> None:
    """Note how long a run takes, for those who wait for it."""
    write_whole(folder / _EXPECTED, json.dumps({"seconds": seconds}))


def _seconds_left(folder: Path, status: dict[str, Any]) -> float:
    left = status.get("eta_seconds")
    if status.get("state") == "running" and isinstance(left, int | float):
        return float(left)
    expected = (read_json(folder / _EXPECTED) or {}).get("seconds", _UNKNOWN)
    return float(expected) if isinstance(expected, int | float) else _UNKNOWN
