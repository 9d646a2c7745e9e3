"""The script of the linked views in a blank page: what it draws, and what it reports of keys, clicks and a lasso.

Every oracle is a naive implementation here, on the places that the script drew the filters at.
"""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import streamlit as st
from PIL import Image
from playwright.sync_api import Browser, Page

from pdc_core import charts
from tests.browser.mounting import MOUNT
from ui.components import source
from ui.filters.group_view import GroupView, pca_of
from ui.filters.linked_views import linked_data
from ui.network import load_network

N = 24
CLUSTERS = 5
PLACES = ((0, -17), (1, 0), (-1, 0), (0, 17), (13, -13), (-13, -13), (13, 13), (-13, 13))  # of a number, in order
ARROWS = {"ArrowRight": (1, 0), "ArrowLeft": (-1, 0), "ArrowDown": (0, 1), "ArrowUp": (0, -1)}
# Press each key on each filter: [[filter, key], the filter that has the focus then].
PRESS = """([selector, filters, keys]) => filters.flatMap(i => keys.map(key => {
  const node = document.querySelector(`${selector}[data-filter='${i}']`);
  node.focus();
  node.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true, cancelable: true}));
  return [[i, key], Number(document.activeElement.dataset.filter)];
}))"""


@pytest.fixture(scope="module")
def blank(browser: Browser) -> Page:
    page = browser.new_page(viewport={"width": 1000, "height": 700}, reduced_motion="reduce")
    page.set_default_timeout(10_000)
    return page


