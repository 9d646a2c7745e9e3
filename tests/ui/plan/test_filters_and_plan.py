"""Filters and Plan in Streamlit's test runner: edits by hand, undo, the address, budgets, sensitivity, names."""

from __future__ import annotations

import base64
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from streamlit.testing.v1 import AppTest

import pdc_core as pdc
from pdc_core.estimates import plan_for_budget, preview, uniform_damage
from pdc_core.plan import set_clusters
from tests.ui.test_pages import _metrics, opened  # noqa: F401
from ui.drawing import percent, short

ROOT = Path(__file__).resolve().parents[3]
LAYER = "layer1.0.conv1"
MODEL = pdc.load_model("resnet20", data="digits")
GRAPH = pdc.trace(MODEL, torch.zeros(1, 1, 8, 8))
Open = Callable[..., AppTest]


def _choose(app: AppTest, filters: list[int]) -> AppTest:
    """Choose filters as a click on the map would."""
    from ui.filters.selection import _CHOSEN

    key = next(iter(app.session_state["plan_histories"]))
    app.session_state[_CHOSEN] = ((key, LAYER), filters)
    return app.run()


def _press(app: AppTest, label: str) -> AppTest:
    next(button for button in app.button if button.label == label).click().run()
    assert not app.exception
    return app


def _clusters(app: AppTest) -> list[int]:
    return list(app.dataframe[0].value["cluster"])


def test_filters_split_by_hand_are_a_cluster_in_the_plan_until_undone_and_redone(opened: Open) -> None:  # noqa: F811
    app = _choose(opened("filters", layer=LAYER), [3, 5])
    before = _clusters(app)
    assert any("Chosen: filters 3, 5" in m.value for m in app.markdown)
    _press(app, "New cluster")
    own = np.array(_clusters(app))
    assert np.flatnonzero(own == own[3]).tolist() == [3, 5]
    plan = app.session_state["plan"]
    assert plan.hand[LAYER] == tuple(own)
    assert pdc.assign(MODEL, GRAPH, plan)[LAYER].tolist() == own.tolist()
    _press(app, "Undo")
    assert _clusters(app) == before
    assert app.session_state["plan"].hand == {}
    _press(app, "Redo")
    assert _clusters(app) == own.tolist()


def test_clusters_by_hand_survive_a_change_elsewhere_a_link_and_another_page(opened: Open) -> None:  # noqa: F811
    app = _choose(opened("filters", layer=LAYER), [0, 1, 2])
    _press(app, "New cluster")
    own = _clusters(app)
    app.selectbox(key="layer").set_value("layer2.0.conv1").run()
    app.select_slider(key="k_layer2.0.conv1").set_value(3).run()
    plan = app.session_state["plan"]
    assert plan.counts["layer2.0.conv1"] == 3
    assert list(plan.hand[LAYER]) == own
    again = opened("plan", plan=app.query_params["plan"], edits=app.query_params["edits"])
    assert again.session_state["plan"] == plan


def _packed(text: str) -> str:
    return base64.urlsafe_b64encode(zlib.compress(text.encode())).decode()


@pytest.mark.parametrize(
    "edits", ["x", "eJw", "!!!!", "A" * 9000, _packed('{"counts": {}}'), _packed("[1]"), _packed("{")]
)
def test_edits_of_a_broken_link_are_refused_in_a_sentence(opened: Open, edits: str) -> None:  # noqa: F811
    app = opened("plan", plan="4-4-4-8-8-8-16-16-16", edits=edits)
    assert not app.exception
    assert app.error[0].value.startswith("The plan in this link was not used.")


