"""UMAP in the background: pages ask, one process computes, nobody waits.

The first fit of a process compiles for 10 to 35 seconds, in Python: in a thread of the server it would hold up every
page. Two fits at once can abort a process, hence one after another.
"""

from __future__ import annotations

import multiprocessing
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from threading import Lock

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from ui.map_worker import serve
from ui.network import FilterMap

_REMEMBERED = 512
_AXES = ("UMAP, first axis (no unit)", "UMAP, second axis (no unit)")


class BackgroundMaps:
    """UMAP layouts by key, computed one after another."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="umap")
        self._futures: OrderedDict[tuple[str, ...], Future[FilterMap]] = OrderedDict()
        self._lock = Lock()
        self._process: BaseProcess | None = None
        self._pipe: Connection | None = None

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
        pipe = self._connected()
        try:
            pipe.send((vectors, seed))
            answer = pipe.recv()
        except (EOFError, OSError) as error:
            raise RuntimeError("the process that computes UMAP has ended") from error
        if isinstance(answer, Exception):
            raise answer
        points, quality = answer
        return FilterMap(points, quality, _AXES)

    def _connected(self) -> Connection:
        if self._pipe is None or self._process is None or not self._process.is_alive():
            context = multiprocessing.get_context("spawn")  # a fork would copy threads in the middle of their work
            self._pipe, theirs = context.Pipe()
            self._process = context.Process(target=serve, args=(theirs,), name="umap", daemon=True)
            self._process.start()
            theirs.close()  # so that the pipe ends when the process does
        return self._pipe


@st.cache_resource(show_spinner=False)
def background_maps() -> BackgroundMaps:
    """Return the one queue of this server."""
    return BackgroundMaps()
