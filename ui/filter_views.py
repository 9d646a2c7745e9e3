"""Map, grid and table of one group's filters, linked: what is chosen in one is marked in all."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from pdc_core import charts
from ui.drawing import INK, cluster_mark
from ui.filters import Shown, centres, filter_table, thumbnails, tiles, weights_of
from ui.network import FilterMap
from ui.selection import chosen, chosen_elsewhere, take_grid, take_map, take_table, widget_key

GRID_HEIGHT = 470


def draw_map(shown: Shown, drawn: FilterMap, method: str, highlight: int | None) -> None:
    """Draw the map; its points show their kernel on hover."""
    labels, network = shown.labels, shown.network
    points = pd.DataFrame(
        {
            "x": drawn.points[:, 0],
            "y": drawn.points[:, 1],
            "filter": np.arange(len(labels)),
            "cluster": labels,
            "image": thumbnails(network, shown.key, shown.name),
        }
    )
    middle = centres(drawn.points, labels, weights_of(network, shown.key, shown.name))
    shared = np.flatnonzero(np.bincount(labels) > 1)
    where = pd.DataFrame({"x": middle[shared, 0], "y": middle[shared, 1], "cluster": shared})
    title = f"{shown.name}: {len(labels)} filters in {shown.k} clusters, {method}"
    chart = charts.linked_map(
        points,
        where if highlight is None else where[where["cluster"] == highlight],
        title,
        drawn.axes,
        ink=_ink(),
        chosen=chosen_elsewhere(shown, "map"),
        highlight=highlight,
    )
    st.vega_lite_chart(
        chart,
        key=widget_key(shown, "map"),
        on_select=lambda: take_map(shown, points),
        theme=None,
        alt=f"{title}. Clusters differ in colour and shape; a cross marks each centroid.",
    )


def draw_grid(shown: Shown) -> None:
    """Draw the kernels, cluster after cluster, the largest first."""
    labels, sizes = shown.labels, np.bincount(shown.labels)
    order = np.lexsort((np.arange(len(labels)), labels, -sizes[labels]))
    picture = tiles(shown.network, shown.key, shown.name, tuple(map(int, order)))
    title = "Kernels, cluster after cluster"
    with st.container(height=GRID_HEIGHT, border=False):
        st.vega_lite_chart(
            charts.kernel_grid(picture, order, labels, title, _ink(), chosen_elsewhere(shown, "grid")),
            key=widget_key(shown, "grid"),
            on_select=lambda: take_grid(shown),
            theme=None,
            width="content",
            alt=f"{len(order)} tiles, one a filter, cluster after cluster; {len(chosen(shown))} are chosen.",
        )


def draw_table(shown: Shown) -> None:
    """Draw a row for every filter; ticked rows are the chosen filters."""
    table = filter_table(shown)
    st.dataframe(
        table,
        key=widget_key(shown, "table"),
        hide_index=True,
        height=320,
        on_select=lambda: take_table(shown),
        selection_mode="multi-row",
        selection_default={"selection": {"rows": chosen(shown)}},
        column_config={
            "filter": "filter [index]",
            "cluster": "cluster [label]",
            "members": "filters in its cluster",
            "norm": st.column_config.NumberColumn("norm of its weights", format="%.3f"),
            "distance": st.column_config.NumberColumn(
                "distance to its centroid", format="%.3f", help="Between the vectors that are compared."
            ),
            "rate": st.column_config.NumberColumn(
                "active [% of pixels]",
                format="%.0f %%",
                help="How often its output is above 0 where the next layer reads it, on validation images.",
            ),
        },
        alt=f"One row for each of the {len(table)} filters of {shown.name}.",
    )


def draw_legend(shown: Shown) -> None:
    """Name the clusters by colour and shape, where they are few enough to be told apart."""
    sizes = np.bincount(shown.labels)
    if len(sizes) > charts.LEGEND_LIMIT:
        st.caption(f"{len(sizes)} clusters: hover a point for its cluster, or highlight one.")
        return
    marks = [
        f"<span>{cluster_mark(c)} <b>{c}</b>: {size} filter{'s' if size > 1 else ''}</span>"
        for c, size in enumerate(sizes)
    ]
    st.html(f'<div style="display:flex;flex-wrap:wrap;gap:.1rem 1.1rem;font-size:.9rem">{"".join(marks)}</div>')


def _ink() -> str:
    """Return the colour of text on the page's background."""
    return INK.get(st.context.theme.type or "", charts.GREY)
