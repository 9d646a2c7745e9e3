"""The lecturer of a class: whoever knows the PIN that the server was started with (PDC_CLASS_PIN)."""

from __future__ import annotations

import hmac
import os
import time
from collections import deque
from dataclasses import dataclass, field
from threading import Lock

import streamlit as st

from pdc_core.classroom import PIN, SHORTEST_PIN
from pdc_core.errors import PDCError
from ui.classroom import in_class
from ui.visitors import visitor

_TRIES, _SECONDS = 5, 60.0  # wrong PINs of one visitor in this time; all together may give ten times as many


@dataclass
class _Desk:
    """Who is a lecturer, and the wrong PINs of the last minute: (time, visitor)."""

    lecturers: set[str] = field(default_factory=set)
    wrong: deque[tuple[float, str]] = field(default_factory=deque)
    lock: Lock = field(default_factory=Lock)


@st.cache_resource(show_spinner=False)
def _desk() -> _Desk:
    return _Desk()


def has_pin() -> bool:
    """Tell whether this server was started with a PIN that is long enough to be one."""
    return len(os.environ.get(PIN, "")) >= SHORTEST_PIN


def is_lecturer() -> bool:
    """Tell whether this visitor has given the PIN since the server was started."""
    return in_class() and visitor() in _desk().lecturers


def give_pin(pin: str) -> None:
    """Make this visitor the lecturer.

    Raises
    ------
    PDCError
        The PIN is wrong, the server has none, or too many wrong ones were given in the last minute.
    """
    if not has_pin():
        raise PDCError(f"This server has no PIN of at least {SHORTEST_PIN} characters: pdc app --class --pin PIN")
    desk, now, name = _desk(), time.monotonic(), visitor()
    with desk.lock:
        while desk.wrong and now - desk.wrong[0][0] > _SECONDS:
            desk.wrong.popleft()
        own = sum(who == name for _, who in desk.wrong)
        if own >= _TRIES or len(desk.wrong) >= 10 * _TRIES:
            raise PDCError("Too many wrong PINs in the last minute; wait a minute and try again.")
        if not hmac.compare_digest(pin.strip().encode(), os.environ[PIN].encode()):
            desk.wrong.append((now, name))
            raise PDCError("That is not the PIN, which is shown in the terminal of the server.")
        desk.lecturers.add(name)


def leave() -> None:
    """Make this visitor one like all others."""
    _desk().lecturers.discard(visitor())