def _data(seed: int = 0, n: int = N, channels: int = 4) -> dict[str, Any]:
    """Return data of the shape that `linked_data` sends (a test below compares), of random filters."""
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(CLUSTERS), rng.integers(0, CLUSTERS, n - CLUSTERS)])
    places, kernels = rng.normal(size=(n, 2)), rng.normal(size=(n, channels, 3, 3))
    columns, scale = 6, 2
    pixels = charts.kernel_picture(kernels, columns, scale)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    cell = (pixels.shape[1] // columns, pixels.shape[0] // -(-n // columns))
    steps = np.rint(127 * kernels / np.abs(kernels).max()) + 127
    shades = charts.signed_rgb(np.arange(-127, 128) / 127)
    sizes = np.bincount(labels)
    return {
        "group": "conv1",
        "title": "conv1",
        "alt": "A map of filters",
        "axes": ["first", "second"],
        "x": places[:, 0].tolist(),
        "y": places[:, 1].tolist(),
        "labels": labels.tolist(),
        "centres": [[*places[labels == c].mean(axis=0).tolist(), c] for c in range(CLUSTERS) if sizes[c] > 1],
        "order": np.lexsort((np.arange(n), labels, -sizes[labels])).tolist(),
        "sheet": {
            "url": "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode(),
            "columns": columns,
            "rows": -(-n // columns),
            "cell": list(cell),
            "tile": [side - charts.KERNEL_GAP * scale for side in cell],
            "side": 52,
            "words": "all 4 input channels",
        },
        "whole": {
            "bytes": base64.b64encode(steps.astype(np.uint8).tobytes()).decode(),
            "channels": channels,
            "height": 3,
            "width": 3,
            "shades": base64.b64encode(shades.tobytes()).decode(),
            "words": "all 4 input channels",
        },
        "colours": list(charts.COLOURS),
        "symbols": list(charts.SYMBOLS),
        "highlight": None,
        "chosen": [],
        "turn": 0,
        "picture": "png",
    }


class Views:
    """The component in the blank page, and what was heard from it."""

    def __init__(self, page: Page, data: dict[str, Any]) -> None:
        self.page, self.data, self.labels = page, data, data["labels"]
        page.mouse.move(1, 690)
        page.set_content(f'<style>{source("linked_views", "css")}</style><div id="root"></div>')
        page.evaluate("html => { document.getElementById('root').innerHTML = html }", source("linked_views", "html"))
        page.evaluate(MOUNT, {"script": source("linked_views", "js"), "data": data})
        page.wait_for_function("!document.querySelector('.views').classList.contains('still')")

    def show(self, **changes: Any) -> None:
        """Send data again, as a run of the page does."""
        self.data = {**self.data, **changes}
        self.page.evaluate("data => window.show(data)", self.data)

    @property
    def heard(self) -> list[dict[str, Any]]:
        """Everything that was reported, each as {group, filters, turn}."""
        assert all(name == "picked" for name, _ in self.page.evaluate("window.heard"))
        return [value for _, value in self.page.evaluate("window.heard")]

    def places(self, selector: str = ".point") -> np.ndarray:
        """Return where the filters (or centroids) are on the map in its pixels, (n, 2)."""
        moves = self.page.evaluate(
            "s => [...document.querySelectorAll(s)].map(node => { const m = new DOMMatrix(getComputedStyle(node)"
            ".transform); return [m.e, m.f] })",
            selector,
        )
        return np.array(moves)

    def marked(self, selector: str) -> list[int]:
        """Return the filters of the marked points or tiles, sorted."""
        found = self.page.evaluate(
            "s => [...document.querySelectorAll(s)].map(node => Number(node.dataset.filter))", selector
        )
        return sorted(found)

    def to_screen(self, place: np.ndarray) -> tuple[float, float]:
        """Return where a place of the map is on the screen."""
        box = self.page.locator(".map").bounding_box()
        assert box is not None
        return box["x"] + float(place[0]), box["y"] + float(place[1])

    def click(self, i: int, shift: bool = False) -> None:
        """Click the point of filter i in its middle."""
        if shift:
            self.page.keyboard.down("Shift")
        self.page.mouse.click(*self.to_screen(self.places()[i]))
        if shift:
            self.page.keyboard.up("Shift")

    def drag(self, corners: np.ndarray, shift: bool = False) -> None:
        """Draw a lasso through corners (k, 2) in pixels of the map."""
        if shift:
            self.page.keyboard.down("Shift")
        start = np.array(self.to_screen(np.zeros(2)))
        self.page.mouse.move(*map(float, start + corners[0]))
        self.page.mouse.down()
        for corner in corners[1:]:
            self.page.mouse.move(*map(float, start + corner))
        self.page.mouse.up()
        if shift:
            self.page.keyboard.up("Shift")


@pytest.fixture
def views(blank: Page) -> Views:
    return Views(blank, _data())


def _nothing_on_top(places: np.ndarray) -> list[int]:
    """Return the filters whose middle no other point covers, so that a click meets them."""
    apart = np.linalg.norm(places[:, None] - places[None], axis=2) + 1e9 * np.eye(len(places))
    return np.flatnonzero(apart.min(axis=1) > 20).tolist()


def test_the_data_of_these_tests_has_the_shape_of_what_the_page_sends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(st, "session_state", {})
    network = load_network("resnet20", "digits", "shipped", "internal")
    shown = GroupView(network, "layer1.0.conv1", "raw", 0, np.arange(16) % 4)
    sent = linked_data(shown, pca_of(network, shown.key, shown.name, "raw"), "PCA", None)
    ours = _data()
    assert sent.keys() == ours.keys()
    for part in ("sheet", "whole"):
        assert sent[part].keys() == ours[part].keys()
    size = np.prod([len(shown.labels), *(sent["whole"][side] for side in ("channels", "height", "width"))])
    assert len(base64.b64decode(sent["whole"]["bytes"])) == size
    assert base64.b64decode(sent["whole"]["shades"]) == charts.signed_rgb(np.arange(-127, 128) / 127).tobytes()


def test_filters_lie_on_the_map_as_in_the_data_y_upwards_and_inside(views: Views) -> None:
    places, box = views.places(), views.page.locator(".map").bounding_box()
    assert box is not None
    for axis, (name, sign) in enumerate((("x", 1), ("y", -1))):
        values = sign * np.array(views.data[name])
        drawn = places[:, axis]
        share = (values - values.min()) / (values.max() - values.min())
        assert np.allclose((drawn - drawn.min()) / (drawn.max() - drawn.min()), share, atol=1e-3)
        assert 0 < drawn.min() < drawn.max() < (box["width"], box["height"])[axis]
    middles = views.places(".cross")
    for middle, (_, _, cluster) in zip(middles, views.data["centres"], strict=True):
        own = places[np.array(views.labels) == cluster]
        assert np.allclose(middle, own.mean(axis=0), atol=0.1)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_numbers_stand_where_they_cover_least(blank: Page, seed: int) -> None:
    views = Views(blank, _data(seed))
    drawn = views.page.evaluate(
        "[...document.querySelectorAll('.point')].map(p => [p.lastChild.textContent, "
        "Number(p.lastChild.getAttribute('x')), Number(p.lastChild.getAttribute('y'))])"
    )
    assert [text for text, _, _ in drawn] == [str(i) for i in range(N)]
    expected = _labels(views.places(), views.places(".cross"))
    assert np.allclose([(x, y) for _, x, y in drawn], expected)


def _labels(places: np.ndarray, middles: np.ndarray) -> list[tuple[float, float]]:
    """Place numbers one after the other, each at the first of eight places that covers least of what is there."""
    taken = [(x - 8, y - 8, x + 8, y + 8) for x, y in [*places, *middles]]
    found = []
    for i, (x, y) in enumerate(places):
        half = 4.5 * len(str(i))
        sums = []
        for dx, dy in PLACES:
            dx = dx * (half + 13) if abs(dx) == 1 else dx
            box = (x + dx - half, y + dy - 7, x + dx + half, y + dy + 7)
            covered = 0.0
            for other in taken:
                wide = min(box[2], other[2]) - max(box[0], other[0])
                high = min(box[3], other[3]) - max(box[1], other[1])
                covered += wide * high if wide > 0 and high > 0 else 0.0
            sums.append((covered, dx, dy, box))
        _, dx, dy, box = next(s for s in sums if s[0] <= min(s[0] for s in sums) + 1e-9)
        taken.append(box)
        found.append((dx, dy + 5))
    return found


def test_arrow_keys_go_to_the_nearest_filter_in_their_direction(views: Views) -> None:
    places = views.places()
    moves = views.page.evaluate(PRESS, [".point", list(range(N)), list(ARROWS)])
    for (i, key), now in moves:
        expected = _neighbour(places, i, ARROWS[key])
        assert now == (i if expected is None else expected), (i, key)
    views.page.locator(".point[data-filter='0']").focus()
    views.page.keyboard.press("ArrowRight")  # a real key once
    assert views.page.evaluate("Number(document.activeElement.dataset.filter)") == _neighbour(places, 0, (1, 0))


def _neighbour(places: np.ndarray, i: int, direction: tuple[int, int]) -> int | None:
    """Return the filter ahead with the least way, sideways counted twice."""
    far = {}
    for j, place in enumerate(places):
        step = place - places[i]
        ahead, aside = float(step @ direction), float(abs(step @ direction[::-1]))
        if j != i and ahead > 0:
            far[j] = ahead + 2 * aside
    return min(far, key=lambda j: far[j]) if far else None


def test_arrow_keys_in_the_grid_go_on_by_one_tile_or_by_one_row(views: Views) -> None:
    order, columns = views.data["order"], views.data["sheet"]["columns"]
    for (i, key), now in views.page.evaluate(PRESS, [".tile", list(range(N)), list(ARROWS)]):
        t, (dx, dy) = order.index(i), ARROWS[key]
        wanted = t + dx + columns * dy
        assert order.index(now) == (wanted if 0 <= wanted < N else t), (t, key)


def test_space_chooses_and_escape_chooses_none(views: Views) -> None:
    views.page.locator(".point[data-filter='3']").focus()
    views.page.keyboard.press("Space")
    views.page.locator(".tile[data-filter='1']").focus()
    views.page.keyboard.press("Enter")
    views.page.keyboard.press("Escape")
    assert views.heard == [
        {"group": "conv1", "filters": [3], "turn": 1},
        {"group": "conv1", "filters": [1, 3], "turn": 2},
        {"group": "conv1", "filters": [], "turn": 3},
    ]


def test_a_click_chooses_one_shift_adds_and_takes_away_beside_all_chooses_none(views: Views) -> None:
    a, b, c = _nothing_on_top(views.places())[:3]
    views.click(a)
    views.click(b, shift=True)
    views.click(c, shift=True)
    views.click(a, shift=True)
    assert [said["filters"] for said in views.heard] == [[a], sorted([a, b]), sorted([a, b, c]), sorted([b, c])]
    assert views.marked(".point.chosen") == views.marked(".tile.chosen") == sorted([b, c])
    views.click(b)
    views.click(b)  # the only one that is chosen: a second click takes it away
    views.click(c)
    views.page.mouse.click(*views.to_screen(np.array([3.0, 3.0])))
    assert [said["filters"] for said in views.heard[4:]] == [[b], [], [c], []]
    assert [said["turn"] for said in views.heard] == list(range(1, 9))


def test_clicks_on_tiles_choose_as_on_the_map(views: Views) -> None:
    views.page.locator(".tile[data-filter='5']").click()
    views.page.locator(".tile[data-filter='2']").click(modifiers=["Shift"])
    assert [said["filters"] for said in views.heard] == [[5], [2, 5]]
    assert views.marked(".point.chosen") == [2, 5]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_lasso_chooses_what_it_goes_around(views: Views, seed: int) -> None:
    places = views.places()
    corners = _lasso(np.random.default_rng(seed), places)
    views.drag(corners)
    expected = [i for i, place in enumerate(places) if _winds(corners, place)]
    assert 0 < len(expected) < N
    assert views.heard[-1]["filters"] == expected
    outside = next(i for i in _nothing_on_top(places) if i not in expected)
    views.click(outside)
    views.drag(corners, shift=True)
    assert views.heard[-1]["filters"] == sorted([*expected, outside])


def _lasso(rng: np.random.Generator, places: np.ndarray) -> np.ndarray:
    """Return a notched polygon (k, 2) around the middle of the map, its corners away from every filter."""
    while True:
        angles = np.sort(rng.uniform(0, 2 * np.pi, 9))
        radii = rng.uniform(40, 200, 9)
        corners = np.round([300, 230] + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1))
        edges = np.stack([corners, np.roll(corners, -1, axis=0)], axis=1)
        if min(_distance(edge, place) for edge in edges for place in places) > 3:
            return np.asarray(corners)


def _distance(edge: np.ndarray, place: np.ndarray) -> float:
    step = edge[1] - edge[0]
    t = np.clip((place - edge[0]) @ step / max(float(step @ step), 1e-9), 0, 1)
    return float(np.linalg.norm(edge[0] + t * step - place))


def _winds(corners: np.ndarray, place: np.ndarray) -> bool:
    """Tell whether a polygon winds around a place: the angles under which its edges are seen sum to a full turn."""
    rays = [complex(*(corner - place)) for corner in corners]
    turn = sum(np.angle(after / before) for before, after in zip(rays, [*rays[1:], rays[0]], strict=True))
    return abs(turn) > np.pi


def test_a_key_of_the_legend_chooses_its_cluster_and_shift_adds_another(views: Views) -> None:
    keys = views.page.locator(".legend button")
    sizes = np.bincount(views.labels)
    names = [f"{c}: {size} filter{'s' if size > 1 else ''}" for c, size in enumerate(sizes)]
    assert keys.all_inner_texts() == names
    members = [[i for i, c in enumerate(views.labels) if c == cluster] for cluster in range(CLUSTERS)]
    keys.nth(2).click()
    assert views.heard[-1]["filters"] == members[2]
    keys.nth(0).click(modifiers=["Shift"])
    assert views.heard[-1]["filters"] == sorted(members[0] + members[2])
    keys.nth(1).hover()
    others = [i for i, c in enumerate(views.labels) if c != 1]
    assert views.marked(".point.faded") == views.marked(".tile.faded") == others


def test_an_answer_to_an_older_turn_does_not_undo_a_click(views: Views) -> None:
    views.page.locator(".tile[data-filter='5']").click()
    views.page.locator(".tile[data-filter='2']").click(modifiers=["Shift"])
    views.show(chosen=[5], turn=1)
    assert views.marked(".tile.chosen") == [2, 5]
    views.show(chosen=[7], turn=2)  # the same turn: the table below chose
    assert views.marked(".tile.chosen") == [7]
    views.show(group="conv2", chosen=[], turn=0)  # of another group nothing is chosen
    assert views.marked(".tile.chosen") == []


@pytest.mark.parametrize("channels", [1, 4, 10])
def test_pointing_shows_the_filter_with_all_its_input_channels(blank: Page, channels: int) -> None:
    data = _data(channels=channels)
    views = Views(blank, data)
    views.page.locator(".tile[data-filter='5']").hover()
    assert views.page.locator(".tip").inner_text().split("\n")[0].startswith(f"filter 5, cluster {data['labels'][5]}")
    steps = np.frombuffer(base64.b64decode(data["whole"]["bytes"]), dtype=np.uint8).reshape(N, channels, 3, 3)
    drawn = views.page.evaluate(
        "() => { const c = document.querySelector('.tip canvas'); const p = c.getContext('2d')"
        ".getImageData(0, 0, c.width, c.height); return [p.height, p.width, [...p.data]] }"
    )
    pixels = np.array(drawn[2], dtype=np.uint8).reshape(drawn[0], drawn[1], 4)
    across = int(np.ceil(np.sqrt(channels)))
    seen = np.zeros(pixels.shape[:2], dtype=bool)
    for j in range(channels):
        top, left = 4 * (j // across), 4 * (j % across)
        expected = charts.signed_rgb((steps[5, j].astype(float) - 127) / 127)
        assert np.array_equal(pixels[top : top + 3, left : left + 3, :3], expected)
        seen[top : top + 3, left : left + 3] = True
    assert np.array_equal(pixels[..., 3] == 255, seen)
    assert views.marked(".tile.pointed") == views.marked(".point.pointed") == [5]


def test_the_map_is_saved_with_every_filter_where_it_is_drawn(views: Views) -> None:
    views.show(picture="svg")
    with views.page.expect_download() as download:
        views.page.locator(".views .save").click()
    assert download.value.suggested_filename == "pdc-map-conv1.svg"
    saved = Path(download.value.path()).read_text(encoding="utf-8")
    moves = re.findall(r'class="point[^>]*transform="translate\(([^)]*)\)', saved)
    assert np.allclose([[float(v) for v in move.split(",")] for move in moves], views.places(), atol=0.1)
