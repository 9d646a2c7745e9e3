"""How the page Filters looks at a group: which cluster stands out, what filters are compared and grouped by."""

from __future__ import annotations

import streamlit as st

from ui.current_plan import current_plan, set_plan
from ui.filters.group_view import ALGORITHMS, VECTORS
from ui.network import SEED, Network


def cluster_seed() -> int:
    """Return the seed of k-means and UMAP."""
    return int(st.session_state.get("cluster_seed", SEED))


def highlighted(k: int) -> int | None:
    """Let one cluster be looked at; None where all are."""
    clusters = ["all", *map(str, range(k))]
    if st.session_state.get("highlight", "all") not in clusters:
        st.session_state["highlight"] = "all"
    marked = st.selectbox("Highlight", clusters, key="highlight", persist_state="session", help="One cluster only.")
    return None if marked == "all" else int(marked)


def draw_options(network: Network) -> None:
    """Draw what filters are compared and grouped by, and the seed."""
    for field, label, choices in (
        ("vectors", "Filters are compared by", VECTORS),
        ("algorithm", "and grouped by", ALGORITHMS),
    ):
        key = f"option_{field}"
        st.session_state[key] = getattr(current_plan(), field)
        st.radio(label, list(choices), format_func=choices.get, key=key, on_change=_take, args=(field, network))
    st.number_input("Seed of clusters and UMAP", 0, 2**31 - 1, SEED, key="cluster_seed", persist_state="session")
    st.caption("Vectors and algorithm belong to the plan and hold for all layers; a run has its own seed.")


def _take(field: str, network: Network) -> None:
    """Compare or group the filters of all layers in another way."""
    value = st.session_state[f"option_{field}"]
    names = {**VECTORS, **ALGORITHMS}
    set_plan(current_plan().model_copy(update={field: value}), network, f"clustered by {names[value]}")
