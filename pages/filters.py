"""Filters: which filters are alike? Map, kernels and table of one group, linked; clusters by rule and by hand."""

from __future__ import annotations

import streamlit as st

from pdc_core import charts
from ui.choice import lecture
from ui.current_plan import current_plan, network_key, undo_buttons
from ui.drawing import flush_to_browser
from ui.filters.activations import draw_activation_maps
from ui.filters.cluster_count import draw_how_many, set_count
from ui.filters.edit_bar import draw_edit_bar
from ui.filters.group_view import VECTORS, pca_of, shown_group, vectors_of
from ui.filters.layouts import background_maps
from ui.filters.linked_views import draw_table, draw_views, shown_kernels
from ui.filters.options import cluster_seed, draw_options, highlighted
from ui.network import FilterMap, group_kernels
from ui.page import begin

network = begin(
    "Filters",
    "Which filters are alike? Training pulls the filters of a cluster together, then folds them into one.",
)
key = network_key(network)
groups = [group.name for group in network.graph.clusterable]
if not groups:
    st.info("No layer of this network can be clustered under this residual treatment; the page Plan can change it.")
    st.stop()


def take_count(name: str) -> None:
    """Make the slider's value the group's count in the plan."""
    set_count(network, name, st.session_state[f"k_{name}"])


few = lecture()  # larger letters, fewer controls
widths = [2.6, 4, 2.2] if few else [2.6, 4, 2.2, 1.5, 1.5]
controls = st.columns(widths, gap="small", vertical_alignment="bottom")
name = controls[0].selectbox("Layer", groups, key="layer", bind="query-params")
group, plan = network.graph.group(name), current_plan()
shown = shown_group(network, plan, name, cluster_seed())
allowed = plan.allowed(group)
if len(allowed) > 1:
    st.session_state[f"k_{name}"] = shown.k
    tip = f"Multiples of {group.blocks}: its convolution has so many groups." if group.blocks > 1 else None
    controls[1].select_slider("Clusters kept", allowed, key=f"k_{name}", on_change=take_count, args=(name,), help=tip)
else:
    controls[1].caption(f"{shown.k} clusters: the plan allows no other number here.")
kind = controls[2].segmented_control(
    "Map", ["PCA", "UMAP"], default="PCA", required=True, key="map", bind="query-params"
)
highlight = None
if not few:
    with controls[3]:
        highlight = highlighted(shown.k)
    with controls[4].popover("Options", width="stretch"):
        draw_options(network)
kernels = group_kernels(network, name)
readers = ", ".join(dict.fromkeys(reader.module for reader in group.readers))
tied = f", tied over {len(group.producers)} layers" if len(group.producers) > 1 else ""
said, steps = st.columns([6, 1.75], gap="small", vertical_alignment="center")
if not few:
    with steps:
        undo_buttons(network, "filters")
said.markdown(
    f"**{name}**: **{group.size} filters** of {'×'.join(map(str, kernels.shape[1:]))} weights{tied}, read by "
    f"{readers}. **{shown.k} clusters** kept, {group.size - shown.k} filters folded away."
)

# Asked for even while PCA is shown: the first layout compiles for a while, and then the switch is instant.
vectors = vectors_of(network, key, name, plan.vectors)
layout = background_maps().request((key, name, plan.vectors, str(cluster_seed())), vectors, cluster_seed())


@st.fragment(run_every=1.0)
def wait_for_umap() -> None:
    """Look once a second whether the layout has arrived."""
    if layout.done():
        st.rerun()
    st.caption("UMAP is being computed; PCA is shown until then. The first time takes up to a minute.")


def chosen_map() -> tuple[str, FilterMap]:
    """Return the map to draw and its name."""
    if kind == "UMAP" and layout.done() and layout.exception() is None:
        return "UMAP", layout.result()
    return "PCA", pca_of(network, key, name, plan.vectors)


method, drawn = chosen_map()
draw_views(shown, drawn, method, highlight)
chance = f"seed {cluster_seed()}" if method == "UMAP" else "no seed"
st.caption(
    f"{method} of the {VECTORS.get(plan.vectors, plan.vectors)}, {chance} · trustworthiness {drawn.quality:.2f} "
    "(1: neighbours on the map are neighbours in truth) · distances are not to scale · a cross is a centroid · "
    f"tiles show {shown_kernels(shown)} · {charts.SIGNED}, one scale for all tiles"
)
if kind == "UMAP" and not layout.done():
    wait_for_umap()
elif kind == "UMAP" and layout.exception() is not None:
    st.caption("UMAP failed on this layer; PCA is shown.")

flush_to_browser()
if not few:
    draw_edit_bar(shown)
view = st.segmented_control(
    "Look closer",
    ["Filter by filter", "How many clusters?", "What the filter sees"],
    default="Filter by filter",
    required=True,
    key="view",
    bind="query-params",
)
if view == "Filter by filter":
    draw_table(shown)
elif view == "How many clusters?":
    draw_how_many(shown)
else:
    draw_activation_maps(shown)

with st.expander("How the clusters are found"):
    st.markdown(
        "The filters' vectors, each weighted by its filter's squared norm (our choice), are grouped in the full space "
        "and never on the map. All algorithms look for labels $a_i$ and centroids $C_j$ with a small"
    )
    st.latex(
        r"\sum_i \lVert W_i \rVert^2 \, \lVert v_i - C_{a_i} \rVert^2 ,\qquad "
        r"C_j = \frac{\sum_{a_i=j} \lVert W_i \rVert^2 v_i}{\sum_{a_i=j} \lVert W_i \rVert^2}"
    )
    st.markdown(
        "k-means moves centroids and labels in turns; k-medoids takes filters for centroids, in place of the means, "
        "and swaps them as long as that helps; Ward linkage merges, again and again, the two clusters whose union "
        "costs least. Training then ties the filters of a cluster exactly, so folding them changes nothing."
    )
frozen = [group for group in network.graph.groups if group.frozen]
if frozen:
    others = "1 other group is" if len(frozen) == 1 else f"{len(frozen)} other groups are"
    with st.expander(f"Why {others} not here"):
        st.dataframe([{"group": g.name, "channels": g.size, "reason": g.frozen} for g in frozen], hide_index=True)
