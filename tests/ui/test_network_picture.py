"""The network as a picture in the app: what the component is told, and what is done when it reports an act."""

from __future__ import annotations

from typing import Any

import pytest
import streamlit as st

from pdc_core import charts
from ui import current_plan, network_picture
from ui.network import Network, load_network

KEY = "picture"
FIRST, LAST = "layer1.0.conv1", "layer3.2.conv1"


@pytest.fixture(scope="module")
def network() -> Network:
    return load_network("resnet20", "digits", "shipped", "internal")


@pytest.fixture(autouse=True)
def state(monkeypatch: pytest.MonkeyPatch, network: Network) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    monkeypatch.setattr(st, "session_state", kept)
    monkeypatch.setattr(st, "query_params", {})
    current_plan.adopt_plan(network)
    return kept


def _act(network: Network, state: dict[str, Any], do: str, turn: int = 1, **more: Any) -> None:
    state[KEY] = {"act": {"do": do, "counts": {}, "by": "", "turn": turn, **more}}
    network_picture.take(network, KEY)


def _data(network: Network, editable: bool = True) -> dict[str, Any]:
    plan = current_plan.current_plan()
    return network_picture.picture_data(network, plan, charts.network_picture(network.graph, plan), editable)


def test_the_component_is_told_every_bar_and_the_counts_that_its_groups_allow(network: Network) -> None:
    plan = current_plan.current_plan().constrain(network.graph, round_to=6, bounds={FIRST: (6, 6)})
    current_plan.set_plan(plan, network)
    data = _data(network)
    assert len(data["bars"]) == len(network.graph.layers)
    assert data["bars"]["layer1_0_conv1"]["parts"] == ((FIRST, 1),)
    assert data["groups"][FIRST] == {"n": 16, "k": 6, "allowed": [6]}
    assert data["groups"]["layer2.0.conv1"]["allowed"] == [6, 12, 18, 24, 30, 32]  # all filters are always allowed
    assert data["groups"].keys() == plan.counts.keys()
    free = _data(network)["groups"]
    current_plan.set_plan(plan.constrain(network.graph, round_to=4, bounds={}), network)
    assert _data(network)["groups"][LAST]["allowed"] == {"from": 4, "to": 64, "by": 4} != free[LAST]["allowed"]
    assert data["svg"].count('class="node"') == len(data["bars"])
    assert f'aria-label="{data["title"]}. The network from left to right' in data["svg"]


def test_counts_of_a_drag_become_the_plans_in_one_step_that_undo_takes_back(
    network: Network, state: dict[str, Any]
) -> None:
    before = current_plan.current_plan()
    _act(network, state, "count", counts={FIRST: 9, LAST: 40}, by="2 more blocks", turn=3)
    plan = current_plan.current_plan()
    assert plan.counts == {**before.counts, FIRST: 9, LAST: 40}
    assert _data(network)["turn"] == 3
    assert current_plan.history(network).past[-1][0] == "2 layers in 2 more blocks"
    _act(network, state, "count", counts={FIRST: 9}, turn=4)  # nothing new, and no step
    assert len(current_plan.history(network).past) == 1
    current_plan.undo(network)
    assert current_plan.current_plan() == before


def test_a_count_that_is_not_allowed_becomes_the_nearest_and_a_strange_group_is_refused_whole(
    network: Network, state: dict[str, Any]
) -> None:
    current_plan.set_plan(current_plan.current_plan().constrain(network.graph, round_to=4), network)
    _act(network, state, "count", counts={FIRST: 7})
    assert current_plan.current_plan().counts[FIRST] == 8
    before = current_plan.current_plan()
    _act(network, state, "count", counts={LAST: 32, "elsewhere": 3}, turn=2)
    assert current_plan.current_plan() == before
    assert "Nothing was changed. There is no channel group 'elsewhere'" in str(current_plan.refusal())


def test_a_click_opens_the_layer_and_keeps_counts_that_were_on_their_way(
    network: Network, state: dict[str, Any]
) -> None:
    _act(network, state, "open", group=LAST, counts={LAST: 20})
    assert state["layer"] == LAST
    assert current_plan.current_plan().counts[LAST] == 20
    state.pop("layer")
    _act(network, state, "open", group="linear")  # its filters are the classes
    assert "layer" not in state


def test_blocks_fold_and_unfold(network: Network, state: dict[str, Any]) -> None:
    def bars() -> list[str]:
        folded = network_picture._folded(network)
        return [bar.name for bar in charts.network_picture(network.graph, folded=folded).bars]

    whole = bars()
    _act(network, state, "fold", block="layer2")
    assert len(bars()) == len(whole) - 5
    assert "layer2" in bars()
    _act(network, state, "fold", block="nowhere", turn=2)
    assert "layer2" in bars()
    _act(network, state, "fold", block="layer2", turn=3)
    assert bars() == whole


def test_the_script_draws_with_the_parts_that_the_picture_has(network: Network) -> None:
    from ui.components import source

    script, svg = source("network_picture", "js"), _data(network)["svg"]
    for name in ("node", "whole", "kept", "handle", "count", "block"):
        assert f'"{name}"' in svg.replace("'", '"') or f'class="{name}' in svg
        assert f".{name}" in script
    for name in ("data-node", "data-block", "data-folded"):
        assert f"{name}=" in svg
        assert f"dataset.{name.removeprefix('data-')}" in script
