"""Preview: the accuracy of a plan when it is folded right now, without training; measured in the background."""

from __future__ import annotations

import streamlit as st

from pdc_core.copies import twin
from pdc_core.estimates import Preview, preview
from pdc_core.plan import Plan
from ui.current_plan import network_key
from ui.drawing import percent
from ui.job_view import draw_job
from ui.jobs import Key, jobs, request, this_session
from ui.network import Network, images_key


def draw_preview(network: Network, plan: Plan) -> None:
    """Draw the accuracy of a plan without training, or the button that measures it."""
    if len(network.data.val) == 0:
        st.metric("Untrained accuracy", "no images", border=True, height="stretch")
        return
    job = jobs().known(_key(network, plan))
    if job is not None and job.known is not None:
        _draw(job.known)
        return
    with st.container(border=True, height="stretch", vertical_alignment="center"):
        if job is None or job.left_by(this_session()):
            st.button(
                "Preview accuracy",
                on_click=_start,
                args=(network, plan),
                key="preview",
                width="stretch",
                help="Merges filters as a training does at its start, folds, and measures. Nothing is trained.",
            )
        else:
            draw_job(job, "Folding and measuring", _draw, "preview")


def _start(network: Network, plan: Plan) -> None:
    job = request(
        _key(network, plan),
        lambda _: preview(twin(network.module), network.graph, plan, network.data),
    )
    if job.left_by(this_session()):
        jobs().restart(job, this_session())


def _draw(found: Preview) -> None:
    st.metric(
        "Untrained accuracy",
        percent(found.accuracy),
        f"{percent(found.recalibrated)} norms re-estimated",
        delta_color="off",
        delta_arrow="off",
        border=True,
        height="stretch",
        help="Where training starts: filters merged, the layers that read them refitted. Below it, the same with "
        "batch-norm statistics re-estimated, as the first steps of training do. Distil shows what training recovers. "
        f"On {found.images:,} validation images (before: {percent(found.before)}), in {found.seconds:.1f} s.",
    )


def _key(network: Network, plan: Plan) -> Key:
    return "preview", network_key(network), *images_key(network), plan.to_json()
