"""Options of the page Filters: the highlighted cluster, and what filters are compared and clustered by."""

from __future__ import annotations

import streamlit as st

from ui.current_plan import current_plan, set_plan
from ui.filters.group_view import ALGORITHMS, VECTORS
from ui.filters.responses import RESPONSES, training_images
from ui.network import SEED, Network

WEIGHTS = "raw"


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


def draw_compared(network: Network) -> None:
    """Draw the switch between clusters and map by weights and by responses, where there are images to respond to."""
    st.session_state["compared_by"] = RESPONSES if current_plan().vectors == RESPONSES else WEIGHTS
    st.segmented_control(
        "Compare by",
        [WEIGHTS, RESPONSES],
        format_func=lambda kind: "Responses" if kind == RESPONSES else "Weights",
        required=True,
        key="compared_by",
        on_change=_switch,
        args=(network,),
        disabled=not training_images(network),
        help="Map and clusters of all layers: by the filters' weights, or by how they respond to training images.",
    )


def draw_options(network: Network) -> None:
    """Draw what filters are compared and clustered by, and the seed."""
    for field, label, choices in (
        ("vectors", "Compare filters by", VECTORS),
        ("algorithm", "Cluster them with", ALGORITHMS),
    ):
        key = f"option_{field}"
        if not training_images(network):
            choices = {name: text for name, text in choices.items() if name != RESPONSES}
        st.session_state[key] = getattr(current_plan(), field)
        st.radio(label, list(choices), format_func=choices.get, key=key, on_change=_take, args=(field, network))
    st.number_input("Seed for clustering and UMAP", 0, 2**31 - 1, SEED, key="cluster_seed", persist_state="session")
    st.caption("Vectors and algorithm are part of the plan and apply to all layers. A run has its own seed.")


def _take(field: str, network: Network) -> None:
    """Compare or cluster the filters of all layers in another way."""
    _set(field, st.session_state[f"option_{field}"], network)


def _switch(network: Network) -> None:
    """Compare by responses, or by raw weights again."""
    _set("vectors", st.session_state["compared_by"], network)


def _set(field: str, value: str, network: Network) -> None:
    names = {**VECTORS, **ALGORITHMS}
    set_plan(current_plan().model_copy(update={field: value}), network, f"clustered by {names[value]}")
