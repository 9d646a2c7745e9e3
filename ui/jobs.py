"""Long computations of the server, one at a time in a thread of their own: a page asks, draws, and looks again later.

Results are kept by a key made from content, so every session that asks for the same work shares it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from importlib import import_module
from threading import Lock
from typing import Any, Generic, TypeVar

import streamlit as st

T = TypeVar("T")
Progress = Callable[[int, int], None]
_REMEMBERED = 128
_LOOK_EVERY = 0.5  # seconds


class Watched(Generic[T]):
    """One computation under way or finished.

    Attributes
    ----------
    future : its result or its error.
    share : how much is done, 0 to 1.
    """

    def __init__(self) -> None:
        self.future: Future[T] = Future()
        self.share = 0.0

    @property
    def done(self) -> bool:
        """Whether there is a result, or an error."""
        return self.future.done()

    @property
    def value(self) -> T | None:
        """The result, None until it is there; an error of the computation is raised here."""
        return self.future.result() if self.future.done() else None

    def run(self, work: Callable[[Progress], T]) -> None:
        """Do the work in this thread."""

        def progress(done: int, steps: int) -> None:
            self.share = done / steps if steps else 1.0

        try:
            self.future.set_result(work(progress))
        except Exception as error:  # handed on to whoever asks for the value
            self.future.set_exception(error)


class Background:
    """Computations by key, done one after another."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="background")
        self._known: OrderedDict[tuple[str, ...], Watched[Any]] = OrderedDict()
        self._lock = Lock()

    def request(self, key: tuple[str, ...], work: Callable[[Progress], T], wait: bool = False) -> Watched[T]:
        """Return the computation `key`, started at the first request; `wait` does it here and now."""
        with self._lock:
            known = self._known.get(key)
            if known is None:
                known = self._known[key] = Watched()
                fresh = True
                while len(self._known) > _REMEMBERED:
                    self._known.popitem(last=False)
            else:
                fresh = False
            self._known.move_to_end(key)
        if fresh and wait:
            known.run(work)
        elif fresh:
            self._thread.submit(known.run, work)
        elif wait:
            known.future.exception()  # another session is at it
        return known


@st.cache_resource(show_spinner=False)
def background() -> Background:
    """Return the one queue of this server."""
    return Background()


def prepare_clustering() -> None:
    """Import what the pages after the first one need: scikit-learn takes seconds, which a person spends reading."""
    background().request(("import", "sklearn.cluster"), lambda progress: import_module("sklearn.cluster"))


def show_progress(watched: Watched[Any], text: str) -> None:
    """Draw a bar that follows a computation; when it ends the page runs once more."""

    @st.fragment(run_every=_LOOK_EVERY)
    def follow() -> None:
        if watched.done:
            st.rerun()
        st.progress(watched.share, text=text)

    if not watched.done:
        follow()
