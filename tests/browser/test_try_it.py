"""The sheet to draw on and the images to choose from, in a blank page: what they report."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, Page

from tests.browser.mounting import MOUNT
from ui.components import source


@pytest.fixture(scope="module")
def blank(browser: Browser) -> Page:
    page = browser.new_page(viewport={"width": 800, "height": 600})
    page.set_default_timeout(10_000)
    return page


def _mount(page: Page, name: str, data: dict[str, Any]) -> None:
    page.set_content(f"<style>{source(name, 'css')}</style><div id='root'>{source(name, 'html')}</div>")
    page.evaluate(MOUNT, {"script": source(name, "js"), "data": data})


def _last(page: Page) -> NDArray[np.uint8]:
    page.wait_for_function("window.heard.length > 0")
    name, value = page.evaluate("window.heard.at(-1)")
    assert name == "drawing"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(value.partition(",")[2]))).convert("L"))


def test_a_stroke_of_the_pointer_arrives_as_drawn_and_clear_empties_the_sheet(blank: Page) -> None:
    _mount(blank, "sketch", {"drawing": "", "width": 20})
    box = blank.locator("canvas").bounding_box()
    assert box is not None
    blank.mouse.move(box["x"] + 60, box["y"] + 140)
    blank.mouse.down()
    blank.mouse.move(box["x"] + 200, box["y"] + 140, steps=4)
    blank.mouse.up()
    ink = _last(blank) > 127
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    assert [rows[0], rows[-1]] == pytest.approx([130, 149], abs=1)
    assert [columns[0], columns[-1]] == pytest.approx([50, 209], abs=1)
    blank.get_by_role("button", name="Clear").click()
    assert blank.evaluate("window.heard.at(-1)") == ["drawing", ""]


def test_the_keyboard_draws_and_a_kept_drawing_is_shown_again(blank: Page) -> None:
    _mount(blank, "sketch", {"drawing": "", "width": 20})
    blank.locator("canvas").focus()
    blank.keyboard.press("ArrowUp")
    for key in (" ", "ArrowLeft", "ArrowLeft", " ", "ArrowUp"):
        blank.keyboard.press(key)
    blank.wait_for_timeout(400)
    ink = _last(blank) > 127
    columns = np.flatnonzero(ink.any(axis=0))
    assert [columns[0], columns[-1]] == pytest.approx([140 - 28 - 10, 149], abs=1)
    kept = blank.evaluate("window.heard.at(-1)[1]")
    _mount(blank, "sketch", {"drawing": kept, "width": 20})
    blank.locator("canvas").focus()
    blank.wait_for_timeout(100)
    blank.keyboard.press(" ")
    assert (_last(blank) > 127)[ink].all()


def test_an_image_that_is_clicked_or_pressed_is_named(blank: Page) -> None:
    images = [{"id": i, "url": "data:,", "caption": f"<b>{i}</b>", "note": "true: 3"} for i in (7, 3)]
    _mount(blank, "thumbnails", {"label": "Images", "side": 60, "images": images, "chosen": 3})
    assert blank.locator("button b").count() == 0  # names are text, never HTML
    assert blank.locator("button[aria-pressed=true]").get_attribute("data-image") == "3"
    blank.locator("button").nth(0).click()
    blank.locator("button").nth(1).press("Enter")
    assert blank.evaluate("window.heard") == [["picked", 7], ["picked", 3]]
