"""The slider «Keep in all layers»: every group gets its share, but hand-made clusters, locks and limits stay."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from streamlit.testing.v1 import AppTest

import pdc_core as pdc
from pdc_core.plan import set_clusters
from ui.plan.table import locked

ROOT = Path(__file__).parents[3]
MODEL = pdc.load_model("resnet20", data="digits")
GRAPH = pdc.trace(MODEL, torch.zeros(1, 1, 8, 8))
BY_HAND = {"layer1.0.conv1": [0, 0, 1, 2, 2, 2, *range(3, 13)], "layer3.1.conv1": [0] * 63 + [1]}
LOCKED = "layer2.1.conv1"


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AppTest:
    """The page Plan with clusters made by hand in two layers and the count of a third locked."""
    monkeypatch.setenv("PDC_RUNS", str(tmp_path))
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=120)
    app.switch_page(str(ROOT / "pages" / "plan.py"))
    app.run()
    plan = app.session_state["plan"]
    for name, labels in BY_HAND.items():
        plan = set_clusters(plan, name, labels)
    plan = locked(plan.replace({LOCKED: 5}), LOCKED, True)
    key = next(iter(app.session_state["plan_histories"]))
    app.session_state["plan_histories"][key] = pdc.History(plan)
    return app.run()


@pytest.mark.parametrize("percent", [1, 50, 100])
def test_the_slider_leaves_clusters_made_by_hand_and_locked_layers_alone(page: AppTest, percent: int) -> None:
    before = page.session_state["plan"]
    page.slider(key="plan_share").set_value(percent).run()
    assert not page.exception
    plan = page.session_state["plan"]
    assert {name: list(labels) for name, labels in plan.hand.items()} == BY_HAND
    for group in GRAPH.clusterable:
        if group.name in BY_HAND:
            assert plan.counts[group.name] == len(set(BY_HAND[group.name]))
        elif group.name == LOCKED:
            assert plan.counts[group.name] == 5
        else:
            assert plan.counts[group.name] == max(1, round(percent / 100 * group.size)), group.name
    labels = pdc.assign(MODEL, GRAPH, plan)
    assert {name: labels[name].tolist() for name in BY_HAND} == BY_HAND
    next(button for button in page.button if button.label == "Undo").click().run()
    assert page.session_state["plan"] == before


def test_the_slider_keeps_to_multiples_and_to_the_least_count(page: AppTest) -> None:
    for name in ("constraint_min", "constraint_round_to"):
        assert (page.number_input(key=name).min, page.number_input(key=name).max) == (1, 512), "1 is no constraint"
    page.number_input(key="constraint_min").set_value(4).run()
    page.slider(key="plan_share").set_value(10).run()
    counts = page.session_state["plan"].counts
    free = [g for g in GRAPH.clusterable if g.name not in (*BY_HAND, LOCKED)]
    assert {counts[g.name] for g in free} == {max(4, round(0.1 * g.size)) for g in free} == {4, 6}
