"""Run folders of format 1, written before settings and schedules got today's names: read, reported, resumed."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from safetensors import safe_open

import pdc_core as pdc
from pdc_core.models import MODELS
from pdc_core.report import html_report
from pdc_core.runs import RunSpec, read_spec, run_worker
from pdc_core.train import Training
from pdc_core.train.settings import EARLIER_NAMES, EARLIER_SCHEDULES

ROOT = Path(__file__).resolve().parents[3]
FIXTURES = ROOT / "tests" / "fixtures" / "format1"
# What the code before the renaming made of paused_asymptotic, with one thread, on the machine that wrote the folder;
# and the gradients of one step there. A processor that computes these alike has to end with the same tensors.
RESUMED = "f9122c8f51780f269849939ba765ca42c32f88d45de756e9ea9916c91271c8f9"
RESUMED_ACCURACY = 0.9667
GRADIENTS = "c7e89992d141df6c2794e5bb0de82161550fcc83931cb60279e881bc10f1e597"


@pytest.fixture
def _nets(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make the network of the folders known, and their weights' relative path valid."""
    known = dict(MODELS)
    monkeypatch.syspath_prepend(str(FIXTURES))
    monkeypatch.chdir(ROOT)
    pdc.register_custom("oldnets:make")
    yield
    MODELS.clear()
    MODELS.update(known)


@pytest.fixture
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def gradients_here() -> str:
    """Return the sha256 of the gradients of one batch, computed by this machine's convolutions."""
    network = pdc.load_model("oldnets:make", data="digits", weights=FIXTURES / "teacher.safetensors").train()
    data = pdc.load_data("digits")
    x, y = data.prepare(data.train.images[:32]), data.train.labels[:32]
    torch.nn.functional.cross_entropy(network(x), y).backward()
    return hashlib.sha256(b"".join(p.grad.numpy().tobytes() for p in network.parameters())).hexdigest()


def tensors_of(file: Path) -> str:
    """Return the sha256 of all tensors of a file: names, types, shapes and bytes."""
    digest = hashlib.sha256()
    with safe_open(file, "pt") as opened:
        for name in sorted(opened.keys()):
            t = opened.get_tensor(name)
            digest.update(name.encode() + (str(t.dtype) + str(tuple(t.shape))).encode())
            digest.update(t.contiguous().numpy().tobytes())
    return digest.hexdigest()


@pytest.mark.usefixtures("_nets")
def test_a_finished_run_opens_with_todays_names_its_report_and_its_network() -> None:
    run = pdc.read_run(FIXTURES / "finished_soft")
    assert (run.state, run.spec.format) == ("done", 1)
    settings = run.spec.training
    assert (settings.schedule, settings.recluster_until, settings.kd_form) == ("recluster", 0.6, "dkd")
    assert (settings.centroid, settings.n_images, settings.clip_grad_norm) == ("medoid", 64, 5.0)
    assert run.spec.residual == "shared"  # the plan's
    assert run.report is not None
    folded = pdc.load(run.folder / "folded.safetensors")
    assert pdc.cost(folded, torch.zeros(1, 1, 8, 8)).macs == run.report["folded"]["macs"]
    data = pdc.load_data("digits")
    assert pdc.evaluate(folded, data, data.test).accuracy == pytest.approx(
        run.report["folded"]["test_accuracy"], abs=0.01
    )
    assert f"{run.report['folded']['test_accuracy']:.2%}" in html_report(run)


@pytest.mark.usefixtures("_nets", "_one_thread")
def test_a_paused_run_goes_on_to_the_end_that_it_would_have_had(tmp_path: Path) -> None:
    folder = tmp_path / "paused"
    shutil.copytree(FIXTURES / "paused_asymptotic", folder)
    before = pdc.read_run(folder)
    assert before.state == "paused"
    assert before.spec.training.schedule == "merge"
    result = run_worker(folder)
    after = pdc.read_run(folder)
    assert after.state == "done"
    assert after.events[: len(before.events)] == before.events
    assert result.report["same_predictions"]
    assert {name: a.max() + 1 for name, a in result.labels.items()} == {"conv1": 6}
    assert result.report["folded"]["test_accuracy"] == pytest.approx(RESUMED_ACCURACY, abs=0.03)
    if gradients_here() == GRADIENTS:  # else this processor rounds otherwise, and only the accuracy is comparable
        assert tensors_of(folder / "folded.safetensors") == RESUMED


def test_a_plan_of_that_time_reads_back() -> None:
    plan = pdc.Plan.load(FIXTURES / "plan.json")
    assert plan.counts
    assert pdc.Plan.from_json(plan.to_json()) == plan


@pytest.mark.parametrize(("earlier", "present"), EARLIER_NAMES.items())
def test_each_setting_is_read_under_its_earlier_name_and_not_under_both(earlier: str, present: str) -> None:
    value = {"gradients": "averaged", "logits": "dkd", "weights": "medoid", "images": 64}.get(earlier, 0.25)
    found = Training.model_validate({earlier: value})
    assert getattr(found, present) == value
    assert earlier not in found.model_dump()
    with pytest.raises(ValueError, match=f"{earlier} is an earlier name of {present}; give {present} alone"):
        Training.model_validate({earlier: value, present: value})


@pytest.mark.parametrize(("earlier", "present"), EARLIER_SCHEDULES.items())
def test_schedules_are_read_under_their_earlier_names(earlier: str, present: str) -> None:
    assert Training(schedule=earlier).schedule == present


def test_a_recipe_with_both_names_is_one_clear_error(tmp_path: Path) -> None:
    recipe = tmp_path / "both.yaml"
    recipe.write_text("keep: 0.5\ntraining: {ramp: 0.3, tied_after: 0.3}\n")
    with pytest.raises(pdc.PDCError, match="ramp is an earlier name of tied_after; give tied_after alone") as raised:
        read_spec(recipe)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("option", [("--setting", "ramp=0.5"), ("--ramp", "0.5"), ("--tied-after", "0.5")])
def test_earlier_names_of_options_still_work(
    option: tuple[str, str], pdc_command, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[RunSpec] = []
    monkeypatch.setattr("pdc_core.cli.training._do", lambda spec, *_: made.append(spec))
    assert pdc_command("distil", "--keep", 0.5, *option)[0] == 0
    assert made[0].training.tied_after == 0.5


@pytest.mark.parametrize(
    ("kind", "given", "weights"),
    [
        ("distil", True, "shipped"),
        ("distil", False, "random"),
        ("distil", "torchvision", "torchvision"),
        ("distil", "/a/b.pt", "/a/b.pt"),
        ("teach", True, "random"),  # teach never began with the shipped weights unless a file was named
        ("teach", False, "random"),
        ("teach", "shipped", "shipped"),
    ],
)
def test_weights_have_one_written_form(kind: str, given: bool | str, weights: str, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    keep = {"keep": 0.5} if kind == "distil" else {}
    recipe.write_text(yaml.safe_dump({"kind": kind, "weights": given, **keep}))
    assert read_spec(recipe).weights == weights
    assert json.loads(read_spec(recipe).model_dump_json())["weights"] == weights
