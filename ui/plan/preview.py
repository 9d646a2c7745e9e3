"""Preview: the accuracy of the plan folded right now, without training, measured in the background."""

from __future__ import annotations

import copy
import hashlib

import streamlit as st

from pdc_core.errors import PDCError
from pdc_core.estimates import Preview, preview
from pdc_core.plan import Plan
from ui.current_plan import network_key
from ui.drawing import percent
from ui.jobs import Watched, background, show_progress
from ui.network import Network

_ASKED = "previewed"


def draw_preview(network: Network, plan: Plan) -> None:
    """Draw the accuracy of this plan without training, or the button that measures it."""
    if len(network.data.val) == 0:
        st.metric("Untrained accuracy", "no images", border=True, height="stretch")
        return
    key = _key(network, plan)
    asked: set[str] = st.session_state.setdefault(_ASKED, set())
    if key not in asked:
        with st.container(border=True, height="stretch", vertical_alignment="center"):
            st.button(
                "Preview accuracy",
                on_click=asked.add,
                args=(key,),
                key="preview",
                width="stretch",
                help="Folds this plan right now, without training, norm statistics measured again on training images.",
            )
        return
    found = _request(network, plan, key)
    if not found.done:
        with st.container(border=True, height="stretch", vertical_alignment="center"):
            show_progress(found, "Folding and measuring")
        return
    try:
        seen = found.value
    except PDCError as error:
        st.error(str(error))
        return
    if seen is not None:
        st.metric(
            "Untrained accuracy",
            percent(seen.accuracy),
            f"{100 * (seen.accuracy - seen.before):+.1f} points",
            border=True,
            help=f"On {seen.images} validation images; before: {percent(seen.before)}. Folded in {seen.seconds:.1f} s, "
            "norm statistics measured again, nothing trained. Distilling brings most of it back.",
        )


def _request(network: Network, plan: Plan, key: str) -> Watched[Preview]:
    return background().request(
        ("preview", key), lambda _: preview(copy.deepcopy(network.module), network.graph, plan, network.data)
    )


def _key(network: Network, plan: Plan) -> str:
    return hashlib.sha256(f"{network_key(network)} {network.data_name} {plan.to_json()}".encode()).hexdigest()
