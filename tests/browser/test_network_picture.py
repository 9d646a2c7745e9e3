"""The script of the network's picture in a blank page: what wheel, drag, keys and clicks change and report."""

from __future__ import annotations

from typing import Any

import pytest
import streamlit as st
from playwright.sync_api import Browser, Locator, Page, expect

from pdc_core import Plan, charts
from tests.browser.mounting import MOUNT
from ui.components import source
from ui.network import load_network
from ui.network_picture import picture_data

PAUSE = 600  # milliseconds after which counts have been sent


class Picture:
    """The component in a blank page, and what was heard from it."""

    def __init__(self, page: Page, folded: tuple[str, ...] = (), **constraints: Any) -> None:
        self.page, self.folded = page, folded
        self.network = load_network("resnet20", "digits", "shipped", "internal")
        self.plan = Plan.uniform(self.network.graph, 0.25, **constraints)
        page.goto("about:blank")  # ends what the script of an earlier test still has to report
        page.mouse.move(1, 690)
        page.set_content(f'<style>{source("network_picture", "css")}</style><div id="root"></div>')
        page.evaluate("html => { document.getElementById('root').innerHTML = html }", source("network_picture", "html"))
        page.evaluate(MOUNT, {"script": source("network_picture", "js"), "data": self.data(self.plan, 0)})

    def data(self, plan: Plan, turn: int) -> dict[str, Any]:
        drawn = charts.network_picture(self.network.graph, plan, folded=self.folded)
        return {**picture_data(self.network, plan, drawn, True), "turn": turn}

    def answer(self, plan: Plan, turn: int) -> None:
        """Send data again, as a run of the page does."""
        self.page.evaluate("data => window.show(data)", self.data(plan, turn))

    def node(self, key: str) -> Locator:
        return self.page.locator(f".node[data-node='{key}']")

    def count(self, key: str) -> int:
        return int(self.node(key).locator(".count").inner_html().replace(",", ""))

    @property
    def heard(self) -> list[dict[str, Any]]:
        """Everything that was reported until now or is about to be."""
        self.page.wait_for_timeout(PAUSE)
        assert all(name == "act" for name, _ in self.page.evaluate("window.heard"))
        return [value for _, value in self.page.evaluate("window.heard")]


@pytest.fixture(scope="module")
def blank(browser: Browser) -> Page:
    page = browser.new_page(viewport={"width": 1100, "height": 700}, reduced_motion="reduce")
    page.set_default_timeout(10_000)
    return page


@pytest.fixture(autouse=True)
def state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(st, "session_state", {})
    monkeypatch.setattr(st, "query_params", {})


def _said(counts: dict[str, int], turn: int, by: str, do: str = "count", **more: Any) -> dict[str, Any]:
    return {"do": do, "counts": counts, "by": by, "turn": turn, **more}


def test_arrow_keys_change_a_count_at_once_and_report_it_after_a_pause(blank: Page) -> None:
    picture = Picture(blank)
    node = picture.node("layer1_0_conv1")
    node.focus()
    for key in ("ArrowUp", "ArrowUp", "ArrowUp", "ArrowDown"):
        blank.keyboard.press(key)
    assert picture.count("layer1_0_conv1") == 6
    assert node.get_attribute("aria-valuenow") == "6"
    whole, kept = (float(str(node.locator(f".{part}").get_attribute("height"))) for part in ("whole", "kept"))
    assert kept / whole == pytest.approx(6 / 16)
    assert picture.heard == [_said({"layer1.0.conv1": 6}, 1, "layer1.0.conv1")]
    blank.keyboard.press("End")
    blank.keyboard.press("ArrowUp")  # there are no more
    assert picture.count("layer1_0_conv1") == 16
    blank.keyboard.press("Home")
    assert picture.count("layer1_0_conv1") == 1


def test_left_and_right_walk_along_the_bars_and_enter_opens_or_folds(blank: Page) -> None:
    picture = Picture(blank)
    picture.node("conv1").focus()
    blank.keyboard.press("ArrowUp")  # its filters are summed and all kept
    blank.keyboard.press("ArrowRight")
    assert blank.evaluate("document.activeElement.dataset.node") == "layer1_0_conv1"
    blank.keyboard.press("Enter")
    blank.keyboard.press("ArrowRight")
    blank.keyboard.press("Enter")  # nothing can be chosen there
    blank.locator(".block[data-block='layer1']").focus()
    blank.keyboard.press("ArrowRight")
    blank.keyboard.press("Space")
    assert picture.heard == [
        _said({}, 1, "", "open", group="layer1.0.conv1"),
        _said({}, 2, "", "fold", block="layer2"),
    ]
    assert blank.locator("[tabindex='0']").count() == 2  # one stop of the tab key for bars, one for blocks


