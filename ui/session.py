"""What a session holds: the network it looks at, and its plan (see `plans`). Every page begins here."""

from __future__ import annotations

import streamlit as st

from pdc_core.errors import PDCError
from ui.navigation import route
from ui.network import DEFAULT_DATA, DEFAULT_MODEL, Network, load_network
from ui.plans import adopt_plan, current_plan, set_plan

# Streamlit's own margins leave a chart and a table side by side too little of a projector's 1280 pixels.
_WIDE = "<style>.stMainBlockContainer { padding-left: 2.5rem; padding-right: 2.5rem }</style>"
_REFUSED = "plan_refused"
__all__ = ["begin", "current_plan", "refuse", "set_plan"]


def begin(title: str, sentence: str) -> Network:
    """Start a page: its frame, its heading, the network and the plan of this session.

    Every page calls this first, since a deep link may run a page without app.py.
    """
    route()
    st.set_page_config(page_title=f"{title} · PDC")
    st.html(_WIDE)
    st.title(title)
    st.markdown(sentence)
    try:
        network = load_network(DEFAULT_MODEL, DEFAULT_DATA)
    except PDCError as error:
        st.error(str(error))
        st.stop()
    st.caption(f"{network.label} · MACs: what the pruning literature calls FLOPs, counted for one image")
    said = adopt_plan(network)
    if refusal := st.session_state.pop(_REFUSED, said):
        st.error(refusal)
    return network


def refuse(message: str) -> None:
    """Show a sentence at the top of the next run of the page."""
    st.session_state[_REFUSED] = message
