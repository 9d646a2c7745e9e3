"""The choice of a layer on the page Filters: each with its size, what the plan keeps of it and what that saves."""

from __future__ import annotations

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pdc_core.costs import plan_cost
from pdc_core.plan import Plan
from ui.network import Network
from ui.savings import saved_alone

LAYER = "layer"  # in the address, and the widget


def choose_layer(network: Network, plan: Plan, place: DeltaGenerator) -> str:
    """Draw the choice and return the layer: the one in the address, else the one opened elsewhere, else the first."""
    names = [group.name for group in network.graph.clusterable]
    wanted = (st.query_params.get(LAYER), st.session_state.get(LAYER))
    st.session_state[LAYER] = next((name for name in wanted if name in names), names[0])
    labels = layer_labels(network, plan)
    chosen: str = place.selectbox(
        "Layer", names, format_func=labels.__getitem__, key=LAYER,
        on_change=lambda: st.query_params.update({LAYER: st.session_state[LAYER]}),
        help="Its filters, the clusters that the plan keeps, and the MACs of the network that this layer alone saves.",
    )  # fmt: skip
    return chosen


def layer_labels(network: Network, plan: Plan) -> dict[str, str]:
    """Return what the list calls each layer, by name: "layer1.0.conv1 · 16 → 4 · −1.9 %"."""
    whole, labels = plan_cost(network.graph, {}), {}
    for name, k in plan.counts.items():
        saved = 100 * saved_alone(network, name, k, whole)[0] / whole.macs
        labels[name] = f"{name} · {plan.sizes[name]} → {k} · −{saved:.1f} %"
    return labels
