"""UMAP in the background: pages ask, a single thread computes, nobody waits.

The first fit of a process compiles for 10 to 35 seconds and two fits at once can abort it, hence one thread.
"""

from __future__ import annotations

from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from pdc_core.embed import map_quality, umap_map
from ui.network import FilterMap

_REMEMBERED = 512


class BackgroundMaps:
    """UMAP layouts by key, computed one after another."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="umap")
        self._futures: OrderedDict[tuple[str, ...], Future[FilterMap]] = OrderedDict()
        self._lock = Lock()

    def request(self, key: tuple[str, ...], vectors: NDArray[np.float64], seed: int) -> Future[FilterMap]:
        """Return the layout's future, started at the first request for `key`."""
        with self._lock:
            if key not in self._futures:
                self._futures[key] = self._thread.submit(_layout, vectors, seed)
                while len(self._futures) > _REMEMBERED:
                    self._futures.popitem(last=False)[1].cancel()
            self._futures.move_to_end(key)
            return self._futures[key]


def _layout(vectors: NDArray[np.float64], seed: int) -> FilterMap:
    points = umap_map(vectors, seed=seed)
    return FilterMap(
        points, map_quality(vectors, points), ("UMAP, first axis (no unit)", "UMAP, second axis (no unit)")
    )


@st.cache_resource(show_spinner=False)
def background_maps() -> BackgroundMaps:
    """Return the one queue of this server."""
    return BackgroundMaps()
