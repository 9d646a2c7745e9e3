"""What a class leaves behind: folders of visitors who do not come back are removed, runs that take too long ended."""

from __future__ import annotations

import logging
import shutil
import time
from pathlib import Path
from threading import Thread

import streamlit as st

from pdc_core.runs import request_finish
from ui.class_queue import Place, read_queue
from ui.classroom import LIMITS, UPLOADS, own_root, size_of
from ui.visitors import class_root

EVERY = 60.0  # seconds
_SEEN = ".seen"  # a file in a visitor's folder whose time says when the visitor was here last
_log = logging.getLogger(__name__)


def note_visit() -> None:
    """Note that this visitor is here, once a minute, where there is a folder to keep; begin to keep house."""
    now = time.monotonic()
    if now - st.session_state.get("class_noted", -EVERY) >= EVERY:
        st.session_state["class_noted"] = now
        if own_root().is_dir():
            (own_root() / _SEEN).touch()
        _housekeeper(str(class_root()))


@st.cache_resource(show_spinner=False)
def _housekeeper(root: str) -> Thread:
    """Start the thread that keeps house as long as the server lives."""
    thread = Thread(target=_keep_house, args=(Path(root),), name="class housekeeping", daemon=True)
    thread.start()
    return thread


def _keep_house(root: Path) -> None:
    since: dict[Path, float] = {}
    while True:
        try:
            remove_expired(root, time.time())
            end_overdue(since, time.monotonic())
        except Exception:  # a folder that vanishes meanwhile must not end the thread
            _log.exception("The folders of the class could not be tidied.")
        time.sleep(EVERY)


def remove_expired(root: Path, now: float) -> list[str]:
    """Remove the folders of visitors who were not here for as long as they are kept; return whose.

    Parameters
    ----------
    root : Path
        The folder of the class.
    now : float
        Seconds since 1970.
    """
    at_work, removed = {place.visitor for place in read_queue()}, []
    for folder in root.glob("*/"):
        if folder.name.startswith(".") or folder.name in at_work:
            continue
        seen = folder / _SEEN
        last = (seen if seen.exists() else folder).stat().st_mtime
        if now - last > LIMITS.hours * 3600:
            shutil.rmtree(folder)
            removed.append(folder.name)
    return removed


def end_overdue(since: dict[Path, float], now: float) -> list[Path]:
    """Ask a run that trains twice as long as a run may take to finish where others wait; return which.

    Parameters
    ----------
    since : dict of Path to float
        When each run was first seen training; changed in place.
    now : float
        Seconds, on the clock of `since`.
    """
    queue: tuple[Place, ...] = read_queue()
    running = [place.folder for place in queue if place.state == "running"]
    for folder in [known for known in since if known not in running]:
        del since[folder]
    ended = []
    for folder in running:
        began = since.setdefault(folder, now)
        if len(queue) > len(running) and now - began > 2 * LIMITS.seconds:
            request_finish(folder)
            ended.append(folder)
    return ended


def remove_uploads() -> int:
    """Remove this visitor's uploads, and return how many bytes they were."""
    folder = own_root() / UPLOADS
    size = size_of(folder)
    shutil.rmtree(folder, ignore_errors=True)
    return size
