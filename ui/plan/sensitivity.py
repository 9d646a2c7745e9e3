"""Sensitivity: how much accuracy each layer loses when it alone is clustered; measured in the background.

It is a job of its own lane, shared by sessions and stopped by the last one that cancels. Results are kept on disk
beside the runs, also those of a measurement that was stopped.
"""

from __future__ import annotations

import copy

import pandas as pd
import streamlit as st

from pdc_core import charts
from pdc_core.estimates import Sensitivity, sensitivity
from pdc_core.runs import runs_root
from ui.current_plan import network_key
from ui.drawing import figure
from ui.job_view import draw_job
from ui.jobs import Cancelled, Job, Key, jobs, request
from ui.network import Network

LANE = "sensitivity"  # it takes minutes, and no page should wait behind it


def measured(network: Network) -> Sensitivity | None:
    """Return the sensitivity of a network, None until all of it has been measured."""
    job: Job[Sensitivity] | None = jobs().known(_key(network))
    return None if job is None else job.known


def draw_sensitivity(network: Network) -> None:
    """Draw the curves of all groups, with a button to measure them, or with progress and cancel meanwhile."""
    if len(network.data.val) == 0:
        st.info("This data has no validation images, so nothing can be measured. Load images on the page Model.")
        return
    job: Job[Sensitivity] | None = jobs().known(_key(network))
    if job is None:
        st.markdown(
            "Merges one layer at a time, at several counts, as a training begins, and measures the accuracy on "
            "validation images. Nothing is trained. The curves show which layers can be pruned most."
        )
        st.button("Measure sensitivity", type="primary", on_click=_start, args=(network,), key="measure")
        return
    draw_job(job, "Measuring one layer at a time", _draw, "sensitivity")


def _start(network: Network) -> None:
    request(_key(network), lambda job: _measure(network, job), lane=LANE)


def _measure(network: Network, job: Job[Sensitivity]) -> Sensitivity:
    found = sensitivity(
        copy.deepcopy(network.module),
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
        f"On {found.images:,} validation images: merged as a training begins, batch-norm statistics re-estimated."
    )


def _key(network: Network) -> Key:
    return "sensitivity", network_key(network), network.data_name
