"""«Train it» on the page Model: offered where it is needed, a run like any other, and its network is opened."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from streamlit.testing.v1 import AppTest

import pdc_core as pdc
from pdc_core.models import load
from pdc_core.runs import RunSpec, create_run, read_run, run_worker
from pdc_core.train import Training
from ui.network import load_network
from ui.origin import near_chance
from ui.runs.settings import estimate_teaching

PAGES = Path(__file__).parents[3] / "pages"
CLASSES = ("blue", "green", "red")
Open = Callable[..., AppTest]
Texts = Callable[[AppTest], dict[str, str]]
Press = Callable[[AppTest, str], AppTest]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of images as a person would have them: 12 of each class, nothing divided."""
    random = np.random.default_rng(0)
    for label, name in enumerate(CLASSES):
        (tmp_path / "images" / name).mkdir(parents=True)
        for i in range(12):
            pixels = random.integers(0, 60, (20, 24, 3)) + 150 * np.eye(3, dtype=int)[2 - label]
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "images" / name / f"{i}.png")
    return tmp_path / "images"


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Catch the folders whose workers the page would start."""
    found: list[Path] = []
    monkeypatch.setattr("ui.runs.launching.launch", lambda folder, home: found.append(folder))
    return found


def _labels(app: AppTest) -> list[str]:
    return [button.label for button in app.button]


def _said(app: AppTest) -> str:
    return " ".join(text.value for kind in ("markdown", "caption") for text in app.get(kind))


def _status(folder: Path, **status: object) -> None:
    (folder / "status.json").write_text(json.dumps({"heartbeat": time.time(), **status}))


def test_a_trained_network_is_not_offered_training(opened: Open) -> None:
    app = opened("model")
    assert "Train it" not in _labels(app)
    assert "has random weights" not in _said(app)


def test_a_network_with_random_weights_is_trained_and_opened_and_can_be_distilled(
    opened: Open, launched: list[Path], tmp_path: Path, press: Press, metrics: Texts
) -> None:
    app = opened("model", weights="random", plan="1-2-3-4-5-6-7-8-9")
    assert "This network has random weights" in _said(app)
    assert "Takes about" in _said(app)
    assert metrics(app)["Test accuracy"] == "–"
    app.number_input(key="teach_epochs_random").set_value(1).run()
    press(app, "Train it")
    (folder,) = launched
    spec = read_run(folder).spec
    assert (spec.kind, spec.weights, spec.data) == ("teach", "random", "digits")
    assert spec.training == Training.for_teaching(epochs=1)
    assert {"Pause", "Finish now", "Stop"} <= set(_labels(app))  # it waits for its worker
    assert "Train it" not in _labels(app)

    report = run_worker(folder).report
    app.run()
    assert not app.exception
    assert app.session_state["choice"].weights == str(folder.resolve() / "folded.safetensors")
    assert f"the run “{folder.name}”" in app.caption[0].value
    assert list(app.session_state["plan"].counts.values()) == list(range(1, 10))  # the plan goes with the network
    assert f"test accuracy **{100 * report['taught']['test_accuracy']:.1f} %**" in app.success[0].value
    assert metrics(app)["Test accuracy"] == f"{100 * report['taught']['test_accuracy']:.1f} %"
    assert app.selectbox(key="choose_weights_1").value == "path of a checkpoint"
    app.switch_page(str(PAGES / "distil.py")).run()
    assert not app.exception
    assert not app.warning
    assert "Start" in _labels(app)
    app.switch_page(str(PAGES / "model.py")).run()
    app.selectbox(key="choose_weights_1").set_value("random").run()
    press(app, "Load")
    assert app.session_state["choice"].weights == "random"  # it is opened by itself once
    press(app, "Open its network")
    assert app.session_state["choice"].weights != "random"


def test_a_training_by_somebody_else_is_shown_and_opened_only_if_asked(
    opened: Open, tmp_path: Path, press: Press
) -> None:
    spec = RunSpec(kind="teach", weights="random", training=Training.for_teaching(epochs=1, batch_size=512))
    folder = create_run(spec, root=tmp_path)
    run_worker(folder)
    app = opened("model", weights="random")
    assert app.session_state["choice"].weights == "random"
    assert app.success[0].value.startswith("Trained: test accuracy")
    assert {"Train it", "Open its network"} <= set(_labels(app))
    assert folder.name in press(app, "Open its network").session_state["choice"].weights


@pytest.mark.parametrize("state", ["paused", "failed"])
def test_a_training_that_ended_early_is_continued(
    opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str, press: Press
) -> None:
    folder = create_run(RunSpec(kind="teach", weights="random", training=Training.for_teaching()), root=tmp_path)
    _status(folder, state=state, message="The image a.png cannot be read.")
    app = opened("model", weights="random")
    assert app.warning[0].value == f"This training is {state}. The image a.png cannot be read."
    resumed: list[Path] = []
    monkeypatch.setattr("ui.runs.launching.resume", lambda folder, home: resumed.append(folder))
    press(app, "Continue")
    assert resumed == [folder]


def test_a_training_waits_for_a_distillation_and_the_other_way_round(opened: Open, tmp_path: Path) -> None:
    distilling = create_run(RunSpec(keep=0.5), root=tmp_path)
    _status(distilling, state="queued")
    app = opened("model", weights="random")
    assert "Queue" in _labels(app)
    assert "after 1 other run." in _said(app)
    _status(distilling, state="stopped")
    teaching = create_run(RunSpec(kind="teach", weights="random", training=Training.for_teaching()), root=tmp_path)
    _status(teaching, state="queued")
    app = opened("distil")
    assert "Queue" in _labels(app)
    assert teaching.name not in app.selectbox(key="run_choice").options  # it is watched on Model


def test_imagenet_weights_with_a_new_head_are_offered_and_trained_more_gently(
    opened: Open, images: Path, launched: list[Path], monkeypatch: pytest.MonkeyPatch, press: Press
) -> None:
    theirs = pdc.load_model("mobilenet_v3_small", "imagenet", weights="random", seed=7).state_dict()
    torch.save(theirs, images.parent / "theirs.pth")
    monkeypatch.setattr(load, "cached_file", lambda url, what: images.parent / "theirs.pth")
    app = opened("model")
    app.selectbox(key="choose_model").set_value("mobilenet_v3_small").run()
    app.selectbox(key="choose_data").set_value("path of an image folder").run()
    app.text_input(key="choose_data_path").set_value(str(images)).run()
    app.number_input(key="choose_size_224").set_value(32).run()
    assert app.selectbox(key="choose_weights").value == "torchvision"  # better than random ones
    assert "The last layer is new, for your 3 classes" in _said(app)
    press(app, "Load")
    assert not app.error
    assert "New head: classifier.3 has 3 outputs and random weights" in _said(app)
    press(app, "Train it")
    (folder,) = launched
    spec = read_run(folder).spec
    assert (spec.weights, spec.data) == ("torchvision", f"folder:{images}@32")
    usual = Training.for_teaching("torchvision")
    assert (spec.training.epochs, usual.lr) == (10, 0.01)
    assert spec.training.lr < usual.lr  # smaller batches make smaller steps


def test_weights_that_hardly_beat_guessing_can_be_trained_and_distil_leads_there(opened: Open, tmp_path: Path) -> None:
    torch.save(pdc.load_model("resnet20", weights="random", seed=3).state_dict(), tmp_path / "bad.pt")
    app = opened("distil", weights=str(tmp_path / "bad.pt"))
    assert "Train it first, on the page Model." in app.warning[0].value
    assert any(link.proto.label == "Train it" for link in app.get("page_link"))
    app.switch_page(str(PAGES / "model.py")).run()
    assert "Train it" in _labels(app)
    assert "of the test images correctly; guessing gives" in _said(app)
    assert not app.warning  # said once
    network = load_network("resnet20", "digits")
    assert near_chance(network, 0.9) is None
    assert near_chance(network, None) is None


def test_an_image_that_cannot_be_read_is_named_before_training(opened: Open, images: Path) -> None:
    for path in sorted((images / "green").iterdir()):
        path.write_bytes(path.read_bytes()[:90])
    app = opened("model", data=f"folder:{images}@16", weights="random")
    assert not app.exception
    (error,) = app.error
    assert "cannot be read" in error.value
    assert "/green/" in error.value
    assert "Train it" not in _labels(app)


def test_the_estimate_comes_from_a_training_like_it_else_from_the_work(tmp_path: Path) -> None:
    network, training = load_network("resnet20", "digits", "random"), Training.for_teaching(epochs=10)
    folder = create_run(RunSpec(kind="teach", weights="random", training=training), root=tmp_path)
    event = {"kind": "evaluation", "seconds": 3.0, "step": 1, "epoch": 1, "val_accuracy": 0.5}
    (folder / "events.jsonl").write_text(json.dumps(event) + "\n")
    runs = [read_run(folder)]
    assert estimate_teaching(network, training, runs) == 30
    assert estimate_teaching(network, training.model_copy(update={"epochs": 2}), runs) == 6
    other = training.model_copy(update={"batch_size": 16})
    ratio = estimate_teaching(network, other, []) / estimate_teaching(
        network, other.model_copy(update={"epochs": 5}), []
    )
    assert ratio == pytest.approx(2)
