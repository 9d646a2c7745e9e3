"""Options of the page Filters: the highlighted cluster, and what filters are compared and clustered by."""

from __future__ import annotations

import streamlit as st

from ui.current_plan import current_plan, set_plan
from ui.filters.group_view import ALGORITHMS, VECTORS
from ui.network import SEED, Network


def cluster_seed() -> int:
    """Return the seed of k-means and UMAP."""
    return int(st.session_state.get("cluster_seed", SEED))


def highlighted(k: int) -> int | None:
    """Draw the choice of a cluster to highlight; None for all."""
    clusters = ["all", *map(str, range(k))]
    if st.session_state.get("highlight", "all") not in clusters:
        st.session_state["highlight"] = "all"
    marked = st.selectbox(
        "Highlight",
        clusters,
        key="highlight",
        persist_state="session",
        help="Fades the other clusters.",
    )
    return None if marked == "all" else int(marked)


def draw_options(network: Network) -> None:
    """Draw what filters are compared and clustered by, and the seed."""
    for field, label, choices in (
        ("vectors", "Compare filters by", VECTORS),
        ("algorithm", "Cluster them with", ALGORITHMS),
    ):
        key = f"option_{field}"
        st.session_state[key] = getattr(current_plan(), field)
        st.radio(label, list(choices), format_func=choices.get, key=key, on_change=_take, args=(field, network))
    st.number_input("Seed for clustering and UMAP", 0, 2**31 - 1, SEED, key="cluster_seed", persist_state="session")
    st.caption("Vectors and algorithm are part of the plan and apply to all layers. A run has its own seed.")


def _take(field: str, network: Network) -> None:
    """Compare or cluster the filters of all layers in another way."""
    value = st.session_state[f"option_{field}"]
    names = {**VECTORS, **ALGORITHMS}
    set_plan(current_plan().model_copy(update={field: value}), network, f"clustered by {names[value]}")
