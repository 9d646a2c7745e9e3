"""The reference of a run: the same training without pruning, in folders, reports and exports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import pdc_core as pdc
from pdc_core.baselines import WHOLE
from pdc_core.cli import app
from pdc_core.export import export_onnx
from pdc_core.report import html_report
from pdc_core.runs import Run, RunSpec, create_run, find_reference, list_runs, read_run, run_worker
from pdc_core.train import Training
from tests.training import MODEL, PLAN, same_networks


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run of the method, asked for without a plan."""
    spec = RunSpec(method=WHOLE, training=Training(epochs=1, batch_size=256))
    folder = create_run(spec, root=tmp_path_factory.mktemp("runs"))
    run_worker(folder)
    return read_run(folder)


def test_a_run_of_the_whole_network_is_written_shown_and_exported(
    whole: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert whole.spec.plan is not None
    assert whole.spec.plan.counts == whole.spec.plan.sizes
    assert whole.results is not None
    assert whole.results.macs_cut == 0
    assert whole.results.same_predictions
    small = pdc.load(whole.folder / "folded.safetensors")
    export_onnx(small, tmp_path / "whole.onnx")
    assert (tmp_path / "whole.onnx").stat().st_size > 100_000
    page = html_report(whole)
    assert "trained as long, not pruned" in page
    assert "the change is training" in page
    with pytest.raises(SystemExit) as done:
        app(["show", str(whole.folder)])
    assert done.value.code in (0, None)
    assert "Nothing was pruned" in capsys.readouterr().out


def test_the_whole_network_takes_no_notice_of_a_plan() -> None:
    assert RunSpec(method=WHOLE, plan=PLAN).with_plan().plan == PLAN.whole()
    plan = RunSpec(method=WHOLE, keep=0.25).with_plan().plan
    assert plan is not None
    assert plan.counts == PLAN.whole().counts == PLAN.sizes


def done(root: Path, name: str, **asked: Any) -> Run:
    folder = create_run(RunSpec(plan=PLAN, **asked), folder=root / name)
    network = {"test_accuracy": 0.9, "val_accuracy": 0.9, "macs": 10, "params": 10}
    (folder / "report.json").write_text(json.dumps({"before": network, "reconstructed": network, "folded": network}))
    return read_run(folder)


def test_the_reference_trained_as_the_run_did_best_with_its_seed(tmp_path: Path) -> None:
    training = Training(epochs=3)
    run = done(tmp_path, "run", training=training, seed=1)
    assert find_reference(run, list_runs(tmp_path)) is None
    for name, change in (
        ("longer", {"training": Training(epochs=4)}),
        ("hotter", {"training": Training(epochs=3, temperature=1.0)}),
        ("other", {"weights": "random"}),
        ("deleted", {"method": "l1"}),
    ):
        done(tmp_path, name, **{"training": training, "seed": 1, "method": WHOLE, **change})
    assert find_reference(run, list_runs(tmp_path)) is None
    done(tmp_path, "seed0", training=Training(epochs=3, schedule="tied"), method=WHOLE)
    found = find_reference(run, list_runs(tmp_path))
    assert found is not None
    assert found.id == "seed0"
    own = done(tmp_path, "seed1", training=training, method=WHOLE, seed=1)
    found = find_reference(run, list_runs(tmp_path))
    assert found is not None
    assert found.id == "seed1"
    assert find_reference(own, list_runs(tmp_path)) is None


def test_the_network_of_the_run_is_the_one_that_was_trained(whole: Run) -> None:
    net = pdc.load(whole.folder / "folded.safetensors")
    assert not same_networks(net, MODEL)
    assert pdc.cost(net, torch.zeros(1, 1, 8, 8)).macs == pdc.cost(MODEL, torch.zeros(1, 1, 8, 8)).macs
