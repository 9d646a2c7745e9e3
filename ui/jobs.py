"""Long computations of the server: a page asks for one, draws what is there, and looks again later.

Jobs are kept by a key made from content, so sessions that ask for the same work share it. Each lane does one job at a
time: "page" for what a page waits for, "sensitivity", "umap" and "export" for what takes longer, so that none holds up
another or a page.
"""

from __future__ import annotations

import atexit
import gc
import logging
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from importlib import import_module
from queue import SimpleQueue
from threading import Event, Lock, Thread
from typing import Any, Generic, TypeVar
from uuid import uuid4

import streamlit as st

from pdc_core.errors import PDCError

T = TypeVar("T")
Key = tuple[str, ...]
PAGE = "page"
_REMEMBERED = 512  # ended jobs
_SESSION = "job_session"
_log = logging.getLogger(__name__)


class Cancelled(Exception):
    """Raised in a job's work to end it after its last session has left."""


class Job(Generic[T]):
    """One computation: waiting, under way, finished, failed or cancelled.

    Attributes
    ----------
    key : tuple of str
        What it computes; the same content has the same key.
    lane : str
        Jobs of one lane are done one after another.
    share : float, 0 to 1
        How much is done; it never falls.
    partial : T or None
        The result so far, for work that reports one.
    """

    def __init__(self, key: Key, lane: str, work: Callable[[Job[T]], T]) -> None:
        self.key, self.lane = key, lane
        self.share = 0.0
        self.partial: T | None = None
        self._work: Callable[[Job[T]], T] | None = work
        self._future: Future[T] = Future()
        self._stop = Event()
        self._lock = Lock()
        self._waiting: set[str] = set()
        self._left: set[str] = set()

    # What a page asks.

    @property
    def done(self) -> bool:
        """Whether it has ended, in whatever way."""
        return self._future.done()

    @property
    def queued(self) -> bool:
        """Whether it has not begun."""
        return not self._future.running() and not self.done

    @property
    def cancelled(self) -> bool:
        """Whether it ended without a result because every session left."""
        return self._future.cancelled() or (self.done and isinstance(self._future.exception(), Cancelled))

    @property
    def error(self) -> BaseException | None:
        """The exception that ended it, None where there is none."""
        return self._future.exception() if self.done and not self.cancelled else None

    @property
    def value(self) -> T | None:
        """The result, None until it is there; a failed job raises its exception at every session that asks."""
        return self._future.result() if self.done and not self.cancelled else None

    @property
    def known(self) -> T | None:
        """The result, None also where the job failed."""
        return None if self.error else self.value

    def wait(self, seconds: float | None = None) -> None:
        """Wait until it has ended, or until the time is up."""
        with suppress(CancelledError, TimeoutError):
            self._future.exception(seconds)

    def join(self, session: str, again: bool = False) -> None:
        """Count a session among those that wait for the result; one that has left comes back only with `again`."""
        with self._lock:
            if again:
                self._left.discard(session)
            if session not in self._left:
                self._waiting.add(session)

    def leave(self, session: str) -> None:
        """Take a session's interest back; the job stops when the last one leaves."""
        with self._lock:
            self._waiting.discard(session)
            self._left.add(session)
            if not self._waiting:
                self.stop()

    def stop(self) -> None:
        """Cancel it for everybody: at once if it has not begun; work under way ends at its next step."""
        self._stop.set()
        self._future.cancel()

    def left_by(self, session: str) -> bool:
        """Tell whether a session has cancelled it."""
        return session in self._left

    # What its work asks.

    @property
    def stopping(self) -> bool:
        """Whether every session has left: the work should end soon, by raising `Cancelled`."""
        return self._stop.is_set()

    def report(self, done: int, steps: int, partial: T | None = None) -> None:
        """Say how far the work is and, if there is one, its result so far."""
        self.share = max(self.share, min(1.0, done / steps) if steps else 1.0)
        if partial is not None:
            self.partial = partial

    def progress(self, done: int, steps: int, partial: T | None = None) -> None:
        """Report how far the work is, and end it here if every session has left."""
        self.report(done, steps, partial)
        if self.stopping:
            raise Cancelled

    def run(self) -> None:
        """Do the work in this thread."""
        if not self._future.set_running_or_notify_cancel():
            return
        assert self._work is not None
        try:
            result = self._work(self)
            with self._lock:
                self._future.set_result(result)
                self._work = None  # it holds a network, and is not needed again
        except Exception as error:  # handed on to whoever asks for the value
            if not isinstance(error, Cancelled | PDCError):
                _log.exception("The job %s failed.", self.key[:1])
            self._future.set_exception(error)

    def another(self) -> Job[T] | None:
        """Return a fresh job for the same work, None where this one has a result."""
        with self._lock:
            return Job(self.key, self.lane, self._work) if self._work is not None else None


