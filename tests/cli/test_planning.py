"""`sensitivity` and `plan` on the command line: what they print is what the library says, files can be read back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import pdc_core as pdc


@pytest.fixture(autouse=True)
def _own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PDC_RUNS", str(tmp_path))


@pytest.fixture(scope="module")
def graph() -> pdc.ChannelGraph:
    return pdc.trace(pdc.load_model("resnet20"), torch.zeros(1, 1, 8, 8))


def test_a_plan_for_a_budget_meets_it_and_its_file_reads_back(pdc_command, tmp_path, graph) -> None:
    file = tmp_path / "plan.yaml"
    code, out, _ = pdc_command(
        "plan", "--cut", 0.5, "--by", "inertia", "--round-to", 4, "--lock", "layer1.0.conv1",
        "--preview", "--images", 50, "--out", file, "--json",
    )  # fmt: skip
    assert code == 0
    said = json.loads(out)
    plan = pdc.Plan.load(file)
    assert said["plan"]["counts"] == plan.counts
    assert plan.counts["layer1.0.conv1"] == 16
    assert all(k % 4 == 0 for k in plan.counts.values())
    assert said["macs"] == pdc.plan_cost(graph, plan).macs == said["preview"]["macs"]
    assert 0.5 <= said["macs_cut"] < 0.56
    code, out, _ = pdc_command("plan", "--plan", file, "--set", "layer2.0.conv1=4", "--against", file)
    assert code == 0
    assert f"layer2.0.conv1: {plan.counts['layer2.0.conv1']} -> 4" in out


def test_sensitivity_is_measured_once_and_read_the_second_time(pdc_command, tmp_path) -> None:
    args = ("sensitivity", "--keep", 0.25, "--images", 20, "--json")
    code, out, _ = pdc_command(*args)
    assert code == 0
    said = json.loads(out)
    assert len(said["points"]) == 18
    (stored,) = (tmp_path / "sensitivity").glob("*.json")
    written = stored.stat().st_mtime_ns
    assert json.loads(pdc_command(*args)[1]) == said
    assert stored.stat().st_mtime_ns == written
    assert pdc.list_runs(tmp_path) == []


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        (("--cut", 0.999), "at most"),
        (("--cut", 1.5), "share to save"),
        (("--cut", 0.5, "--by", "magic"), "choose joint, mixed, sensitivity, inertia or uniform"),
        (("--lock", "nowhere"), "no channel group 'nowhere'"),
        (("--set", "layer1.0.conv1=99"), "allowed are 1 to 16"),
    ],
)
def test_a_plan_that_cannot_be_is_one_line_on_stderr(pdc_command, args: tuple[object, ...], reason: str) -> None:
    code, out, err = pdc_command("plan", "--by", "uniform", *args)
    assert (code, out) == (1, "")
    assert reason in " ".join(err.split())
    assert "Traceback" not in err


def test_a_plan_is_drawn_to_a_file(pdc_command, tmp_path, graph) -> None:
    file = tmp_path / "network.svg"
    code, out, _ = pdc_command("plan", "--keep", 0.5, "--picture", file)
    assert code == 0
    assert f"Written to {file}" in out.replace("\n", "")
    assert file.read_text(encoding="utf-8") == pdc.draw_network(graph, pdc.Plan.uniform(graph, 0.5)).svg
    code, _, error = pdc_command("plan", "--picture", tmp_path / "network.png", "--out", tmp_path / "plan.yaml")
    assert code == 1
    assert "does not end in .svg" in error
    assert not (tmp_path / "plan.yaml").exists()
