"""The page Filters: labels, edits by hand, undo, counts, options and details."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from streamlit.testing.v1 import AppTest

import pdc_core as pdc
from pdc_core.clustering import assign
from pdc_core.data import describe_data
from ui.filters import selection

PAGES = Path(__file__).parents[3] / "pages"
Open = Callable[..., AppTest]
Texts = Callable[[AppTest], dict[str, str]]
Press = Callable[[AppTest, str], AppTest]
IMAGES = f":digits:{describe_data('digits').mean}:None"  # the end of a view's key
LAYER = "layer1.0.conv1"
MODEL = pdc.load_model("resnet20", data="digits")
GRAPH = pdc.trace(MODEL, torch.zeros(1, 1, 8, 8))


def choose(app: AppTest, filters: list[int]) -> AppTest:
    """Choose filters as a click on the map would."""
    key = next(iter(app.session_state["plan_histories"])) + IMAGES
    app.session_state[selection._CHOSEN] = ((key, LAYER), filters)
    return app.run()


def _clusters(app: AppTest) -> list[int]:
    return list(app.dataframe[0].value["cluster"])


def test_filters_shows_the_labels_that_assign_would_give(opened: Open) -> None:

    model = pdc.load_model("resnet20", data="digits")
    graph = pdc.trace(model, torch.zeros(1, *pdc.load_data("digits").shape))
    name = "layer2.1.conv1"
    app = opened("filters", layer=name)
    assert app.selectbox(key="layer").value == name
    plan = pdc.Plan.uniform(graph, keep=0.25)
    assert list(app.dataframe[0].value["cluster"]) == list(assign(model, graph, plan)[name])
    app.select_slider(key=f"k_{name}").set_value(3).run()
    assert not app.exception
    assert list(app.dataframe[0].value["cluster"]) == list(assign(model, graph, plan.replace({name: 3}))[name])
    assert any("distances are not to scale" in caption.value for caption in app.caption)


def test_a_count_set_on_filters_is_the_count_of_the_plan(opened: Open) -> None:
    app = opened("filters", layer="layer1.0.conv1")
    app.select_slider(key="k_layer1.0.conv1").set_value(7).run()
    app.switch_page(str(PAGES / "plan.py")).run()
    assert not app.exception
    assert app.session_state["plan"].counts["layer1.0.conv1"] == 7
    assert app.query_params["plan"] == "7-4-4-8-8-8-16-16-16"


def test_filters_split_by_hand_are_a_cluster_in_the_plan_until_undone_and_redone(opened: Open, press: Press) -> None:
    app = choose(opened("filters", layer=LAYER), [3, 5])
    before = _clusters(app)
    assert any("Selected: filters 3, 5" in m.value for m in app.markdown)
    press(app, "New cluster")
    own = np.array(_clusters(app))
    assert np.flatnonzero(own == own[3]).tolist() == [3, 5]
    plan = app.session_state["plan"]
    assert plan.hand[LAYER] == tuple(own)
    assert pdc.assign(MODEL, GRAPH, plan)[LAYER].tolist() == own.tolist()
    press(app, "Undo")
    assert _clusters(app) == before
    assert app.session_state["plan"].hand == {}
    press(app, "Redo")
    assert _clusters(app) == own.tolist()


def test_clusters_by_hand_survive_a_change_elsewhere_a_link_and_another_page(opened: Open, press: Press) -> None:
    app = choose(opened("filters", layer=LAYER), [0, 1, 2])
    press(app, "New cluster")
    own = _clusters(app)
    app.selectbox(key="layer").set_value("layer2.0.conv1").run()
    app.select_slider(key="k_layer2.0.conv1").set_value(3).run()
    plan = app.session_state["plan"]
    assert plan.counts["layer2.0.conv1"] == 3
    assert list(plan.hand[LAYER]) == own
    again = opened("plan", plan=app.query_params["plan"], edits=app.query_params["edits"])
    assert again.session_state["plan"] == plan


def test_merge_move_pin_and_reset_do_what_they_say(opened: Open, press: Press) -> None:
    app = opened("filters", layer=LAYER)
    labels = _clusters(app)
    one, other = labels.index(0), labels.index(1)
    choose(app, [one, other])
    press(app, "Merge")
    assert len(set(_clusters(app))) == 3
    press(app, "Pin")
    pinned = _clusters(app)
    assert pinned.count(pinned[one]) == pinned.count(pinned[other]) == 1
    press(app, "Merge")
    assert "pinned" in app.error[0].value
    assert _clusters(app) == pinned
    press(app, "Unpin")
    app.selectbox(key=f"target_{LAYER}").set_value(pinned[one]).run()
    press(app, "Move")
    moved = _clusters(app)
    assert moved[one] == moved[other]
    press(app, "Reset")
    assert app.session_state["plan"].hand == {}


def test_the_slider_offers_only_counts_that_the_plan_allows(opened: Open) -> None:
    app = opened("filters", layer=LAYER)
    assert app.select_slider(key=f"k_{LAYER}").options == [str(k) for k in range(1, 17)]
    app.switch_page(str(PAGES / "plan.py")).run()
    app.number_input(key="constraint_round_to").set_value(8).run()
    assert not app.exception
    assert set(app.session_state["plan"].counts.values()) <= {8, 16, 24, 32}
    app.switch_page(str(PAGES / "filters.py"))
    app.query_params["layer"] = LAYER
    app.run()
    assert app.select_slider(key=f"k_{LAYER}").options == ["8", "16"]


@pytest.mark.parametrize("view", ["Cluster count", "Activation maps"])
def test_details_open_without_an_exception(opened: Open, view: str) -> None:
    app = opened("filters", layer="layer3.0.conv1", view=view)
    assert not app.exception
    if view == "Cluster count":
        assert any(m.value.startswith("**Suggested: ") for m in app.markdown)
        use = next(button for button in app.button if button.label.startswith("Use "))
        use.click().run()
        assert app.session_state["plan"].counts["layer3.0.conv1"] == int(use.label.split()[1])


def test_vectors_and_algorithm_are_options_of_the_plan(opened: Open) -> None:
    app = opened("filters", layer=LAYER)
    app.radio(key="option_algorithm").set_value("ward").run()
    app.radio(key="option_vectors").set_value("scaled").run()
    assert not app.exception
    plan = app.session_state["plan"]
    assert (plan.vectors, plan.algorithm) == ("scaled", "ward")
    assert _clusters(app) == pdc.assign(MODEL, GRAPH, plan)[LAYER].tolist()


def test_the_cut_of_curve_and_tree_is_moved_by_a_slider_too(opened: Open) -> None:
    app = opened("filters", view="Cluster count")
    cut, kept = (app.select_slider(key=f"{which}_layer1.0.conv1") for which in ("cut", "k"))
    assert cut.value == kept.value == 4
    assert cut.options == kept.options
    cut.set_value(6).run()
    assert not app.exception
    assert app.select_slider(key="k_layer1.0.conv1").value == 6
    assert app.select_slider(key="cut_layer1.0.conv1").value == 6
