"""Map, grid and table of one group's filters, linked: what is chosen in one is marked in all."""

from __future__ import annotations

from typing import Any

import numpy as np
import streamlit as st

from pdc_core import charts
from pdc_core.clustering.spread import cluster_means
from ui.components import component
from ui.drawing import picture_format
from ui.filters.group_view import GroupView, filter_table, sheet, weights_of, whole_kernels
from ui.filters.selection import VIEWS, chosen, last_turn, take_table, take_views, widget_key
from ui.network import FilterMap

# Written by hand: it needs no charting library, which a browser reads for a second, and a streamlit chart has no lasso
# beside clicks, no pictures on hover and no keyboard.
_views = component("linked_views")


def draw_views(shown: GroupView, drawn: FilterMap, method: str, highlight: int | None) -> None:
    """Draw the map beside the kernels, cluster after cluster, the largest first."""
    data = linked_data(shown, drawn, method, highlight)
    _views(key=VIEWS, data=data, on_picked_change=lambda: take_views(shown))


def linked_data(shown: GroupView, drawn: FilterMap, method: str, highlight: int | None) -> dict[str, Any]:
    """Return what `linked_views.js` draws of a group; `centres` holds (x, y, cluster) of clusters of more than one."""
    labels, sizes = shown.labels, np.bincount(shown.labels)
    middle = cluster_means(drawn.points, labels, weights_of(shown.network, shown.key, shown.name, shown.vectors))
    title = f"{shown.name}: {len(labels)} filters in {shown.k} clusters, {method}"
    return {
        "group": shown.name,
        "title": title,
        "alt": f"{title}. Clusters differ in colour and shape; a cross marks each centroid. Arrow keys move "
        "between filters, space selects.",
        "axes": drawn.axes,
        "x": drawn.points[:, 0].tolist(),
        "y": drawn.points[:, 1].tolist(),
        "labels": labels.tolist(),
        "centres": [[*middle[c].tolist(), int(c)] for c in np.flatnonzero(sizes > 1)],
        "order": np.lexsort((np.arange(len(labels)), labels, -sizes[labels])).tolist(),
        "sheet": sheet(shown.network, shown.key, shown.name),
        "whole": whole_kernels(shown.network, shown.key, shown.name),
        "colours": charts.COLOURS,
        "symbols": charts.SYMBOLS,
        "highlight": highlight,
        "chosen": chosen(shown),
        "turn": last_turn(),
        "picture": picture_format(),
    }


def shown_kernels(shown: GroupView) -> str:
    """Say what the tiles show of each kernel, and what the large picture of a filter that is pointed at shows."""
    small = sheet(shown.network, shown.key, shown.name)["words"]
    large = whole_kernels(shown.network, shown.key, shown.name)["words"]
    return small if large in ("", small) else f"{small}; point at a filter for {large}"


def draw_table(shown: GroupView) -> None:
    """Draw a row for every filter; ticked rows are the chosen filters."""
    table = filter_table(shown)
    st.dataframe(
        table,
        key=widget_key(shown),
        hide_index=True,
        height=320,
        on_select=lambda: take_table(shown),
        selection_mode="multi-row",
        selection_default={"selection": {"rows": chosen(shown)}},
        column_config={
            "filter": "filter",
            "cluster": "cluster",
            "members": "cluster size",
            "norm": st.column_config.NumberColumn("norm of weights", format="%.3f"),
            "distance": st.column_config.NumberColumn(
                "distance to centroid", format="%.3f", help="Distance between the compared vectors."
            ),
            "rate": st.column_config.NumberColumn(
                "active [% of pixels]",
                format="%.0f %%",
                help="Share of pixels above 0 where the next layer reads the output, on validation images.",
            ),
        },
        alt=f"One row for each of the {len(table)} filters of {shown.name}.",
    )
