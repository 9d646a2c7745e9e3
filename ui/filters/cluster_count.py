"""How many clusters? The curve over every k, the dendrogram with its cut, and a suggestion; a click sets k."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from pdc_core import charts
from pdc_core.clustering import dendrogram, suggest
from pdc_core.errors import PDCError
from ui.current_plan import current_plan, refuse, set_plan
from ui.drawing import figure
from ui.filters.group_view import GroupView, curve_of, share_lost
from ui.network import Network

LEAVES = 64


def set_count(network: Network, name: str, k: int) -> None:
    """Set the count of a group in the plan to k, or to the nearest allowed count, and then say so."""
    try:
        nearest = current_plan().nearest(network.graph.group(name), k)
        set_plan(current_plan().replace({name: nearest}), network, f"{name}: {nearest} clusters")
    except PDCError as error:
        refuse(f"Nothing was changed. {error}")
        return
    if nearest != k:
        st.toast(f"{k} clusters are not allowed here. Using the nearest allowed count, {nearest}.")


def draw_cluster_count(shown: GroupView) -> None:
    """Draw the curve beside the tree."""
    found = curve_of(shown.network, shown.key, shown.name, shown.vectors)
    suggestion = suggest(found)
    text, cut, button = st.columns([5, 2.4, 1.3], gap="medium", vertical_alignment="center")
    text.markdown(f"**Suggested: {suggestion.k} clusters.** {suggestion.reason}")
    button.button(
        f"Use {suggestion.k}",
        disabled=suggestion.k == shown.k,
        on_click=set_count,
        args=(shown.network, shown.name, suggestion.k),
        width="stretch",
    )
    allowed, key = current_plan().allowed(shown.network.graph.group(shown.name)), f"cut_{shown.name}"
    if len(allowed) > 1:  # what a click on the charts does, for the keyboard
        st.session_state[key] = shown.k
        cut.select_slider(
            "Cut of curve and tree", allowed, key=key,
            on_change=lambda: set_count(shown.network, shown.name, st.session_state[key]),
        )  # fmt: skip
    left, right = st.columns(2, gap="large")
    rated = pd.DataFrame({"k": found.k, "lost": found.lost, "silhouette": found.silhouette})
    with left:
        chart = charts.every_k(rated, shown.k, suggestion.k, share_lost(shown))
        figure(chart, f"every_k_{shown.name}", on_select=lambda: _take(shown, f"every_k_{shown.name}"))
    with right:
        drawn = dendrogram(found.tree, LEAVES)
        chart = charts.tree_lines(drawn.joints, drawn.members, shown.k)
        figure(chart, f"tree_{shown.name}", on_select=lambda: _take(shown, f"tree_{shown.name}"))
    st.caption(
        "From one Ward linkage of the compared vectors, weighted by the filters' squared norms. Spread lost: share of "
        "the filters' total squared distance to their mean that the centroids do not explain (0 % if every filter is "
        "kept). Silhouette: −100 to 100; 25 or less is no substantial structure (Kaufman and Rousseeuw 1990). Click a "
        "point of the curve or a joint of the tree to set that count, or move the cut with the arrow keys."
    )


def _take(shown: GroupView, key: str) -> None:
    state: Any = st.session_state[key]
    points = [p for p in state["selection"]["points"] if p.get("customdata") is not None]
    if points:
        k = points[0]["customdata"]
        set_count(shown.network, shown.name, int(k[0] if isinstance(k, list) else k))