def test_a_refusal_outlives_an_interrupted_run_and_ends_with_time_or_another_plan(
    opened: Open,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = opened("plan", plan="1-2-3")
    assert len(app.run().error) == 1, "a run that another interrupts has shown nothing yet"
    app.slider(key="plan_share").set_value(50).run()
    assert not app.error
    monkeypatch.setattr("ui.current_plan.REFUSAL_SECONDS", -1.0)
    app = opened("plan", plan="1-2-3")
    assert not app.run().error


def test_merge_move_pin_and_reset_do_what_they_say(opened: Open) -> None:  # noqa: F811
    app = opened("filters", layer=LAYER)
    labels = _clusters(app)
    one, other = labels.index(0), labels.index(1)
    _choose(app, [one, other])
    _press(app, "Merge")
    assert len(set(_clusters(app))) == 3
    _press(app, "Pin")
    pinned = _clusters(app)
    assert pinned.count(pinned[one]) == pinned.count(pinned[other]) == 1
    _press(app, "Merge")
    assert "pinned" in app.error[0].value
    assert _clusters(app) == pinned
    _press(app, "Unpin")
    app.selectbox(key=f"target_{LAYER}").set_value(pinned[one]).run()
    _press(app, "Move")
    moved = _clusters(app)
    assert moved[one] == moved[other]
    _press(app, "Reset")
    assert app.session_state["plan"].hand == {}


def test_the_slider_offers_only_counts_that_the_plan_allows(opened: Open) -> None:  # noqa: F811
    app = opened("filters", layer=LAYER)
    assert app.select_slider(key=f"k_{LAYER}").options == [str(k) for k in range(1, 17)]
    app.switch_page(str(ROOT / "pages" / "plan.py")).run()
    app.number_input(key="constraint_round_to").set_value(8).run()
    assert not app.exception
    assert set(app.session_state["plan"].counts.values()) <= {8, 16, 24, 32}
    app.switch_page(str(ROOT / "pages" / "filters.py"))
    app.query_params["layer"] = LAYER
    app.run()
    assert app.select_slider(key=f"k_{LAYER}").options == ["8", "16"]


@pytest.mark.parametrize("view", ["How many clusters?", "What the filter sees"])
def test_closer_looks_open_without_a_fault(opened: Open, view: str) -> None:  # noqa: F811
    app = opened("filters", layer="layer3.0.conv1", view=view)
    assert not app.exception
    if view.startswith("How"):
        assert any(m.value.startswith("**Suggested: ") for m in app.markdown)
        use = next(button for button in app.button if button.label.startswith("Use "))
        use.click().run()
        assert app.session_state["plan"].counts["layer3.0.conv1"] == int(use.label.split()[1])


def test_vectors_and_algorithm_are_options_of_the_plan(opened: Open) -> None:  # noqa: F811
    app = opened("filters", layer=LAYER)
    app.radio(key="option_algorithm").set_value("ward").run()
    app.radio(key="option_vectors").set_value("scaled").run()
    assert not app.exception
    plan = app.session_state["plan"]
    assert (plan.vectors, plan.algorithm) == ("scaled", "ward")
    assert _clusters(app) == pdc.assign(MODEL, GRAPH, plan)[LAYER].tolist()


# -- Plan ------------------------------------------------------------------------------------------------


def test_a_budget_makes_the_plan_of_the_library_and_a_locked_layer_stays(opened: Open) -> None:  # noqa: F811
    from ui.plan.table import locked

    app = opened("plan")
    key = next(iter(app.session_state["plan_histories"]))
    start = locked(app.session_state["plan"].replace({LAYER: 16}), LAYER, True)
    app.session_state["plan_histories"][key] = pdc.History(start)
    app.run()
    app.slider(key="budget_cut").set_value(40)
    app.radio(key="budget_by").set_value("uniform").run()
    _press(app, "Make the plan")
    expected = plan_for_budget(GRAPH, uniform_damage(GRAPH), 0.4, start)
    assert app.session_state["plan"].counts == expected.counts
    assert app.session_state["plan"].counts[LAYER] == 16
    assert _metrics(app)["MACs"] == short(pdc.plan_cost(GRAPH, expected).macs)


def test_a_preview_is_that_of_the_library(opened: Open) -> None:  # noqa: F811
    app = opened("plan")
    _press(app, "Preview accuracy")
    end = time.monotonic() + 60
    while "Untrained accuracy" not in _metrics(app) and time.monotonic() < end:
        app.run()
    expected = preview(MODEL, GRAPH, pdc.Plan.uniform(GRAPH, 0.25), pdc.load_data("digits"))
    assert _metrics(app)["Untrained accuracy"] == percent(expected.accuracy)


def test_typed_counts_and_locks_change_the_plan_or_are_refused_whole() -> None:
    from ui.plan.table import is_locked, locked, typed_count

    plan = pdc.Plan.uniform(GRAPH, 0.25)
    on = locked(plan, LAYER, True)
    assert is_locked(on, LAYER)
    assert not is_locked(on, "layer1.1.conv1")
    with pytest.raises(pdc.PDCError, match="allows 4 to 4"):
        on.replace({LAYER: 5})
    typed = typed_count(on, LAYER, 5)
    assert typed.counts[LAYER] == 5
    assert is_locked(typed, LAYER)
    assert locked(typed, LAYER, False) == plan.replace({LAYER: 5})


def test_the_table_says_what_each_group_saves_alone(opened: Open) -> None:  # noqa: F811
    from ui.plan.table import plan_rows

    app = opened("plan")
    assert not app.exception
    from ui.network import load_network

    network, plan = load_network("resnet20", "digits"), app.session_state["plan"]
    rows, whole = plan_rows(network, plan, None), pdc.plan_cost(GRAPH, {})
    for row in rows.to_dict("records"):
        alone = pdc.plan_cost(GRAPH, {row["group"]: row["clusters"]})
        assert row["macs"] == pytest.approx(100 * (1 - alone.macs / whole.macs))
        assert row["params"] == pytest.approx(100 * (1 - alone.params / whole.params))


def test_named_plans_are_compared_and_opened_again(opened: Open) -> None:  # noqa: F811
    app = opened("plan")
    app.text_input(key="plan_name").set_value("quarter").run()
    _press(app, "Keep it")
    app.slider(key="plan_share").set_value(50).run()
    differences = app.dataframe[-1].value
    assert list(differences["quarter"]) == ["4", "4", "4", "8", "8", "8", "16", "16", "16"]
    assert list(differences["this plan"]) == ["8", "8", "8", "16", "16", "16", "32", "32", "32"]
    _press(app, "Open it")
    assert app.session_state["plan"].counts[LAYER] == 4


def test_the_python_of_a_plan_builds_that_plan(opened: Open) -> None:  # noqa: F811
    from ui.network import load_network
    from ui.plan.files import command, python

    network = load_network("resnet20", "digits")
    plan = set_clusters(pdc.Plan.uniform(GRAPH, 0.25, model="resnet20"), LAYER, [0, 1] * 8)
    lines = python(network, plan).split("result =")[0]
    found: dict[str, object] = {}
    exec(lines, found)
    assert found["plan"] == plan
    expected = "pdc distil --model resnet20 --data digits --plan plan.json --epochs 8 --seed 0"
    assert command(network, plan) == expected


def test_the_command_says_which_weights_and_a_folder_where_the_data_has_only_a_name() -> None:
    from ui.network import load_network
    from ui.plan.files import command, python

    network = load_network("resnet18", "imagenet", "random")
    plan = pdc.Plan.uniform(network.graph, 0.5)
    start = "pdc distil --model resnet18 --data folder:IMAGENET"
    assert command(network, plan) == f"{start} --weights random --plan plan.json --epochs 8 --seed 0"
    assert "data='folder:IMAGENET', weights=False)" in python(network, plan)


def test_a_measurement_is_shared_and_stops_when_the_last_session_cancels() -> None:
    from threading import Event

    from ui.plan.sensitivity import Measurement, Measurements

    jobs, started, release = Measurements(), Event(), Event()

    def run_worker(measurement: Measurement) -> pdc.Sensitivity:
        started.set()
        while not measurement.stop.is_set() and not release.wait(0.01):
            pass
        return pdc.Sensitivity(1.0, 1, (), complete=not measurement.stop.is_set())

    first = jobs.request("a", "me", run_worker)
    assert jobs.request("a", "you", run_worker) is first
    assert started.wait(30)
    first.cancel("me")
    assert not first.stop.is_set()
    first.cancel("you")
    assert first.future.result(timeout=30).complete is False
    assert jobs.known("a") is None
    release.set()
    assert jobs.request("a", "me", run_worker).future.result(timeout=30).complete
    assert jobs.known("a") is not None
