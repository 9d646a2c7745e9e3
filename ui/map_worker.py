"""What the process that lays filters out with UMAP runs; see `maps`. It ends with the server: its pipe closes."""

from __future__ import annotations

import os
from multiprocessing.connection import Connection

from pdc_core.embed import map_quality, umap_map

_NICE = 10  # a page comes first where both want the same core


def serve(pipe: Connection) -> None:
    """Answer (vectors, seed) with (points, trustworthiness) or with the error, until nobody asks any more."""
    if hasattr(os, "nice"):  # not on Windows
        os.nice(_NICE)
    while True:
        try:
            vectors, seed = pipe.recv()
        except EOFError:
            return
        try:
            points = umap_map(vectors, seed=seed)
            pipe.send((points, map_quality(vectors, points)))
        except Exception as error:  # handed on to whoever asked
            pipe.send(error)
