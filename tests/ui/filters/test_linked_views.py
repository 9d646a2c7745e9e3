"""What the linked views of the Filters page are told to draw, and what they are heard to choose."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import streamlit as st

from pdc_core import charts
from ui.filters import selection
from ui.filters.group_view import GroupView, pca_of
from ui.filters.linked_views import linked_data
from ui.network import FilterMap, Network, load_network

LAYER = "layer2.0.conv1"


@pytest.fixture(scope="module")
def network() -> Network:
    return load_network("resnet20", "digits", "shipped", "internal")


@pytest.fixture(autouse=True)
def state(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    monkeypatch.setattr(st, "session_state", kept)
    return kept


def _shown(network: Network, labels: list[int]) -> GroupView:
    return GroupView(network, LAYER, "raw", 0, np.array(labels))


def _map(shown: GroupView) -> FilterMap:
    return pca_of(shown.network, shown.key, shown.name, "raw")


def test_every_filter_is_drawn_once_at_its_place_with_its_cluster(network: Network) -> None:
    shown = _shown(network, [i % 5 for i in range(31)] + [5])
    data = linked_data(shown, _map(shown), "PCA", highlight=2)
    assert np.array_equal(np.stack([data["x"], data["y"]], axis=1), _map(shown).points)
    assert data["labels"] == shown.labels.tolist()
    assert sorted(data["order"]) == list(range(32))
    clusters = [shown.labels[i] for i in data["order"]]
    assert clusters == sorted(clusters, key=lambda c: (-(shown.labels == c).sum(), c))
    assert [c for *_, c in data["centres"]] == [0, 1, 2, 3, 4]  # cluster 5 is one filter and needs no cross
    assert data["highlight"] == 2
    assert "32 filters in 6 clusters" in data["alt"]


def test_a_centroid_lies_among_the_filters_of_its_cluster(network: Network) -> None:
    shown = _shown(network, [0, 1] * 16)
    data = linked_data(shown, _map(shown), "PCA", highlight=None)
    for x, y, c in data["centres"]:
        own = _map(shown).points[shown.labels == c]
        assert (own.min(axis=0) <= [x, y]).all()
        assert ([x, y] <= own.max(axis=0)).all()


def test_the_script_knows_every_symbol() -> None:
    script = (Path(selection.__file__).parents[1] / "components" / "linked_views.js").read_text(encoding="utf-8")
    shapes = script[script.index("const SHAPES") : script.index("};", script.index("const SHAPES"))]
    for symbol in charts.SYMBOLS:
        assert f'  "{symbol}": "M' in shapes or f'  {symbol}: "M' in shapes


def test_a_click_chooses_filters_of_the_group_on_screen_only(network: Network, state: dict[str, Any]) -> None:
    shown = _shown(network, [0] * 32)
    state[selection.VIEWS] = {"picked": {"group": LAYER, "filters": [3, 1, 99, -1], "turn": 4}}
    selection.take_views(shown)
    assert selection.chosen(shown) == [1, 3]  # what is no filter of the group is not chosen
    assert linked_data(shown, _map(shown), "PCA", None)["chosen"] == [1, 3]
    assert selection.last_turn() == 4
    state[selection.VIEWS] = {"picked": {"group": "layer1.0.conv1", "filters": [0], "turn": 5}}
    selection.take_views(shown)
    assert selection.chosen(shown) == [1, 3]
    assert selection.last_turn() == 5
    state[selection.VIEWS] = {"picked": None}
    selection.take_views(shown)
    assert selection.chosen(shown) == [1, 3]


def test_the_table_is_drawn_anew_only_when_something_else_chose(network: Network, state: dict[str, Any]) -> None:
    shown = _shown(network, [0] * 32)
    before = selection.widget_key(shown)
    state[before] = {"selection": {"rows": [2, 7]}}
    selection.take_table(shown)
    assert selection.chosen(shown) == [2, 7]
    assert selection.widget_key(shown) == before
    selection.choose(shown, [7], "views")
    assert selection.widget_key(shown) != before


@pytest.mark.parametrize(("layer", "n"), [("layer1.0.conv1", 16), ("layer3.0.conv1", 64)])
def test_the_sheet_holds_every_tile_where_the_script_looks_for_it(network: Network, layer: str, n: int) -> None:
    import base64
    import io

    from PIL import Image

    from ui.current_plan import network_key
    from ui.filters.group_view import sheet
    from ui.network import group_kernels

    found = sheet(network, network_key(network), layer)
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(found["url"].split(",")[1]))))
    (width, height), (across, down) = found["cell"], found["tile"]
    assert pixels.shape[:2] == (found["rows"] * height, found["columns"] * width)
    assert width <= found["side"] + 1e-9 or found["tile"][0] < width
    gap = charts.KERNEL_GAP
    kernels, words = charts.legible_kernels(group_kernels(network, layer), found["side"], gap)
    assert found["words"] == words
    bound = float(np.abs(kernels).max())
    for i in (0, n // 2, n - 1):
        left, top = i % found["columns"] * width, i // found["columns"] * height
        scale = (width - across) // gap
        alone = charts.kernel_picture(kernels[i : i + 1], 1, scale, bound)
        assert np.array_equal(pixels[top : top + down, left : left + across], alone[:down, :across])


@pytest.mark.parametrize(
    ("layer", "limit"), [("layer1.0.conv1", 10**6), ("layer3.0.conv2", 10**6), ("layer3.0.conv2", 5760)]
)
def test_the_large_picture_has_all_input_channels_or_says_which(
    network: Network, layer: str, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    import base64

    from ui.filters import group_view
    from ui.network import group_kernels

    monkeypatch.setattr(group_view, "_WHOLE_BYTES", limit)
    kernels = group_kernels(network, layer)
    n, c, kh, kw = kernels.shape
    found = group_view.whole_kernels.__wrapped__(network, "", layer)
    m = min(c, limit // (n * kh * kw))
    assert found["words"] == (f"all {c} input channels" if m == c else f"the {m} strongest of {c} input channels")
    steps = np.frombuffer(base64.b64decode(found["bytes"]), dtype=np.uint8).reshape(n, m, kh, kw)
    kept = charts.strongest_channels(kernels, m)
    assert np.abs((steps.astype(float) - 127) / 127 * np.abs(kernels).max() - kept).max() < np.abs(kernels).max() / 250
