"""Activation maps of filters on real images, beside those of their clusters' centroids."""

from __future__ import annotations

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from pdc_core import charts
from ui.drawing import percent, picture
from ui.filters.group_view import GroupView, maps_of
from ui.filters.selection import chosen

IMAGES, FILTERS, SIDE = 6, 4, 84


def draw_activation_maps(shown: GroupView) -> None:
    """Draw a row of images, and for each chosen filter its maps above those of its centroid."""
    data = shown.network.data
    if len(data.val) == 0:
        st.info("This data has no images to run the filters on. Load images on the page Model.")
        return
    if not shown.network.graph.group(shown.name).readers:
        st.info("No layer reads these filters, so they have no activation maps to show.")
        return
    picked = chosen(shown)[:FILTERS] or [int(np.argmax(np.bincount(shown.labels)[shown.labels] > 1))]
    count = min(IMAGES, len(data.val))
    images = data.val.sample(count).images.numpy()
    before = maps_of(shown.network, shown.key, shown.name, tuple(picked), None, count)
    tied = maps_of(shown.network, shown.key, shown.name, tuple(picked), shown.labels.tobytes(), count)
    rows = [_row("image", [picture_of(image) for image in images])]
    for i, one, centroid in zip(picked, before, tied, strict=True):
        top = max(float(np.abs(one).max()), float(np.abs(centroid).max())) or 1.0
        rows.append(_row(f"filter {i}", [_heat(m, top) for m in one]))
        away = float(np.linalg.norm(one - centroid) / (np.linalg.norm(one) or 1.0))
        cluster = int(shown.labels[i])
        rows.append(
            _row(
                f"centroid of {cluster}<br><small>differs by {percent(away, 0)}</small>",
                [_heat(m, top) for m in centroid],
            )
        )
    st.html(f'<div style="overflow-x:auto"><table style="border-spacing:.5rem .35rem">{"".join(rows)}</table></div>')
    st.caption(
        f"Activation maps as the next layer reads them, on validation images: {charts.SIGNED}; a filter and its "
        "centroid share one scale. Once the cluster is tied, each of its filters produces the centroid's map. "
        + ("Select up to four filters on the map to see others." if not chosen(shown) else "")
    )


def picture_of(image: NDArray[np.uint8]) -> str:
    """Write an image (c, h, w) as an HTML element."""
    return picture(image[0] if len(image) == 1 else np.moveaxis(image[:3], 0, -1), "validation image", _style())


def _heat(values: NDArray[np.float32], top: float) -> str:
    """Write an activation map as an HTML element, in signed colours that are full at `top`."""
    return picture(charts.signed_rgb(values / top), "activation map", _style())


def _style() -> str:
    return f"width:{SIDE}px;height:{SIDE}px;object-fit:contain;border-radius:4px"


def _row(head: str, cells: list[str]) -> str:
    style = "text-align:left;font-weight:600;font-size:.9rem;padding-right:.6rem;min-width:7rem"
    return f'<tr><th style="{style}">{head}</th>' + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
