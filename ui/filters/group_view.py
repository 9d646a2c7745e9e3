"""What the page Filters shows of a group, computed once for each content: labels, curve, pictures, activations."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from pdc_core import charts
from pdc_core.analysis.activations import activation_maps, activation_rates
from pdc_core.analysis.maps import pca_map, pca_share, trustworthiness
from pdc_core.clustering import (
    Curve,
    canonical,
    curve,
    filter_vectors,
    filter_weights,
)
from pdc_core.clustering.assignment import cluster_blocks
from pdc_core.clustering.counts import silhouette
from pdc_core.clustering.spread import cluster_means, spread_lost
from pdc_core.clustering.vectors import covariance_factor, vectors_for
from pdc_core.copies import twin
from pdc_core.plan import Plan
from pdc_core.reconstruct import reconstruct_
from ui.current_plan import network_key
from ui.drawing import png
from ui.filters.responses import RESPONSES, measured_covariance
from ui.network import FilterMap, Network, group_kernels, images_key, network_cost

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
VECTORS = {
    "raw": "raw weights",
    "scaled": "weights scaled by the norm layer",
    "in_out": "input and output weights",
    RESPONSES: "responses to training images",
}
ALGORITHMS = {"kmeans": "k-means", "kmedoids": "k-medoids", "ward": "Ward linkage"}
_RATE_IMAGES, _RATE_MACS = 200, 4e9
_ROOMY = 30  # pixels of a cell that has room for a wide gap
_WHOLE_BYTES = 1_200_000  # of weights that are sent to a page


@dataclass(frozen=True)
class GroupView:
    """One group as the page shows it: vectors and labels come from the plan, exactly as `assign` would give them."""

    network: Network
    name: str
    vectors: str
    seed: int
    labels: IntArray

    @property
    def key(self) -> str:
        """What its pictures depend on."""
        return view_key(self.network)

    @property
    def k(self) -> int:
        """Number of clusters."""
        return int(self.labels.max()) + 1


def view_key(network: Network) -> str:
    """Return what everything that is shown of a network depends on: weights, residual treatment and data."""
    return ":".join((network_key(network), *images_key(network)))


def shown_group(network: Network, plan: Plan, name: str, seed: int) -> GroupView:
    """Return a group with the labels that the plan gives it."""
    vectors = vectors_for(network.graph.group(name), plan.vectors)
    if name in plan.hand:
        labels = canonical(np.array(plan.hand[name]))
    else:
        pins = plan.pinned.get(name, ())
        labels = _labels(network, view_key(network), name, plan.counts[name], vectors, plan.algorithm, pins, seed)
    return GroupView(network, name, vectors, seed, labels)


@st.cache_data(show_spinner="Clustering", max_entries=2048)
def _labels(
    _network: Network, key: str, name: str, k: int, vectors: str, algorithm: str, pins: tuple[int, ...], seed: int
) -> IntArray:
    group = _network.graph.group(name)
    points, d = vectors_of(_network, key, name, vectors), weights_of(_network, key, name, vectors)
    return cluster_blocks(points, d, group, k, seed, algorithm, pins)


@st.cache_data(show_spinner=False, max_entries=256)
def vectors_of(_network: Network, key: str, name: str, kind: str) -> FloatArray:
    """Return the vectors that are compared, (n, d); those of responses once `response_covariances` are measured."""
    if kind == RESPONSES:
        return covariance_factor(measured_covariance(_network, name))
    return filter_vectors(_network.module, _network.graph.group(name), kind)


@st.cache_data(show_spinner="Rating every cluster count", max_entries=256)
def curve_of(_network: Network, key: str, name: str, kind: str) -> Curve:
    """Rate every k by one Ward tree."""
    return curve(vectors_of(_network, key, name, kind), weights_of(_network, key, name, kind))


@st.cache_data(show_spinner=False, max_entries=256)
def pca_of(_network: Network, key: str, name: str, kind: str) -> FilterMap:
    """Project a group onto its principal axes."""
    vectors = vectors_of(_network, key, name, kind)
    points, (first, second) = pca_map(vectors), pca_share(vectors)
    axes = (f"1st principal axis ({first:.0%} of the variance)", f"2nd principal axis ({second:.0%})")
    return FilterMap(points, trustworthiness(vectors, points), axes)


@st.cache_data(show_spinner=False, max_entries=64)
def sheet(_network: Network, key: str, name: str) -> dict[str, Any]:
    """Draw all kernels in one picture, filter after filter, each as far as it can be read there.

    Returns
    -------
    `url` of the picture, `columns` and `rows` of tiles in it, `cell` and `tile` (width, height in pixels, with and
    without the gap to the next), `side`: how wide a cell may be in the grid, and `words`: what a tile shows.
    """
    kernels = group_kernels(_network, name)
    columns = min(len(kernels), charts.grid_columns(len(kernels)))
    rows, side = -(-len(kernels) // columns), charts.GRID_WIDTH / charts.grid_columns(len(kernels))
    gap = charts.KERNEL_GAP if side >= _ROOMY else 1
    kernels, words = charts.legible_kernels(kernels, side, gap)
    scale = _scale(kernels, side, gap)
    pixels = charts.kernel_picture(kernels, columns, scale, gap=gap)
    cell = (pixels.shape[1] // columns, pixels.shape[0] // rows)
    tile = tuple(pixel - gap * scale for pixel in cell)
    return {
        "url": data_url(pixels),
        "columns": columns,
        "rows": rows,
        "cell": cell,
        "tile": tile,
        "side": side,
        "words": words,
    }


@st.cache_data(show_spinner=False, max_entries=64)
def whole_kernels(_network: Network, key: str, name: str) -> dict[str, Any]:
    """Return every filter with all its input channels (of a very wide layer, the strongest) for its large picture.

    Returns
    -------
    `bytes`: base64 of uint8 (n, channels, height, width), weights from -1 (0) over 0 (127) to 1 (254) times the
    largest; `channels`, `height` and `width`, the colours of 0 to 254 as `shades` (base64, three bytes each), and
    `words`: what is shown.
    """
    kernels = group_kernels(_network, name)
    kernels = kernels.reshape(*kernels.shape[:2], *(kernels.shape[2:] or (1, 1)))
    n, c, height, width = kernels.shape
    kernels = charts.strongest_channels(kernels, max(1, _WHOLE_BYTES // (n * height * width)))
    levels = np.arange(-127, 128) / 127
    steps = np.rint(127 * (kernels / (float(np.abs(kernels).max()) or 1.0))) + 127
    m = kernels.shape[1]
    words = f"all {c} input channels" if m == c > 1 else f"the {m} strongest of {c} input channels" if m < c else ""
    return {
        "bytes": base64.b64encode(steps.astype(np.uint8).tobytes()).decode(), "channels": m, "height": height,
        "width": width, "shades": base64.b64encode(charts.signed_rgb(levels).tobytes()).decode(), "words": words,
    }  # fmt: skip


def data_url(pixels: NDArray[np.uint8]) -> str:
    """Encode an image for a page."""
    return "data:image/png;base64," + base64.b64encode(png(pixels)).decode()


def _scale(kernels: NDArray[np.float32], pixels: float, gap: int) -> int:
    """Return the pixels of a weight so that a filter (n, c, kh, kw) with its gap is about `pixels` wide."""
    across, (kh, kw) = int(np.ceil(np.sqrt(kernels.shape[1]))), kernels.shape[2:]
    seam = 1 if kh * kw > 1 else 0
    return max(1, round(pixels / (across * (kw + seam) - seam + gap)))


@st.cache_data(show_spinner="Running validation images", max_entries=16)
def rates(_network: Network, key: str) -> dict[str, FloatArray]:
    """Return how often each filter is active on validation images; nothing where there are none."""
    macs = network_cost(_network).macs
    count = min(len(_network.data.val), int(np.clip(_RATE_MACS / max(1, macs), 4, _RATE_IMAGES)))
    if count == 0:
        return {}
    images = _network.data.prepare(_network.data.val.sample(count).images)
    return activation_rates(twin(_network.module), _network.graph, images)


def filter_table(shown: GroupView) -> pd.DataFrame:
    """Describe each filter: its cluster, norm, distance to the centroid, and with images its activation rate."""
    network, labels, k = shown.network, shown.labels, shown.k
    w = vectors_of(network, shown.key, shown.name, shown.vectors)
    d = weights_of(network, shown.key, shown.name, shown.vectors)
    centroids = cluster_means(w, labels, d)
    table = pd.DataFrame(
        {
            "filter": np.arange(len(labels)),
            "cluster": labels,
            "members": np.bincount(labels, minlength=k)[labels],
            "norm": np.sqrt(weights_of(network, shown.key, shown.name, "raw")),
            "distance": np.linalg.norm(w - centroids[labels], axis=1),
        }
    )
    active = rates(network, shown.key).get(shown.name)
    return table if active is None else table.assign(rate=100 * active)


@st.cache_data(show_spinner=False, max_entries=256)
def weights_of(_network: Network, key: str, name: str, kind: str) -> FloatArray:
    """Return the diagonal of D, (n,), for vectors of this kind."""
    return filter_weights(_network.module, _network.graph.group(name), kind)


def share_lost(shown: GroupView) -> float:
    """Return the share of the filters' spread that the shown clusters do not explain, 0 to 1."""
    w = vectors_of(shown.network, shown.key, shown.name, shown.vectors)
    return spread_lost(w, shown.labels, weights_of(shown.network, shown.key, shown.name, shown.vectors))


def silhouette_of(shown: GroupView, kind: str, algorithm: str) -> float:
    """Return the silhouette of as many clusters as are shown, found and measured by vectors of a kind; -1 to 1."""
    labels = _labels(shown.network, shown.key, shown.name, shown.k, kind, algorithm, (), shown.seed)
    return silhouette(vectors_of(shown.network, shown.key, shown.name, kind), labels)


@st.cache_data(show_spinner="Running the network", max_entries=64)
def maps_of(
    _network: Network, key: str, name: str, filters: tuple[int, ...], labels: bytes | None, count: int
) -> NDArray[np.float32]:
    """Return activation maps of filters on validation images, (filters, b, h, w).

    With `labels` (int64 bytes) the group's clusters are tied first: the maps are those of the centroids.
    """
    module, group = twin(_network.module), _network.graph.group(name)
    if labels is not None:
        reconstruct_(module, _network.graph, {name: np.frombuffer(labels, dtype=np.int64)})
    return activation_maps(module, group, _network.data.prepare(_network.data.val.sample(count).images), filters)
