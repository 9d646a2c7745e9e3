"""What a session holds: the network it looks at and its plan.

The plan also lives in the address, so a link or a reload keeps it.
"""

from __future__ import annotations

import streamlit as st

from pdc_core.errors import PDCError
from pdc_core.plan import Plan
from ui.navigation import route
from ui.network import DEFAULT_DATA, DEFAULT_MODEL, Network, load_network

START_KEEP = 0.25
# Streamlit's own margins leave a chart and a table side by side too little of a projector's 1280 pixels.
_WIDE = "<style>.stMainBlockContainer { padding-left: 2.5rem; padding-right: 2.5rem }</style>"
_PLAN, _REFUSED = "plan", "plan_refused"


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
    _adopt_plan(network)
    if refusal := st.session_state.pop(_REFUSED, None):
        st.error(refusal)
    return network


def current_plan() -> Plan:
    """Return the plan of this session."""
    plan: Plan = st.session_state[_PLAN]
    return plan


def set_plan(plan: Plan, network: Network) -> None:
    """Make `plan` the plan of this session and of its address; groups that it does not name keep all filters.

    Raises
    ------
    PDCError
        The plan does not fit the network.
    """
    whole = Plan.uniform(network.graph, keep=1.0, model=network.model)
    st.session_state[_PLAN] = whole.replace(plan.check(network.graph).counts)
    st.query_params[_PLAN] = _to_link(current_plan())


def refuse(message: str) -> None:
    """Show a sentence at the top of the next run of the page."""
    st.session_state[_REFUSED] = message


def _adopt_plan(network: Network) -> None:
    if _PLAN not in st.session_state:
        start, link = Plan.uniform(network.graph, keep=START_KEEP), st.query_params.get(_PLAN)
        try:
            set_plan(_from_link(link, start) if link else start, network)
        except PDCError as error:
            set_plan(start, network)
            refuse(f"The plan in this link was not used. {error}")
    if st.query_params.get(_PLAN) != _to_link(current_plan()):
        st.query_params[_PLAN] = _to_link(current_plan())


def _to_link(plan: Plan) -> str:
    return "-".join(map(str, plan.counts.values()))


def _from_link(link: str, template: Plan) -> Plan:
    """Read counts joined by dashes, in the order of the network's groups."""
    parts = link.split("-")
    if len(parts) != len(template.counts) or not all(part.isascii() and part.isdigit() for part in parts):
        raise PDCError(f"It should hold {len(template.counts)} counts joined by dashes, but it is {link[:60]!r}.")
    return template.replace({name: int(part[:9]) for name, part in zip(template.counts, parts, strict=True)})
