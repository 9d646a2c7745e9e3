"""Sensitivity in the background: measured once per content, with progress, shared by sessions, stopped by the last one.

The counts, accuracies and divergences are those of `pdc_core.estimates`; on disk they lie beside the runs.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Lock
from uuid import uuid4

import pandas as pd
import streamlit as st

from pdc_core import charts
from pdc_core.errors import PDCError
from pdc_core.estimates import Sensitivity, sensitivity
from pdc_core.runs import runs_root
from ui.current_plan import network_key
from ui.drawing import figure, percent
from ui.jobs import Watched
from ui.network import Network

_LOOK_EVERY = 0.7  # seconds
_WHO = "sensitivity_watcher"


class Measurement(Watched[Sensitivity]):
    """A sensitivity under way or finished.

    Attributes
    ----------
    so_far : what is known already.
    watchers : sessions that wait for it; it stops when the last one cancels.
    stop : set when it is to stop.
    """

    def __init__(self) -> None:
        super().__init__()
        self.so_far: Sensitivity | None = None
        self.watchers: set[str] = set()
        self.stop = Event()

    def cancel(self, who: str) -> None:
        """Take a session's interest back."""
        self.watchers.discard(who)
        if not self.watchers:
            self.stop.set()


class Measurements:
    """Sensitivities by content, measured one after another in a thread of their own."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sensitivity")
        self._known: dict[str, Measurement] = {}
        self._lock = Lock()

    def known(self, key: str) -> Measurement | None:
        """Return a measurement that was asked for before and was not stopped."""
        with self._lock:
            found = self._known.get(key)
        return None if found is None or (found.stop.is_set() and found.done) else found

    def request(self, key: str, who: str, work: Callable[[Measurement], Sensitivity]) -> Measurement:
        """Return the measurement `key`, started unless it is under way or finished."""
        with self._lock:
            found = self._known.get(key)
            if found is None or found.stop.is_set():
                found = self._known[key] = Measurement()
                measurement = found
                self._thread.submit(lambda: measurement.run(lambda _: work(measurement)))
            found.watchers.add(who)
        return found


@st.cache_resource(show_spinner=False)
def measurements() -> Measurements:
    """Return the one queue of this server."""
    return Measurements()


def measured(network: Network) -> Sensitivity | None:
    """Return the whole sensitivity of a network, if it is there."""
    found = measurements().known(network_key(network))
    if found is None or not found.done or found.future.exception() is not None:
        return None
    value = found.value
    return value if value is not None and value.complete else None


def _start(network: Network) -> None:
    folder = runs_root() / "sensitivity"

    def work(measurement: Measurement) -> Sensitivity:
        def progress(done: int, steps: int, so_far: Sensitivity) -> None:
            measurement.share, measurement.so_far = done / steps, so_far

        return sensitivity(
            copy.deepcopy(network.module),
            network.graph,
            network.data,
            progress=progress,
            stop=measurement.stop.is_set,
            cache=folder,
        )

    measurements().request(network_key(network), _who(), work)


def _who() -> str:
    return str(st.session_state.setdefault(_WHO, uuid4().hex))


def draw_sensitivity(network: Network) -> None:
    """Draw the curves of all groups, with a button, or with progress and cancel while they are measured."""
    found = measurements().known(network_key(network))
    if len(network.data.val) == 0:
        st.info("There are no validation images of this data, so nothing can be measured; load some on the page Model.")
        return
    if found is None:
        st.markdown(
            "Each layer alone, clustered at several counts: nothing is trained, norm statistics are measured again, "
            "and the accuracy on validation images shows which layers can give most."
        )
        st.button("Measure the sensitivity", type="primary", on_click=_start, args=(network,), key="measure")
        return
    _follow(network, found)


def _follow(network: Network, found: Measurement) -> None:
    was_done = found.done

    @st.fragment(run_every=None if was_done else _LOOK_EVERY)
    def follow() -> None:
        if found.done and not was_done:
            st.rerun()
        if not found.done:
            bar, button = st.columns([5, 1.2], vertical_alignment="center")
            bar.progress(found.share, text=f"Measuring each layer alone, {percent(found.share, 0)}")
            if button.button("Cancel", key="cancel_sensitivity", width="stretch"):
                found.cancel(_who())
        try:
            shown = found.value if found.done else found.so_far
        except PDCError as error:
            st.error(str(error))
            return
        if shown is None:
            return
        rows = [{"group": p.group, "keep": p.k / p.n, "k": p.k, "accuracy": p.accuracy} for p in shown.points]
        frame = pd.DataFrame(rows, columns=["group", "keep", "k", "accuracy"])
        figure(charts.sensitivity_curves(frame, shown.accuracy), key="sensitivity_curves")
        st.caption(f"On {shown.images} validation images, nothing trained, norm statistics measured again.")

    follow()
