"""UMAP in the background: pages ask, one process computes, nobody waits.

The first fit of a process compiles for 10 to 35 seconds, in Python: in a thread of the server it would hold up every
page. Two fits at once can abort a process, so the jobs have a lane of their own.
"""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from pdc_core.errors import PDCError
from ui.jobs import Job, Key, jobs, request, this_session
from ui.network import FilterMap

LANE = "umap"
_LATEST = "latest_layout"
_ROOT = Path(__file__).resolve().parents[2]
_AXES = ("UMAP, first axis (no unit)", "UMAP, second axis (no unit)")


class LayoutProcess:
    """The process that computes UMAP layouts, one at a time; one that died is replaced at the next request."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def lay_out(self, vectors: NDArray[np.float64], seed: int) -> FilterMap:
        """Return the layout of vectors, (n, d); called from one thread only.

        Raises
        ------
        PDCError
            The process has ended.
        Exception
            Whatever UMAP raised there.
        """
        if self._process is None or self._process.poll() is not None:
            # Not multiprocessing: it would run app.py once more in the new process, which is `__main__` here.
            command = [sys.executable, "-m", "ui.filters.layout_worker"]
            self._process = subprocess.Popen(command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            pickle.dump((vectors, seed), self._process.stdin)
            self._process.stdin.flush()
            answer = pickle.load(self._process.stdout)
        except (EOFError, OSError) as error:
            raise PDCError("The process that computes UMAP has ended.") from error
        if isinstance(answer, Exception):
            raise answer
        points, quality = answer
        return FilterMap(points, quality, _AXES)


@st.cache_resource(show_spinner=False)
def layout_process() -> LayoutProcess:
    """Return the one process of this server."""
    return LayoutProcess()


def request_layout(key: Key, vectors: NDArray[np.float64], seed: int) -> Job[FilterMap]:
    """Ask for a UMAP layout; the one that this session asked for before is cancelled if it has not begun."""
    key = ("umap", *key, str(seed))
    latest = st.session_state.get(_LATEST)
    if latest is not None and latest != key and (old := jobs().known(latest)) is not None and old.queued:
        old.leave(this_session())
    st.session_state[_LATEST] = key
    job = request(key, lambda _: layout_process().lay_out(vectors, seed), lane=LANE)
    return jobs().restart(job, this_session()) if job.left_by(this_session()) else job
