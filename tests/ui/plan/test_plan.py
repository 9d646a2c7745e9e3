"""The page Plan: savings, budgets, preview, the table."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from streamlit.testing.v1 import AppTest

import pdc_core as pdc
from pdc_core.estimates import preview
from ui.drawing import cut, percent, short
from ui.network import load_network
from ui.plan.table import is_locked, locked, plan_rows, typed_count

PAGES = Path(__file__).parents[3] / "pages"
Open = Callable[..., AppTest]
Texts = Callable[[AppTest], dict[str, str]]
Press = Callable[[AppTest, str], AppTest]
LAYER = "layer1.0.conv1"
MODEL = pdc.load_model("resnet20", data="digits")
GRAPH = pdc.trace(MODEL, torch.zeros(1, 1, 8, 8))


def _network() -> tuple[pdc.ChannelGraph, pdc.Cost, float]:

    model, data = pdc.load_model("resnet20", data="digits"), pdc.load_data("digits")
    example = torch.zeros(1, *data.shape)
    return pdc.trace(model, example), pdc.cost(model, example), pdc.evaluate(model, data, data.test).accuracy


def test_plan_shows_what_plan_cost_predicts_for_every_position_of_the_slider(
    opened: Open, metrics: Texts, deltas: Texts
) -> None:
    graph, cost, _ = _network()
    app = opened("plan")
    for share in (25, 50, 100, 1):
        app.slider(key="plan_share").set_value(share).run()
        after = pdc.plan_cost(graph, pdc.Plan.uniform(graph, keep=share / 100))
        assert metrics(app)["MACs"] == short(after.macs)
        assert deltas(app)["MACs"] == cut(cost.macs, after.macs)
        assert metrics(app)["Parameters"] == short(after.params)


def test_a_preview_is_that_of_the_library(opened: Open, metrics: Texts, deltas: Texts, press: Press) -> None:
    app = opened("plan")
    press(app, "Preview accuracy")
    end = time.monotonic() + 60
    while "Untrained accuracy" not in metrics(app) and time.monotonic() < end:
        app.run()
    expected = preview(MODEL, GRAPH, pdc.Plan.uniform(GRAPH, 0.25), pdc.load_data("digits"))
    assert metrics(app)["Untrained accuracy"] == percent(expected.accuracy)
    assert deltas(app)["Untrained accuracy"] == f"{percent(expected.recalibrated)} norms re-estimated"


def test_typed_counts_and_locks_change_the_plan_or_are_refused_whole() -> None:

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


def test_the_table_says_what_each_group_saves_alone(opened: Open) -> None:

    app = opened("plan")
    assert not app.exception

    network, plan = load_network("resnet20", "digits"), app.session_state["plan"]
    rows, whole = plan_rows(network, plan, None), pdc.plan_cost(GRAPH, {})
    for row in rows.to_dict("records"):
        alone = pdc.plan_cost(GRAPH, {row["group"]: row["clusters"]})
        assert row["macs"] == pytest.approx(100 * (1 - alone.macs / whole.macs))
        assert row["params"] == pytest.approx(100 * (1 - alone.params / whole.params))
