"""Filters: which filters are alike? One group's filters as a map, as pictures of kernels and as a table."""

from __future__ import annotations

import streamlit as st

from pdc_core import charts
from ui.drawing import figure, kernels_by_cluster
from ui.maps import background_maps
from ui.network import SEED, FilterMap, filter_table, group_kernels, group_labels, group_pca, group_vectors
from ui.session import begin, current_plan, set_plan

network = begin(
    "Filters",
    "Which filters are alike? Training pulls the filters of a cluster together, then folds them into one.",
)
groups = [group.name for group in network.graph.clusterable]


def take_count(group: str) -> None:
    """Make the slider's value the group's count in the plan."""
    set_plan(current_plan().replace({group: st.session_state[f"k_{group}"]}), network)


controls = st.columns([3, 5, 2.6, 2.2], gap="medium", vertical_alignment="bottom")
name = controls[0].selectbox("Layer", groups, key="layer", bind="query-params")
group = network.graph.group(name)
k = current_plan().counts[name]
if group.size > 1:
    st.session_state[f"k_{name}"] = k
    controls[1].slider("Clusters kept", 1, group.size, key=f"k_{name}", on_change=take_count, args=(name,))
kind = controls[2].segmented_control(
    "Map", ["PCA", "UMAP"], default="PCA", required=True, key="map", bind="query-params"
)
clusters = ["all", *map(str, range(k))]
if st.session_state.get("highlight", "all") not in clusters:
    st.session_state["highlight"] = "all"
chosen = controls[3].selectbox("Highlight cluster", clusters, key="highlight", persist_state="session")
highlight = None if chosen == "all" else int(chosen)

labels = group_labels(network, network.digest, name, k)
vectors = group_vectors(network, network.digest, name)
table = filter_table(network, network.digest, name, k)
kernels = group_kernels(network, name)
readers = ", ".join(reader.module for reader in group.readers)
st.markdown(
    f"**{name}** has **{group.size} filters** of {'×'.join(map(str, kernels.shape[1:]))} weights, read by "
    f"{readers}. "
    f"With **{k} clusters**, {group.size - k} filters are folded away."
)

# Asked for even while PCA is shown: the first layout compiles for a while, and then the switch is instant.
layout = background_maps().request((network.digest, name, str(SEED)), vectors, SEED)


@st.fragment(run_every=1.0)
def wait_for_umap() -> None:
    """Look once a second whether the layout has arrived."""
    if layout.done():
        st.rerun()
    st.caption("UMAP is being computed; PCA is shown until then. The first time takes up to a minute.")


def chosen_map() -> tuple[str, FilterMap]:
    """Return the map to draw and its name."""
    if kind == "UMAP" and layout.done() and layout.exception() is None:
        return f"UMAP, seed {SEED}", layout.result()
    return "PCA, no seed", group_pca(network, network.digest, name)


left, right = st.columns([3, 2], gap="large")
with left:
    method, drawn = chosen_map()
    points = table.assign(x=drawn.points[:, 0], y=drawn.points[:, 1])
    title = f"{name}: {group.size} filters in {k} clusters, {method.split(',')[0]}"
    figure(charts.filter_map(points, title, drawn.axes, highlight), key="filter_map")
    st.caption(
        f"{method} · trustworthiness {drawn.quality:.2f} (1: neighbours on the map are neighbours in "
        f"truth) · "
        "distances are not to scale"
    )
    if kind == "UMAP" and not layout.done():
        wait_for_umap()
    elif kind == "UMAP" and layout.exception() is not None:
        st.caption("UMAP failed on this layer; PCA is shown.")
with right:
    st.markdown("**Kernels by cluster**, one tile a filter, its input channels inside")
    with st.container(height=440, border=False):
        kernels_by_cluster(kernels, labels, highlight)
    st.caption("Blue is negative, orange positive, white zero; one scale for the layer.")

st.subheader("Filter by filter")
st.dataframe(
    table,
    hide_index=True,
    column_config={
        "filter": "filter [index]",
        "cluster": "cluster [label]",
        "members": "filters in its cluster",
        "norm": st.column_config.NumberColumn("norm of its weights", format="%.3f"),
        "distance": st.column_config.NumberColumn("distance to its centroid", format="%.3f"),
    },
)
with st.expander("How the clusters are found"):
    st.markdown(
        "k-means on the filters' raw weights, each filter weighted by its squared norm (our choice), in "
        "the full "
        "space and never on the map. It looks for labels $a_i$ and centroids $C_j$ that minimise"
    )
    st.latex(
        r"\sum_i \lVert W_i \rVert^2 \, \lVert W_i - C_{a_i} \rVert^2 ,\qquad "
        r"C_j = \frac{\sum_{a_i=j} \lVert W_i \rVert^2 W_i}{\sum_{a_i=j} \lVert W_i \rVert^2}"
    )
    st.markdown(f"Seed {SEED}. Training then ties the filters of a cluster exactly, so folding them changes nothing.")
frozen = [group for group in network.graph.groups if group.frozen]
if frozen:
    with st.expander(f"Why {len(frozen)} other groups are not here"):
        st.dataframe([{"group": g.name, "channels": g.size, "reason": g.frozen} for g in frozen], hide_index=True)
