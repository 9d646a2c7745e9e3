"""Every page: it opens by its address, says once what MACs are, and shows fewer controls in a lecture."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

PAGES = ["model", "filters", "plan", "distil", "compare", "learn"]
ROOT = Path(__file__).parents[2]
Open = Callable[..., AppTest]


@pytest.mark.parametrize("page", PAGES)
def test_every_page_opens_by_its_own_address_and_says_once_what_macs_are(opened: Open, page: str) -> None:
    app = opened(page)
    assert not app.exception
    assert app.title[0].value == page.capitalize()
    assert sum("what the pruning literature calls FLOPs" in caption.value for caption in app.caption) == 1


def test_the_router_opens_the_first_page() -> None:
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=120).run()
    assert not app.exception
    assert app.title[0].value == "Model"


@pytest.mark.parametrize("page", ["model", "filters", "plan", "learn"])
def test_a_lecture_shows_the_page_with_fewer_controls(opened: Open, page: str) -> None:
    def controls(app: AppTest) -> int:
        return sum(len(app.get(kind)) for kind in ("button", "selectbox", "expander", "number_input", "radio"))

    full, lecture = opened(page), opened(page, lecture="1")
    assert not lecture.exception
    assert controls(lecture) < controls(full)
    assert [title.value for title in lecture.title] == [title.value for title in full.title]
