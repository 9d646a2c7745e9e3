"""The frame of every page: style, heading, and the network and plan of this session (`choice`, `current_plan`)."""

from __future__ import annotations

from dataclasses import asdict

import streamlit as st

from pdc_core.errors import PDCError
from ui.address import update_address
from ui.choice import Choice, choose, current_choice, lecture, write_address
from ui.classroom import in_class, public
from ui.current_plan import adopt_plan, current_plan, refusal, set_plan
from ui.housekeeping import note_visit
from ui.navigation import SIDEBAR_PIXELS, route
from ui.network import Network, load_network
from ui.own_networks import data_not_started_with, not_started_with, register_own
from ui.preset import follow_preset
from ui.visitors import keep_visitor

MACS = "MACs: what the pruning literature calls FLOPs, counted for one image"
# Streamlit's margins leave too little room for a chart and a table side by side on a projector 1280 pixels wide.
_WIDE = ".stMainBlockContainer { padding-left: 2.5rem; padding-right: 2.5rem }"
_LARGE = (
    "html { font-size: 21px } .stMainBlockContainer { padding-left: 2rem; padding-right: 2rem } "
    ".stMainBlockContainer h1 { font-size: 1.7rem; padding: 0 } "
    ".stMainBlockContainer [data-testid=stVerticalBlock] { gap: .6rem }"
)
# In the first session of a new server the sidebar is drawn before its width is known, and would keep its own.
_SIDEBAR = (
    f"[data-testid=stSidebar][data-collapsed=false] {{ width: {SIDEBAR_PIXELS}px !important; "
    f"min-width: {SIDEBAR_PIXELS}px !important }}"
)
# The text of a cached function at work appears over the page; without this it would run into the text below.
_WORKING = (
    ".stCacheSpinner > div { position: relative; z-index: 5; width: fit-content; margin-left: -.6rem; "
    "padding: .2rem .6rem; border-radius: .4rem; backdrop-filter: blur(8px) }"
)
__all__ = ["MACS", "begin", "current_plan", "open_page", "set_plan"]


def open_page(title: str, sentence: str) -> None:
    """Start a page that needs no network: its frame and its heading.

    Every page calls this or `begin` first, since a deep link may run a page without app.py.
    """
    route()
    update_address()
    st.set_page_config(page_title=f"{title} · PDC")
    st.html(f"<style>{_LARGE if lecture() else _WIDE} {_SIDEBAR} {_WORKING}</style>")
    with st.container(horizontal=True, vertical_alignment="bottom") if lecture() else st.container():
        st.title(title, width="content" if lecture() else "stretch")
        st.markdown(sentence)
    for sentence in register_own():
        st.error(public(sentence))
    if in_class():
        keep_visitor()
        note_visit()
        follow_preset(title)
    current_choice()
    write_address()


def begin(title: str, sentence: str) -> Network:
    """Start a page with the network and the plan of this session; say what is wrong if they cannot be opened."""
    open_page(title, sentence)
    choice = current_choice()
    try:
        network = load_network(**asdict(choice))
    except PDCError as error:
        reason = not_started_with(choice.model) or data_not_started_with(choice.data) or error
        st.error(public(f"{choice.label} cannot be opened. {reason}"))
        st.button("Back to the first network", on_click=choose, args=(Choice(),), type="primary")
        st.stop()
    part = f", pruned only in its part `{network.graph.inside}`" if network.graph.inside else ""
    st.caption(f"{network.label}{part} · {MACS}", help=network.untraced or None)
    if choice.inside:
        st.button("Take the whole network", type="tertiary", on_click=choose, kwargs={"inside": ""})
    adopt_plan(network)
    if refused := refusal():
        st.error(refused)
    return network
