"""What filters look for: the parts of validation images that excite them most, filter by filter and for the cluster."""

from __future__ import annotations

from html import escape
from itertools import combinations

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from pdc_core.analysis.responses import Patch, Responses, mean_similarity, strongest_patches
from ui.drawing import cluster_mark, percent, picture
from ui.filters.group_view import GroupView, rates
from ui.filters.responses import fields_of, responses, validation_images
from ui.filters.selection import chosen
from ui.job_view import draw_job

PATCHES, FILTERS, MEMBERS = 10, 4, 12
_SIDE, _SHARP = 62, 124  # pixels of the largest patch on the page, and of its picture


def draw_patches(shown: GroupView) -> None:
    """Draw a row of patches for each chosen filter, and one for each of the other filters of its cluster."""
    network = shown.network
    if len(network.data.val) == 0:
        st.info("This data has no images to run the filters on. Load images on the page Model.")
        return
    if not network.graph.group(shown.name).readers:
        st.info("No layer reads these filters, so they have no responses to show.")
        return
    text = f"Running {validation_images(network):,} validation images through the network"
    draw_job(responses(network), text, lambda found: _draw(shown, found[shown.name]), "responses")


def _draw(shown: GroupView, found: Responses) -> None:
    picked = chosen(shown)[:FILTERS] or [_first_of_the_largest(shown)]
    clusters = list(dict.fromkeys(int(shown.labels[i]) for i in picked))
    fields = fields_of(shown.network, shown.key, shown.name)
    st.markdown(similarities(found.similarity, picked, shown.labels))
    rows, left_out = [], 0
    for i in picked:
        rows.append((i, _like(found, i, picked[0])))
    for cluster in clusters:
        others = by_similarity(found.similarity, picked[0], np.flatnonzero(shown.labels == cluster).tolist(), picked)
        left_out += len(others[MEMBERS:])
        rows += [(i, _like(found, i, picked[0])) for i in others[:MEMBERS]]
    st.html(_table(shown, found, fields, rows))
    heights, widths = fields[..., 1] - fields[..., 0], fields[..., 3] - fields[..., 2]
    _, height, width = shown.network.data.shape
    more = f" {left_out} more filters of these clusters are not shown." if left_out else ""
    hint = "" if chosen(shown) else " Select up to four filters on the map to compare them."
    st.caption(
        f"Each row: the {PATCHES} of {validation_images(shown.network):,} validation images in which the filter "
        "responds most, the strongest first, cut to the pixels that this response depends on: its receptive field, at "
        f"most {heights.max()}×{widths.max()} of {height}×{width} pixels, less at the image's edge. A response is what "
        "the next layer reads: after norm and activation function. Similarity: Pearson correlation of two filters' "
        f"responses over these images and all places, −1 to 1.{more}{hint}"
    )


def similarities(similarity: NDArray[np.float32], picked: list[int], labels: NDArray[np.int64]) -> str:
    """Write how alike the chosen filters respond, their cluster, and, to compare with, the whole layer."""
    parts = [f"{i} and {j}: **{_number(similarity[i, j])}**" for i, j in combinations(picked, 2)]
    one = "Similarity of responses" if len(picked) < 3 else "Similarities of responses"
    sentence = f"{one} of filters {', '.join(parts)}. " if parts else ""
    for cluster in dict.fromkeys(int(labels[i]) for i in picked):
        members = np.flatnonzero(labels == cluster)
        if len(members) > 1:
            inside = _number(mean_similarity(similarity, members.tolist()))
            sentence += (
                f"Within cluster {cluster}: **{inside}** on average over all pairs of its {len(members)} filters. "
            )
        else:
            sentence += f"Cluster {cluster} is this filter alone. "
    return sentence + f"In the whole layer: **{_number(mean_similarity(similarity))}**."


def by_similarity(similarity: NDArray[np.float32], to: int, members: list[int], without: list[int]) -> list[int]:
    """Return members of a cluster, those that respond most like a filter first; those without a response last."""
    left = [i for i in members if i not in without]
    return sorted(left, key=lambda i: -np.nan_to_num(similarity[to, i], nan=-2.0))


def _first_of_the_largest(shown: GroupView) -> int:
    return int(np.argmax(shown.labels == np.bincount(shown.labels).argmax()))


def _like(found: Responses, i: int, to: int) -> str:
    return "" if i == to else f"similarity to {to}: {_number(found.similarity[i, to])}"


def _number(value: float) -> str:
    return "not defined" if np.isnan(value) else f"{value:.2f}".replace("-", "−")


def _table(shown: GroupView, found: Responses, fields: NDArray[np.int64], rows: list[tuple[int, str]]) -> str:
    """Write one row of patches per filter; all patches have one scale."""
    active = rates(shown.network, shown.key).get(shown.name)
    patches = {i: strongest_patches(found, fields, i, PATCHES) for i, _ in rows}
    sides = [max(p.box[1] - p.box[0], p.box[3] - p.box[2]) for each in patches.values() for p in each]
    scale = _SIDE / max(1, *sides) if sides else 1.0
    written = []
    for i, beside in rows:
        facts = [beside] if beside else []
        if active is not None:
            facts.append(f"active at {percent(float(active[i]), 0)} of places")
        head = (
            f"{cluster_mark(int(shown.labels[i]))} filter {i}<br>"
            f'<span style="font-weight:400;font-size:.8rem">{"<br>".join(facts)}</span>'
        )
        cells = "".join(f"<td>{_cell(shown, patch, scale)}</td>" for patch in patches[i])
        none = '<td colspan="10">Its response is the same everywhere.</td>'
        written.append(f'<tr><th style="{_HEAD}">{head}</th>{cells or none}</tr>')
    return f'<div style="overflow-x:auto"><table style="border-spacing:.3rem .25rem">{"".join(written)}</table></div>'


_EDGE = "outline:1px solid rgba(128,128,128,.4);vertical-align:middle"
_HEAD = "text-align:left;font-weight:600;font-size:.9rem;padding-right:.6rem;min-width:9.5rem;line-height:1.25"


def _cell(shown: GroupView, patch: Patch, scale: float) -> str:
    """Write a patch as an HTML element; pointing at it names the image."""
    split, (top, bottom, left, right) = shown.network.data.val, patch.box
    image = split.images[patch.image : patch.image + 1].numpy()[0]
    pixels = image[:, top:bottom, left:right]
    name = shown.network.data.classes[int(split.labels[patch.image])]
    text = f"validation image {patch.image} ({name}), response {patch.response:.3g}"
    style = f"width:{scale * (right - left):.1f}px;height:{scale * (bottom - top):.1f}px;border-radius:3px;{_EDGE}"
    return f'<span title="{escape(text)}">{picture(_small(pixels), escape(text), style)}</span>'


def _small(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a patch (c, h, w) as a picture no larger than a page can show sharply."""
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(pixels[0] if len(pixels) == 1 else np.moveaxis(pixels[:3], 0, -1)))
    image.thumbnail((_SHARP, _SHARP))
    return np.asarray(image)
