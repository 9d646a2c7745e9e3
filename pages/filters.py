"""Filters: which filters are similar? Map, kernels and table of one group, linked; clusters by rule and by hand."""

from __future__ import annotations

from contextlib import nullcontext

import streamlit as st

from pdc_core import charts
from pdc_core.clustering.vectors import vectors_for
from ui.choice import lecture
from ui.current_plan import current_plan, draw_undo_buttons
from ui.drawing import flush_to_browser
from ui.filters.activations import draw_activation_maps
from ui.filters.cluster_count import draw_cluster_count, set_count
from ui.filters.edit_bar import draw_edit_bar
from ui.filters.group_view import VECTORS, pca_of, shown_group, vectors_of, view_key
from ui.filters.layers import choose_layer
from ui.filters.layouts import request_layout
from ui.filters.linked_views import draw_table, draw_views, shown_kernels
from ui.filters.options import cluster_seed, draw_compared, draw_options, highlighted
from ui.filters.patches import draw_patches
from ui.filters.responses import RESPONSES, response_covariances, training_images
from ui.filters.separation import draw_separation
from ui.job_view import draw_job, draw_restart_button, in_words
from ui.network import FilterMap, group_kernels
from ui.network_picture import draw_layer_chooser
from ui.page import begin

TABLE = "Table"
MANY = 1024  # filters whose clustering may take longer than a moment
VIEWS = {
    TABLE: draw_table,
    "What it looks for": draw_patches,
    "Cluster count": draw_cluster_count,
    "Activation maps": draw_activation_maps,
}

network = begin(
    "Filters",
    "Which filters are similar? Training pulls the filters of a cluster together, then folds them into one.",
)
key = view_key(network)
groups = [group.name for group in network.graph.clusterable]
if not groups:
    where = f"the part `{network.graph.inside}`" if network.graph.inside else "this network"
    st.info(f"No layer of {where} can be clustered with this residual treatment. Change it on the page Plan.")
    st.stop()


def take_count(name: str) -> None:
    """Make the slider's value the group's count in the plan."""
    set_count(network, name, st.session_state[f"k_{name}"])


few = lecture()  # larger letters, fewer controls
widths = [3.2, 2.2, 2.7, 1.9] if few else [3.2, 1.8, 2.6, 1.9, 1.3, 1.5]
controls = st.columns(widths, gap="small", vertical_alignment="bottom")
name = choose_layer(network, current_plan(), controls[0])
group, plan = network.graph.group(name), current_plan()
with controls[2]:
    draw_compared(network)
if vectors_for(group, plan.vectors) == RESPONSES and (measuring := response_covariances(network)).known is None:
    count = f"{training_images(network):,}"
    draw_job(measuring, f"Running {count} training images through the network", lambda _: None, "covariances")
    st.stop()
with st.spinner(f"Clustering {group.size:,} filters") if group.size >= MANY else nullcontext():
    shown = shown_group(network, plan, name, cluster_seed())
allowed = plan.allowed(group)
if len(allowed) > 1:
    st.session_state[f"k_{name}"] = shown.k
    tip = f"Only multiples of {group.blocks}: this is a grouped convolution with {group.blocks} groups."
    controls[1].select_slider(
        "Clusters kept", allowed, key=f"k_{name}", on_change=take_count, args=(name,),
        help=tip if group.blocks > 1 else None,
    )  # fmt: skip
else:
    controls[1].caption(f"{shown.k} clusters: the plan allows no other count for this layer.")
kind = controls[3].segmented_control(
    "Map", ["PCA", "UMAP"], default="PCA", required=True, key="map", bind="query-params"
)
highlight = None
if not few:
    with controls[4]:
        highlight = highlighted(shown.k)
    with controls[5].popover("Options", width="stretch"):
        draw_options(network)
kernels = group_kernels(network, name)
readers = ", ".join(dict.fromkeys(reader.module for reader in group.readers))
tied = f", shared by {len(group.producers)} layers" if len(group.producers) > 1 else ""
if not few:
    with st.expander("Choose the layer in a picture of the network"):
        draw_layer_chooser(network, plan, "filters_picture", name)
summary = st.container()
if not few:
    summary, steps = st.columns([6, 1.75], gap="small", vertical_alignment="center")
    with steps:
        draw_undo_buttons(network, "filters")
summary.markdown(
    f"**{name}**: **{group.size} filters** of {'×'.join(map(str, kernels.shape[1:]))} weights{tied}, read by "
    f"{readers}. **{shown.k} clusters** kept, {group.size - shown.k} filters folded away."
)

# Asked for even while PCA is shown: the first layout compiles for a while, and then the switch is instant.
vectors = vectors_of(network, key, name, shown.vectors)
layout = request_layout((key, name, shown.vectors), vectors, cluster_seed())


@st.fragment(run_every=1.0)
def wait_for_umap() -> None:
    """Look once a second whether the layout has arrived."""
    if layout.done:
        st.rerun()
    st.caption("Computing UMAP; PCA is shown until it is ready. The first time takes up to a minute.")


def chosen_map() -> tuple[str, FilterMap]:
    """Return the map to draw and its name."""
    if kind == "UMAP" and layout.known is not None:
        return "UMAP", layout.known
    return "PCA", pca_of(network, key, name, shown.vectors)


method, drawn = chosen_map()
draw_views(shown, drawn, method, highlight)
chance = f", seed {cluster_seed()}" if method == "UMAP" else ""
st.caption(
    f"{method} of the {VECTORS.get(shown.vectors, shown.vectors)}{chance} · trustworthiness {drawn.quality:.2f} "
    "(1: all neighbours on the map are true neighbours) · distances are not to scale · crosses mark centroids · "
    f"tiles show {shown_kernels(shown)} · {charts.SIGNED}, one scale for all tiles"
)
draw_separation(shown, plan)
if kind == "UMAP" and not layout.done:
    wait_for_umap()
elif kind == "UMAP" and layout.error is not None:
    st.warning(f"UMAP failed, so PCA is shown. {in_words(layout.error)}")
    draw_restart_button("Try again", layout, "umap")

flush_to_browser()
if not few:
    draw_edit_bar(shown)
view = st.segmented_control("Details", list(VIEWS), default=TABLE, required=True, key="view", bind="query-params")
VIEWS[view](shown)

with st.expander("How the clusters are found"):
    st.markdown(
        "Filters are clustered in the full space, never on the map. Each vector $v_i$ is weighted by the squared norm "
        "of its filter (our choice). Every algorithm looks for labels $a_i$ and centroids $C_j$ that make this sum "
        "small:"
    )
    st.latex(
        r"\sum_i \lVert W_i \rVert^2 \, \lVert v_i - C_{a_i} \rVert^2 ,\qquad "
        r"C_j = \frac{\sum_{a_i=j} \lVert W_i \rVert^2 v_i}{\sum_{a_i=j} \lVert W_i \rVert^2}"
    )
    st.markdown(
        "Responses are compared by what the next layer reads of a filter over training images, at all places; there "
        "the weight is the squared norm of the kernels that read it (our choice). "
        "k-means updates centroids and labels in turn. k-medoids uses filters in place of the means and swaps them "
        "while that helps. Ward linkage repeatedly merges the two clusters whose union costs least. Training then "
        "makes the filters of a cluster identical, so folding them changes nothing."
    )
frozen = [group for group in network.graph.groups if group.frozen]
if frozen:
    with st.expander(f"Layers that cannot be clustered: {len(frozen)}"):
        st.dataframe([{"group": g.name, "channels": g.size, "reason": g.frozen} for g in frozen], hide_index=True)