class Jobs:
    """The queue of a server: jobs by key, one thread for each lane."""

    def __init__(self) -> None:
        self._lanes: dict[str, SimpleQueue[Job[Any]]] = {}
        self._jobs: OrderedDict[Key, Job[Any]] = OrderedDict()
        self._lock = Lock()

    def known(self, key: Key) -> Job[Any] | None:
        """Return the job of a key if anybody has asked for it, without waiting for it."""
        with self._lock:
            return self._jobs.get(key)

    def request(
        self, key: Key, work: Callable[[Job[T]], T], session: str, *, lane: str = PAGE, wait: bool = False
    ) -> Job[T]:
        """Return the job of a key, started at the first request.

        A job that failed, or that this session cancelled, is returned as it is: `restart` starts it again. One that
        other sessions cancelled is started again here.

        Parameters
        ----------
        key : tuple of str
            What is computed.
        work : callable
            Called with the job, to which it reports its progress; returns the result.
        session : str
            Who waits for it.
        lane : str, default "page"
            Jobs of one lane are done one after another.
        wait : bool, default False
            Whether to do the work here and now.
        """
        with self._lock:
            job: Job[T] | None = self._jobs.get(key)
            fresh = job is None or (job.stopping and job.known is None and not job.left_by(session))
            if job is None or fresh:
                job = self._add(Job(key, lane, work))
            job.join(session)
            self._jobs.move_to_end(key)
            if fresh and not wait:
                self._submit(job)
        if fresh and wait:
            job.run()
        elif wait:
            job.wait()  # another session is at it
        return job

    def restart(self, job: Job[T], session: str) -> Job[T]:
        """Start a job that failed or was cancelled again, or wait again for one that others still wait for."""
        with self._lock:
            now: Job[T] = self._jobs.get(job.key, job)
            if (now.stopping or now.error is not None) and (fresh := now.another()) is not None:
                now = self._add(fresh)
                self._submit(now)
            now.join(session, again=True)
        return now

    def _add(self, job: Job[T]) -> Job[T]:
        self._jobs[job.key] = job
        ended = [key for key, each in self._jobs.items() if each.done]
        for key in ended[: max(0, len(ended) - _REMEMBERED)]:
            del self._jobs[key]
        return job

    def _submit(self, job: Job[Any]) -> None:
        if job.lane not in self._lanes:
            self._lanes[job.lane] = SimpleQueue()
            # A daemon: an executor's thread would do all queued work before the server may end.
            Thread(target=_work_off, args=(self._lanes[job.lane],), name=job.lane, daemon=True).start()
        self._lanes[job.lane].put(job)

    def close(self, seconds: float = 2.0) -> None:
        """Cancel everything; wait up to `seconds` for each job under way."""
        with self._lock:
            unfinished = [job for job in self._jobs.values() if not job.done]
        for job in unfinished:
            job.stop()
        for job in unfinished:
            job.wait(seconds)


def _work_off(queue: SimpleQueue[Job[Any]]) -> None:
    while True:
        queue.get().run()


@st.cache_resource(show_spinner=False)
def jobs() -> Jobs:
    """Return the one queue of this server; it is closed when the server ends."""
    queue = Jobs()
    atexit.register(queue.close)
    return queue


def this_session() -> str:
    """Return a name for this session among those that wait for jobs."""
    return str(st.session_state.setdefault(_SESSION, uuid4().hex))


def request(key: Key, work: Callable[[Job[T]], T], *, lane: str = PAGE, wait: bool = False) -> Job[T]:
    """Ask this server's queue for a job on behalf of this session; see `Jobs.request`."""
    return jobs().request(key, work, this_session(), lane=lane, wait=wait)


def prepare_clustering() -> None:
    """Import what the pages after the first one need: scikit-learn takes seconds, which a person spends reading."""
    request(("import", "sklearn.cluster"), lambda job: _import("sklearn.cluster"))


def _import(name: str) -> None:
    """Import a module and take all that is loaded now out of later garbage collections, which hold up every session."""
    import_module(name)
    gc.collect()
    gc.freeze()
