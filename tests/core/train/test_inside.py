"""Runs that cluster a part of a network whose whole cannot be traced: in Python, in a run folder, by command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import pdc_core as pdc
from pdc_core.models import MODELS
from pdc_core.train import Training
from tests.networks import counted_macs

DATA = pdc.load_data("digits")
SOURCE = """
from torch import nn

class Net(nn.Module):
    def __init__(self, channels, classes):
        super().__init__()
        first, second = nn.Conv2d(channels, 8, 3, padding=1), nn.Conv2d(8, 6, 3)
        self.backbone = nn.Sequential(first, nn.BatchNorm2d(8), nn.ReLU(), second)
        self.head = nn.Linear(6, classes)

    def forward(self, x):
        features = self.backbone(x).mean((2, 3))
        return self.head(features if float(features.detach().sum()) > -1e9 else -features)
"""


class Pair(nn.Module):
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"out": x}


@pytest.fixture
def net() -> nn.Module:
    scope: dict = {}
    exec(SOURCE, scope)
    torch.manual_seed(0)
    return scope["Net"](1, 10).eval()


@pytest.mark.parametrize("early", [False, True])
def test_a_part_is_compressed_in_one_stage_and_the_whole_is_measured(net: nn.Module, early: bool) -> None:
    with pytest.raises(pdc.PDCError, match="cannot be traced"):
        pdc.trace(net, DATA.example)
    graph = pdc.trace(net, DATA.example, inside="backbone")
    plan = pdc.Plan.uniform(graph, 0.5)
    assert plan.inside == "backbone"
    done = pdc.distil(net, plan, DATA, settings=Training(epochs=2, fold_when_tied=early))
    assert done.report["same_predictions"]
    assert done.report["before"]["macs"] == counted_macs(net, DATA.example)
    assert done.report["folded"]["macs"] == counted_macs(done.folded, DATA.example) == pdc.plan_cost(graph, plan).macs
    widths = [(w["name"], w["before"], w["after"]) for w in done.report["widths"]]
    assert widths == [("backbone.0", 8, 4), ("backbone.3", 6, 6)]


def test_a_plan_is_refused_for_another_part(net: nn.Module) -> None:
    plan = pdc.Plan.uniform(pdc.trace(net, DATA.example, inside="backbone"), 0.5)
    plain = pdc.trace(nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 2, 3)).eval(), DATA.example)
    with pytest.raises(pdc.PDCError, match="the part 'backbone', but the whole network was traced"):
        plan.check(plain)


def test_a_run_by_command_and_its_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pdc_command) -> None:
    name = f"parts_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    known = dict(MODELS)
    common = ("--data", "digits", "--build", f"{name}:Net", "--inside", "backbone")
    try:
        code, out, err = pdc_command("layers", f"{name}:Net", *common, "--json")
        assert (code, [g["name"] for g in json.loads(out)["groups"]][:1]) == (0, ["backbone.0"]), err
        file, run = tmp_path / "plan.yaml", tmp_path / "run"
        model = ("--model", f"{name}:Net", "--weights", "random")
        assert pdc_command("plan", *model, *common, "--keep", 0.5, "--out", file)[0] == 0
        assert pdc.Plan.load(file).inside == "backbone"
        weak = ("--allow-weak-teacher", "--epochs", 1)
        code, out, err = pdc_command("distil", *model, *common[:-2], "--plan", file, *weak, "--out", run)
        assert code == 0, err
        assert pdc.read_run(run).spec.inside == "backbone"
        recipe = tmp_path / "recipe.yaml"
        recipe.write_text(f"model: {name}:Net\nweights: random\nkeep: 0.5\ninside: backbone\n")
        assert pdc.runs.read_spec(recipe).with_plan().plan == pdc.Plan.load(file)
        folded = pdc.load(run / "folded.safetensors")
        assert folded.backbone[0].out_channels == 4
    finally:
        MODELS.clear()
        MODELS.update(known)


def test_what_is_no_classifier_is_sent_to_the_pruner() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), Pair()).eval()
    with pytest.raises(pdc.PDCError, match=r"returns dict, not logits.*pdc_core\.Pruner"):
        pdc.evaluate(net, DATA, DATA.test)
