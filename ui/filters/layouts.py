"""UMAP in the background: pages ask, one process computes, nobody waits.

The first fit of a process compiles for 10 to 35 seconds, in Python: in a thread of the server it would hold up every
page. Two fits at once can abort a process, hence one after another.
"""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Lock

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from ui.network import FilterMap

_REMEMBERED = 512
_ROOT = Path(__file__).resolve().parents[2]
_AXES = ("UMAP, first axis (no unit)", "UMAP, second axis (no unit)")


class BackgroundMaps:
    """UMAP layouts by key, computed one after another."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="umap")
        self._futures: OrderedDict[tuple[str, ...], Future[FilterMap]] = OrderedDict()
        self._lock = Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def request(self, key: tuple[str, ...], vectors: NDArray[np.float64], seed: int) -> Future[FilterMap]:
        """Return the layout's future, started at the first request for `key`."""
        with self._lock:
            if key not in self._futures:
                self._futures[key] = self._thread.submit(self._lay_out, vectors, seed)
                while len(self._futures) > _REMEMBERED:
                    self._futures.popitem(last=False)[1].cancel()
            self._futures.move_to_end(key)
            return self._futures[key]

    def _lay_out(self, vectors: NDArray[np.float64], seed: int) -> FilterMap:
        """Have the process compute a layout; one that died is replaced at the next request."""
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
            raise RuntimeError("the process that computes UMAP has ended") from error
        if isinstance(answer, Exception):
            raise answer
        points, quality = answer
        return FilterMap(points, quality, _AXES)


@st.cache_resource(show_spinner=False)
def background_maps() -> BackgroundMaps:
    """Return the one queue of this server."""
    return BackgroundMaps()
