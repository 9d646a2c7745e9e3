"""The printed command, read by the real command line, makes a run with an equal run.yaml: for any run at all."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pdc_core as pdc
from pdc_core import cli
from pdc_core.baselines import METHOD_HELP, WHOLE
from pdc_core.losses import LOGITS
from pdc_core.models import MODELS
from pdc_core.runs import RunSpec, default_training, read_spec, run_command
from pdc_core.train import SCHEDULES, Training
from ui.choice import Choice
from ui.plan import files

FIXTURES = Path(__file__).parents[1] / "fixtures" / "format1"
OWN = "oldnets:make"
GRAPHS = {
    residual: pdc.trace(pdc.load_model("resnet20", weights="random"), torch.zeros(1, 1, 8, 8), residual=residual)
    for residual in ("internal", "shared", "gather")
}
shares = st.floats(0.01, 1.0)
positive = st.floats(1e-9, 1e9)

SETTINGS: dict[str, st.SearchStrategy[Any]] = {
    "epochs": st.integers(10, 100_000), "batch_size": st.integers(2, 10**6),
    "optimizer": st.sampled_from(["sgd", "adamw"]), "lr": st.none() | positive, "momentum": st.floats(0, 0.99),
    "weight_decay": positive,
    "lr_schedule": st.sampled_from(["cosine", "step", "onecycle", "constant"]),
    "milestones": st.lists(st.floats(0.01, 0.99), max_size=3).map(sorted).map(tuple), "lr_gamma": shares,
    "warmup": st.floats(0, 9), "clip_grad_norm": st.none() | positive, "label_smoothing": st.floats(0, 0.99),
    "temperature": positive, "alpha": st.floats(0, 1), "kd_form": st.sampled_from(list(LOGITS)), "matching": positive,
    "attention": positive, "feature_decay": positive, "schedule": st.sampled_from(list(SCHEDULES)),
    "recluster_until": shares, "merges": st.none() | st.integers(1, 99), "merge_decay": positive,
    "n_images": st.integers(2, 9999), "tied_gradients": st.sampled_from(["summed", "averaged"]), "tied_after": shares,
    "centroid": st.sampled_from(["norm", "uniform", "medoid"]), "augment": shares, "fold_when_tied": st.booleans(),
    "recalibrate": st.just(0) | st.integers(2, 9999), "accelerator": st.sampled_from(["auto", "cpu", "cuda"]),
    "devices": st.integers(1, 8), "precision": st.sampled_from(["32", "bf16-mixed", "16-mixed"]),
    "teacher_precision": st.sampled_from(["same", "32", "bf16", "16"]), "channels_last": st.booleans(),
    "compile": st.booleans(), "workers": st.integers(0, 64), "checkpoint_seconds": positive,
    "checkpoint_steps": st.none() | st.integers(1, 9999),
}  # fmt: skip
weights = st.sampled_from(
    ["shipped", "random", "published", "torchvision", "/a b/it's $1.pt", "/nets/\u00fcber.safetensors"]
)


@st.composite
def plans(draw: st.DrawFn) -> pdc.Plan:
    """Any counts for some of the groups, by any treatment, with or without constraints."""
    residual = draw(st.sampled_from(list(GRAPHS)))
    groups = draw(st.lists(st.sampled_from(GRAPHS[residual].clusterable), unique_by=lambda group: group.name))
    counts = {group.name: draw(st.integers(1, group.size)) for group in groups}
    return pdc.Plan.uniform(GRAPHS[residual], draw(shares)).replace(counts)


@st.composite
def specs(draw: st.DrawFn) -> RunSpec:
    """Any run that can be written down."""
    kind = draw(st.sampled_from(["distil", "distil", "teach"]))
    names = draw(st.lists(st.sampled_from(list(SETTINGS)), unique=True))
    given_settings = {name: draw(SETTINGS[name]) for name in names}
    if "warmup" in given_settings:  # which is shorter than the run
        given_settings.setdefault("epochs", 10)
    if given_settings.get("fold_when_tied"):
        given_settings["optimizer"] = "sgd"
    elif given_settings.get("optimizer") == "adamw":
        given_settings["fold_when_tied"] = False
    if given_settings.get("centroid") == "medoid":
        given_settings["tied_gradients"] = "summed"
    data = draw(st.sampled_from(["digits", "npz:/a b/c.npz"] if kind == "teach" else ["digits", "fashion_mnist"]))
    training = Training.model_validate({**default_training(kind, data).model_dump(), **given_settings})
    whole: dict[str, Any] = {"kind": kind, "data": data, "training": training, "seed": draw(st.integers(0, 2**31))}
    whole["weights"] = draw(weights)
    whole["images"] = draw(st.none() | st.integers(2, 10**6))
    if training.devices == 1:
        whole["budget"] = draw(st.none() | st.floats(0.1, 1e6))
    if kind == "distil":
        whole |= {"method": draw(st.sampled_from(list(METHOD_HELP))), "allow_weak_teacher": draw(st.booleans())}
        whole["teacher"] = draw(st.sampled_from([None, "resnet56:published", "/a b/c.safetensors"]))
        if draw(st.booleans()):
            whole |= {"plan": draw(plans())}
        else:
            whole |= {"keep": draw(shares), "residual": draw(st.sampled_from(list(GRAPHS)))}
    return RunSpec(**whole)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[RunSpec]:
    """Catch the runs that the command line would make; networks are built without looking for their weights."""
    made: list[RunSpec] = []

    def catch(spec: RunSpec, folder: Path | None = None) -> Path:
        made.append(spec)
        raise pdc.PDCError("caught")

    def build(model: str, data: str, weights: str) -> torch.nn.Module:
        return pdc.load_model(model, "digits", weights="random")

    info = pdc.describe_data("digits")
    monkeypatch.setattr("pdc_core.cli.outcome.create_run", catch)
    monkeypatch.setattr("pdc_core.cli.training.load_model", build)
    monkeypatch.setattr("pdc_core.cli.training.describe_data", lambda name: info)
    monkeypatch.chdir(tmp_path)
    return made


def read_back(command: str, asked: list[RunSpec], capsys: pytest.CaptureFixture[str] | None = None) -> RunSpec:
    """Run a command as a shell would and return the run that it asks for."""
    asked.clear()
    words = shlex.split(command)
    assert words[0] == "pdc"
    before, sys.argv = sys.argv, words
    try:
        with pytest.raises(SystemExit):
            cli.main()
    finally:
        sys.argv = before
    assert len(asked) == 1, command
    return asked[0]


def yaml_of(spec: RunSpec) -> dict[str, Any]:
    """Return what run.yaml would say, but for date, versions and the plan's own file."""
    return spec.model_dump(mode="json", exclude={"created", "versions"})


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(spec=specs())
def test_the_printed_command_makes_an_equal_run(spec: RunSpec, asked: list[RunSpec]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pdc_core.runs.spec.RunSpec.with_plan", with_plan_of_digits)
        whole = spec.with_plan()
    if spec.plan is not None:
        spec.plan.save("plan.json")
    assert yaml_of(read_back(run_command(spec), asked)) == yaml_of(whole)


def with_plan_of_digits(spec: RunSpec) -> RunSpec:
    """Write a keep ratio out as a plan on the graphs of this file, whatever the data are called."""
    if spec.kind == "teach":
        return spec
    plan = spec.plan or pdc.Plan.uniform(GRAPHS[spec.residual], spec.keep or 1.0, model=spec.model)
    if spec.method == WHOLE:
        plan = plan.whole()
    return RunSpec(**{**dict(spec), "plan": plan, "keep": None})


def test_every_setting_is_tried() -> None:
    assert set(SETTINGS) == set(Training.model_fields)


@pytest.mark.parametrize("folder", ["finished_soft", "paused_asymptotic"])
def test_a_network_of_ones_own_is_named_so_that_it_is_built(
    folder: str, asked: list[RunSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(FIXTURES))
    monkeypatch.setattr("pdc_core.models.custom.MODELS", known := dict(MODELS))
    monkeypatch.setattr("pdc_core.models.zoo.MODELS", known)
    spec = read_spec(FIXTURES / folder).model_copy(update={"weights": "/somewhere/teacher.safetensors", "format": 2})
    assert spec.plan is not None
    spec.plan.save("plan.json")
    assert yaml_of(read_back(run_command(spec), asked)) == yaml_of(spec)
    assert f"--build {OWN}" in run_command(spec)


@pytest.mark.parametrize("source", ["shipped", "random", "torchvision", "/a b/c.pt"])
def test_the_app_shows_the_same_command(source: str) -> None:
    class Shown:
        choice = Choice("resnet20", "digits", source)
        model, data_name = "resnet20", "digits"
        has_images, data = True, pdc.load_data("digits")

    plan = pdc.Plan.uniform(GRAPHS["internal"], 0.5)
    spec = RunSpec(weights=source, plan=plan, training=default_training("distil", "digits"))
    assert files.command(Shown(), plan) == run_command(spec)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "epochs", "lr"),
    [
        ((), 30, 0.1),
        (("--weights", "torchvision"), 10, 0.01),
        (("--weights", "mine.pt", "--epochs", "3"), 3, 0.01),
        (("--weights", "timm", "--lr", "0.2"), 10, 0.2),
    ],
)
def test_teach_is_gentler_with_trained_weights_unless_told_otherwise(
    asked: list[RunSpec], options: tuple[str, ...], epochs: int, lr: float
) -> None:
    training = read_back(shlex.join(["pdc", "teach", "resnet20", *options]), asked).training
    assert (training.epochs, training.lr) == (epochs, lr)
