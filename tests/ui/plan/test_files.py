"""Plan files, named plans, and the command and program of a plan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from streamlit.testing.v1 import AppTest

import pdc_core as pdc
from pdc_core.plan import set_clusters
from ui.network import load_network
from ui.plan.files import command, python

PAGES = Path(__file__).parents[3] / "pages"
Open = Callable[..., AppTest]
Texts = Callable[[AppTest], dict[str, str]]
Press = Callable[[AppTest, str], AppTest]
LAYER = "layer1.0.conv1"
MODEL = pdc.load_model("resnet20", data="digits")
GRAPH = pdc.trace(MODEL, torch.zeros(1, 1, 8, 8))


def _upload(app: AppTest, name: str, content: bytes) -> AppTest:
    app.file_uploader[0].upload(name, content, "application/json").run()
    return app


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"counts": {"layer9.conv1": 4}}', "layer9.conv1"),
        (b'{"counts": {"layer1.0.conv1": 0}}', "allowed are"),
        (b'{"counts": {"layer1.0.conv1": 17}}', "allowed are 1 to 16"),
        (b'{"counts": {"layer1.0.conv1": 4}, "sizes": {"layer1.0.conv1": 64}}', "64"),
        (b"\x80\x04\x95pickle", "not"),
        (b"", "not"),
        (b"[1, 2]", "not"),
        (b'{"counts": {"layer1.0.conv1": "four"}}', "integer"),
    ],
)
def test_a_bad_plan_file_is_refused_and_the_plan_stays(opened: Open, content: bytes, reason: str) -> None:
    app = _upload(opened("plan"), "plan.json", content)
    assert not app.exception
    assert app.error[0].value.startswith("plan.json was not loaded.")
    assert reason in app.error[0].value
    assert list(app.session_state["plan"].counts.values()) == [4, 4, 4, 8, 8, 8, 16, 16, 16]


def test_a_plan_file_is_taken_and_groups_it_does_not_name_keep_all_filters(
    opened: Open,
) -> None:
    app = _upload(opened("plan"), "plan.yaml", b"counts:\n  layer1.0.conv1: 2\n")
    assert not app.error
    assert list(app.session_state["plan"].counts.values()) == [2, 16, 16, 32, 32, 32, 64, 64, 64]


@pytest.mark.parametrize(
    "traced", [{"residual": "shared"}, {"inside": "layer2"}, {"residual": "gather", "inside": "layer3"}]
)
def test_a_plan_for_another_treatment_or_part_opens_the_network_so(
    opened: Open, press: Press, traced: dict[str, str]
) -> None:
    plan = pdc.Plan.uniform(pdc.trace(MODEL, torch.zeros(1, 1, 8, 8), **traced), 0.5)
    app = _upload(opened("plan"), "plan.json", plan.to_json().encode())
    assert not app.exception
    assert not app.error
    assert app.session_state["plan"].counts == plan.counts
    assert any(f"Residual treatment: {plan.residual}" in caption.value for caption in app.caption)
    assert ("pruned only in its part" in app.caption[0].value) == bool(plan.inside)
    assert app.selectbox(key="residual_choice").value == plan.residual
    assert traced.items() <= asdict(app.session_state["choice"]).items()
    assert all(value in str(app.query_params[name]) for name, value in traced.items())
    if plan.inside:
        press(app, "Take the whole network")
        assert "pruned only in its part" not in app.caption[0].value
        assert "inside" not in app.query_params


def test_a_plan_for_a_part_that_is_not_there_is_refused(opened: Open) -> None:
    app = _upload(opened("plan"), "plan.json", b'{"counts": {"neck.conv1": 4}, "inside": "neck"}')
    assert "has no submodule 'neck'" in app.error[0].value
    assert app.session_state["choice"].inside == ""


def test_named_plans_are_compared_and_opened_again(opened: Open, press: Press) -> None:
    app = opened("plan")
    app.text_input(key="plan_name").set_value("quarter").run()
    press(app, "Save")
    app.slider(key="plan_share").set_value(50).run()
    differences = app.dataframe[-1].value
    assert list(differences["quarter"]) == ["4", "4", "4", "8", "8", "8", "16", "16", "16"]
    assert list(differences["this plan"]) == ["8", "8", "8", "16", "16", "16", "32", "32", "32"]
    press(app, "Open")
    assert app.session_state["plan"].counts[LAYER] == 4


def test_the_python_of_a_plan_builds_that_plan(opened: Open) -> None:

    network = load_network("resnet20", "digits")
    plan = set_clusters(pdc.Plan.uniform(GRAPH, 0.25, model="resnet20"), LAYER, [0, 1] * 8)
    lines = python(network, plan).split("result =")[0]
    found: dict[str, object] = {}
    exec(lines, found)
    assert found["plan"] == plan
    assert "round_to" not in lines, "what is as usual is left out"
    expected = "pdc distil --model resnet20 --data digits --plan plan.json --epochs 8 --seed 0"
    assert command(network, plan) == expected


def test_the_command_says_which_weights_and_a_folder_where_the_data_has_only_a_name() -> None:

    network = load_network("resnet18", "imagenet", "random")
    plan = pdc.Plan.uniform(network.graph, 0.5)
    start = "pdc distil --model resnet18 --data folder:IMAGENET"
    assert command(network, plan) == f"{start} --weights random --plan plan.json --epochs 8 --seed 0"
    assert "data='folder:IMAGENET', weights='random')" in python(network, plan)
