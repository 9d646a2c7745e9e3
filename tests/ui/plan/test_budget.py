"""The budget of the page Plan: the plan of the library, and the measurement that a rule waits for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
import torch
from streamlit.testing.v1 import AppTest

import pdc_core as pdc
from pdc_core.estimates import RULES, Sensitivity, plan_for_budget, plan_from_rule, sensitivity, uniform_damage
from ui.drawing import short
from ui.jobs import jobs
from ui.network import load_network
from ui.plan import budget
from ui.plan.table import locked

Open = Callable[..., AppTest]
Press = Callable[[AppTest, str], AppTest]
Texts = Callable[[AppTest], dict[str, str]]
LAYER = "layer1.0.conv1"
MODEL = pdc.load_model("resnet20", data="digits")
GRAPH = pdc.trace(MODEL, torch.zeros(1, 1, 8, 8))
WHOLE = pdc.Plan.uniform(GRAPH, 1.0, model="resnet20")
DATA = pdc.load_data("digits")


@pytest.fixture(autouse=True)
def _fresh_queue() -> Iterator[None]:
    """Nothing has been measured before a test."""
    jobs.clear()
    yield
    jobs().close()
    jobs.clear()


@pytest.fixture(scope="module")
def found() -> Sensitivity:
    return sensitivity(MODEL, GRAPH, DATA)


def counts(app: AppTest) -> dict[str, int]:
    kept: dict[str, int] = app.session_state["plan"].counts
    return kept


def until(app: AppTest, reached: Callable[[], bool], seconds: float = 60) -> None:
    """Run the page again and again, as its fragment does, until something is reached."""
    end = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < end, "not reached in time"
        time.sleep(0.1)
        app.run()
    assert not app.exception


@pytest.mark.parametrize("by", RULES)
def test_the_app_makes_the_plan_of_the_library(by: str, found: Sensitivity, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "measured", lambda network: found)
    expected = plan_from_rule(MODEL, GRAPH, WHOLE, 0.3, by=by, data=DATA, sensitivity=found)
    plan, rule = budget.budget_plan(load_network("resnet20", "digits"), WHOLE, 0.3, "macs", by)
    assert plan.counts == expected.counts != WHOLE.counts
    assert rule in set(RULES) - {"joint"}
    assert by in (rule, "joint")


def test_a_comparison_of_rules_is_shared_whatever_the_counts_were_before(
    found: Sensitivity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget, "measured", lambda network: found)
    monkeypatch.setattr(budget, "compare_rules", lambda *_, **__: ())
    network, half = load_network("resnet20", "digits"), pdc.Plan.uniform(GRAPH, 0.5, model="resnet20")
    job = budget._comparison(network, WHOLE, 0.3, "macs")
    assert budget._comparison(network, half, 0.3, "macs") is job
    other_asked = [(half, 0.4, "macs"), (half, 0.3, "params"), (locked(half, LAYER, True), 0.3, "macs")]
    assert all(budget._comparison(network, *asked) is not job for asked in other_asked)


def test_one_click_measures_and_then_halves_the_macs_by_the_default_rule(
    opened: Open, press: Press, found: Sensitivity
) -> None:
    app = opened("plan")
    start = app.session_state["plan"]
    expected = plan_from_rule(MODEL, GRAPH, start, 0.5, data=DATA, sensitivity=found)
    press(app, "Halve the MACs")
    until(app, lambda: counts(app) != start.counts)
    assert counts(app) == expected.counts
    assert app.radio(key="budget_by").value == "joint"
    assert any("change the network's answers by" in caption.value for caption in app.caption)


def test_a_budget_makes_the_plan_of_the_library_and_a_locked_layer_stays(
    opened: Open, metrics: Texts, press: Press
) -> None:
    app = opened("plan")
    key = next(iter(app.session_state["plan_histories"]))
    start = locked(app.session_state["plan"].replace({LAYER: 16}), LAYER, True)
    app.session_state["plan_histories"][key] = pdc.History(start)
    app.run()
    app.slider(key="budget_cut").set_value(40)
    for rule, label in (("sensitivity", "Measure and apply"), ("uniform", "Apply budget")):
        app.radio(key="budget_by").set_value(rule).run()
        assert app.button(key="budget_apply").label == label
    press(app, "Apply budget")
    expected = plan_for_budget(GRAPH, uniform_damage(GRAPH), 0.4, start)
    assert counts(app) == expected.counts
    assert counts(app)[LAYER] == 16
    assert metrics(app)["MACs"] == short(pdc.plan_cost(GRAPH, expected).macs)


def test_a_measurement_that_fails_and_a_budget_that_cannot_be_met_each_say_why(
    opened: Open, press: Press, found: Sensitivity, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise pdc.PDCError("the images are gone")

    def said(app: AppTest) -> str:
        return " ".join(element.value for element in [*app.error, *app.warning])

    monkeypatch.setattr("ui.plan.sensitivity.sensitivity", fails)
    app = opened("plan")
    start = counts(app)
    press(app, "Halve the MACs")
    until(app, lambda: "the images are gone" in said(app))
    monkeypatch.setattr("ui.plan.sensitivity.sensitivity", lambda *_, **__: found)
    monkeypatch.setattr(budget, "compare_rules", fails)
    press(app, "Halve the MACs")
    until(app, lambda: "The plan was not changed. the images are gone" in said(app))
    assert counts(app) == start


def test_a_measurement_that_is_cancelled_changes_no_plan_and_may_be_asked_for_again(
    opened: Open, press: Press, found: Sensitivity, monkeypatch: pytest.MonkeyPatch
) -> None:
    def endless(*_: object, stop: Callable[[], bool], **__: object) -> Sensitivity:
        while not stop():
            time.sleep(0.01)
        return Sensitivity(found.accuracy, found.images, found.points[:1], False)

    monkeypatch.setattr("ui.plan.sensitivity.sensitivity", endless)
    app = opened("plan")
    start = counts(app)
    press(app, "Halve the MACs")
    press(app, "Cancel")
    until(app, lambda: "budget_waiting" not in app.session_state)
    assert counts(app) == start
    monkeypatch.setattr("ui.plan.sensitivity.sensitivity", lambda *_, **__: found)
    press(app, "Halve the MACs")
    until(app, lambda: counts(app) != start)


def test_a_budget_that_cannot_be_met_is_refused_in_a_sentence_and_changes_nothing(
    opened: Open, press: Press, found: Sensitivity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ui.plan.sensitivity.sensitivity", lambda *_, **__: found)
    app = opened("plan")
    key = next(iter(app.session_state["plan_histories"]))
    start = app.session_state["plan"].replace(dict.fromkeys(counts(app), 12))
    app.session_state["plan_histories"][key] = pdc.History(start.constrain(GRAPH, min=12))
    app.run()
    app.slider(key="budget_cut").set_value(95).run()
    press(app, "Measure and apply")
    until(app, lambda: any("cannot be met" in error.value for error in (*app.error, *app.warning)))
    assert counts(app) == start.counts


def test_without_validation_images_only_rules_that_need_none_are_offered(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget, "_measurable", lambda network: False)
    app = opened("plan")
    assert app.button(key="budget_start").disabled
    assert app.button(key="budget_apply").disabled
    assert any("no validation images" in caption.value for caption in app.caption)
    app.radio(key="budget_by").set_value("inertia").run()
    assert not app.button(key="budget_apply").disabled