def test_the_wheel_moves_a_count_by_one_and_a_scrolling_page_scrolls_on(blank: Page) -> None:
    picture = Picture(blank)
    picture.node("layer2_0_conv1").hover()
    blank.wait_for_timeout(300)
    blank.mouse.wheel(0, -100)
    blank.mouse.wheel(0, -100)
    blank.mouse.wheel(0, 100)
    blank.wait_for_function("document.querySelector(`[data-node='layer2_0_conv1'] .count`).textContent === '9'")
    assert picture.heard == [_said({"layer2.0.conv1": 9}, 1, "layer2.0.conv1")]
    blank.mouse.move(600, 690)
    blank.mouse.wheel(0, 100)  # beside all bars
    picture.node("layer3_0_conv1").hover()
    blank.mouse.wheel(0, 100)
    assert picture.count("layer3_0_conv1") == 16


def test_a_drag_sets_the_share_of_the_bar_and_a_click_opens_it(blank: Page) -> None:
    picture = Picture(blank)
    box = picture.node("layer3_1_conv1").locator(".whole").bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] * 0.9
    blank.mouse.move(x, y)
    blank.mouse.down()
    blank.mouse.move(x + 40, y - box["height"] / 2, steps=8)  # the pointer may leave the bar
    assert picture.count("layer3_1_conv1") == 16 + 32
    blank.mouse.up()
    assert picture.heard == [_said({"layer3.1.conv1": 48}, 1, "layer3.1.conv1")]
    picture.node("layer3_1_conv1").locator(".kept").click()
    said = picture.heard[-1]
    assert (said["do"], said["group"], said["counts"]) == ("open", "layer3.1.conv1", {"layer3.1.conv1": 48})


def test_a_folded_block_changes_all_its_layers_and_a_click_unfolds_it(blank: Page) -> None:
    picture = Picture(blank, folded=("layer1",))
    picture.node("layer1").focus()
    blank.keyboard.press("End")
    blank.keyboard.press("ArrowDown")
    counts = {f"layer1.{i}.conv1": 16 for i in range(3)}
    assert picture.heard == [_said(counts, 1, "layer1")]  # 98 % of 16 filters are 16
    for _ in range(9):
        blank.keyboard.press("PageDown")
    assert picture.count("layer1") == 3 * 16 + sum(picture.heard[-1]["counts"].values())
    assert max(picture.heard[-1]["counts"].values()) < 16
    picture.node("layer1").locator(".kept").click()
    assert picture.heard[-1]["do"] == "fold"
    assert picture.heard[-1]["block"] == "layer1"


def test_an_answer_to_an_older_turn_undoes_nothing_and_a_refusal_does(blank: Page) -> None:
    picture = Picture(blank)
    picture.node("layer1_0_conv1").focus()
    blank.keyboard.press("ArrowUp")
    assert len(picture.heard) == 1
    blank.keyboard.press("ArrowUp")
    picture.answer(picture.plan.replace({"layer1.0.conv1": 5}), 1)  # Python has heard of the first step only
    assert picture.count("layer1_0_conv1") == 6
    assert blank.evaluate("document.activeElement.dataset.node") == "layer1_0_conv1"
    assert picture.heard[-1] == _said({"layer1.0.conv1": 6}, 2, "layer1.0.conv1")
    picture.answer(picture.plan, 1)
    assert picture.count("layer1_0_conv1") == 6
    picture.answer(picture.plan, 2)
    assert picture.count("layer1_0_conv1") == 4


def test_locked_layers_and_multiples_are_kept(blank: Page) -> None:
    picture = Picture(blank, round_to=4, bounds={"layer1.0.conv1": (4, 4)})
    for key in ("layer1_0_conv1", "layer2_0_conv1"):
        picture.node(key).focus()
        blank.keyboard.press("ArrowUp")
    assert picture.heard == [_said({"layer2.0.conv1": 12}, 1, "layer2.0.conv1")]
    assert picture.node("layer1_0_conv1").get_attribute("role") == "button"
    assert picture.node("layer2_0_conv1").get_attribute("role") == "slider"


def test_a_picture_wider_than_the_page_fades_where_it_goes_on(browser: Browser) -> None:
    page = browser.new_page(viewport={"width": 420, "height": 700})
    Picture(page)
    expect(page.locator(".scroll.after:not(.before)")).to_be_visible()
    for left, sides in ((80, ".before.after"), (10_000, ".before:not(.after)"), (0, ".after:not(.before)")):
        page.locator(".scroll").evaluate("(element, left) => { element.scrollLeft = left }", left)
        expect(page.locator(f".scroll{sides}")).to_be_visible()
    page.set_viewport_size({"width": 1100, "height": 700})
    expect(page.locator(".scroll:not(.before, .after)")).to_be_visible()
    page.close()


@pytest.mark.parametrize("kind", ["svg", "png"])
def test_the_picture_is_saved(blank: Page, kind: str) -> None:
    picture = Picture(blank)
    with blank.expect_download() as saving:
        blank.locator(f".save[data-format='{kind}']").click()
    assert saving.value.suggested_filename == f"pdc-network-resnet20.{kind}"
    content = saving.value.path().read_bytes()
    assert content[:4] == (b"<svg" if kind == "svg" else b"\x89PNG")
    if kind == "svg":
        assert f"<title>{picture.data(picture.plan, 0)['title']}</title>" in content.decode()
