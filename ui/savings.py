"""What a layer saves by itself, remembered for all sessions; shown on the pages Filters and Plan."""

from __future__ import annotations

import streamlit as st

from pdc_core.costs import Cost, plan_cost
from ui.current_plan import network_key
from ui.network import Network

_SAVINGS_KEPT = 100_000


@st.cache_resource(show_spinner=False)
def _savings() -> dict[tuple[str, str, int], tuple[int, int]]:
    return {}


def saved_alone(network: Network, name: str, k: int, whole: Cost) -> tuple[int, int]:
    """Return the MACs and parameters that one group saves when it alone keeps k clusters; remembered."""
    known, key = _savings(), (network_key(network), name, k)
    if key not in known:
        if len(known) > _SAVINGS_KEPT:
            known.clear()
        alone = plan_cost(network.graph, {name: k})
        known[key] = (whole.macs - alone.macs, whole.params - alone.params)
    return known[key]
