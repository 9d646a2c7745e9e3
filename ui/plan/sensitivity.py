"""Sensitivity: how much accuracy each layer loses when it alone is clustered; measured in the background.

It is a job of its own lane, shared by sessions and stopped by the last one that cancels. Results are kept on disk
beside the runs, also those of a measurement that was stopped.
"""

from __future__ import annotations

import pandas as pd
import streamlit as st

from pdc_core import charts
from pdc_core.copies import twin
from pdc_core.estimates import Sensitivity, sensitivity
from pdc_core.runs import runs_root
from ui.current_plan import network_key
from ui.drawing import figure
from ui.job_view import draw_job
from ui.jobs import Cancelled, Job, Key, jobs, request, this_session
from ui.network import Network, images_key

LANE = "sensitivity"  # it takes minutes, and no page should wait behind it


def measurement(network: Network) -> Job[Sensitivity] | None:
    """Return the job that measures the sensitivity of a network, None if nobody has asked for it."""
    return jobs().known(_key(network))


def measured(network: Network) -> Sensitivity | None:
    """Return the sensitivity of a network, None until all of it has been measured."""
    job = measurement(network)
    return None if job is None else job.known


def measure(network: Network) -> None:
    """Start measuring, again where that failed or this session had cancelled it."""
    job = request(_key(network), lambda job: _measure(network, job), lane=LANE)
    if job.left_by(this_session()) or job.error is not None:
        jobs().restart(job, this_session())


def draw_sensitivity(network: Network) -> None:
    """Draw the curves of all groups, with a button to measure them, or with progress and cancel meanwhile."""
    if len(network.data.val) == 0:
        st.info("This data has no validation images, so nothing can be measured. Load images on the page Model.")
        return
    job = measurement(network)
    if job is None:
        st.markdown(
            "Merges one layer at a time, at several counts, as a training does at its start, and measures the accuracy "
            "on validation images. Nothing is trained. The curves show which layers can be pruned most."
        )
        st.button("Measure sensitivity", type="primary", on_click=measure, args=(network,), key="measure")
        return
    draw_job(job, "Measuring one layer at a time", _draw, "sensitivity")


def _measure(network: Network, job: Job[Sensitivity]) -> Sensitivity:
    found = sensitivity(
        twin(network.module),
        network.graph,
        network.data,
        progress=job.report,
        stop=lambda: job.stopping,  # so that what is known already is still written to disk
        cache=runs_root() / "sensitivity",
    )
    if not found.complete:
        raise Cancelled
    return found


def _draw(found: Sensitivity) -> None:
    rows = [{"group": p.group, "keep": p.k / p.n, "k": p.k, "accuracy": p.accuracy} for p in found.points]
    frame = pd.DataFrame(rows, columns=["group", "keep", "k", "accuracy"])
    figure(charts.sensitivity_curves(frame, found.accuracy), key="sensitivity_curves")
    st.caption(
        f"On {found.images:,} validation images, each layer merged alone as a training does at its start, before any "
        "step of it."
    )


def _key(network: Network) -> Key:
    return "sensitivity", network_key(network), *images_key(network)
