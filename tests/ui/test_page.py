"""Every page: it opens by its address, says once what MACs are, and shows fewer controls in a lecture."""

from __future__ import annotations

import gc
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from ui.address import RENAMED
from ui.jobs import _import
from ui.runs.compare import BEFORE, COSTS
from ui.runs.sections import SECTIONS

OFFERED = {
    "view": ["Table", "Cluster count", "Activation maps"],
    "section": list(SECTIONS),
    "pinned": [BEFORE],
    "cost_axis": list(COSTS),
}
PAGES = ["model", "filters", "plan", "distil", "compare", "learn"]
ROOT = Path(__file__).parents[2]
Open = Callable[..., AppTest]


@pytest.mark.parametrize("page", PAGES)
def test_every_page_opens_by_its_own_address_and_says_once_what_macs_are(opened: Open, page: str) -> None:
    app = opened(page)
    assert not app.exception
    assert app.title[0].value == page.capitalize()
    assert sum("what the pruning literature calls FLOPs" in caption.value for caption in app.caption) == 1


def test_the_router_opens_the_first_page_with_the_network_on_clothing() -> None:
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=120).run()
    assert not app.exception
    assert app.title[0].value == "Model"
    assert app.caption[0].value.startswith("ResNet-20 on clothing ·")
    assert app.query_params["data"] in ("clothing", ["clothing"])


@pytest.mark.parametrize(("address", "data"), [({"plan": "1-2-3-4-5-6-7-8-9"}, "digits"), ({}, "clothing")])
def test_a_plan_in_an_address_without_data_is_one_of_digits_as_when_it_was_written(
    address: dict[str, str], data: str
) -> None:
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=120)
    for name, value in address.items():
        app.query_params[name] = value
    app.switch_page(str(ROOT / "pages" / "plan.py")).run()
    assert not app.exception
    assert app.session_state["choice"].data == data
    assert app.session_state["plan"].counts["layer1.0.conv1"] == (1 if address else 4)


@pytest.mark.parametrize("page", ["model", "filters", "plan", "learn"])
def test_a_lecture_shows_the_page_with_fewer_controls(opened: Open, page: str) -> None:
    def controls(app: AppTest) -> int:
        return sum(len(app.get(kind)) for kind in ("button", "selectbox", "expander", "number_input", "radio"))

    full, lecture = opened(page), opened(page, lecture="1")
    assert not lecture.exception
    assert controls(lecture) < controls(full)
    assert [title.value for title in lecture.title] == [title.value for title in full.title]


@pytest.mark.parametrize(
    ("name", "earlier", "today"), [(name, *pair) for name, values in RENAMED.items() for pair in values.items()]
)
def test_an_earlier_value_in_the_address_is_one_that_the_page_offers_today(name: str, earlier: str, today: str) -> None:
    assert today in OFFERED[name]
    assert earlier not in OFFERED[name]


@pytest.mark.parametrize(("earlier", "today"), list(RENAMED["view"].items()))
def test_an_earlier_address_opens_the_view_that_it_named(opened: Open, earlier: str, today: str) -> None:
    app = opened("filters", layer="layer2.1.conv1", view=earlier)
    assert not app.exception
    assert app.selectbox(key="layer").value == "layer2.1.conv1"
    assert app.segmented_control(key="view").value == today


def test_an_earlier_address_opens_the_section_the_cost_and_the_baseline_that_it_named(
    opened: Open, finished: Path
) -> None:
    app = opened(
        "compare",
        runs=finished.parent,
        run=finished.name,
        section="Same function?",
        cost_axis="Time of 64 images",
        pinned="the network before",
        model="resnet20",
        data="digits",
        weights="shipped",
    )
    assert not app.exception
    assert not app.warning
    assert app.segmented_control(key="section").value == "Equality check"
    assert app.selectbox(key="cost_axis").value == "Latency, 64 images"
    assert app.selectbox(key="pinned").value == "original network"
    assert app.selectbox(key="run_choice").value == finished.name


def test_no_click_waits_for_a_garbage_collection_of_everything_that_is_loaded() -> None:
    settings = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text(encoding="utf-8"))
    assert settings["runner"]["postScriptGC"] is False
    before = gc.get_freeze_count()
    try:
        _import("sklearn.cluster")
        assert gc.get_freeze_count() > before
    finally:
        gc.unfreeze()
