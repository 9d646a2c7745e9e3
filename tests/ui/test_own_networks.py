"""One's own networks in the app: those that the server was started with work on every page; no other is imported."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from streamlit.testing.v1 import AppTest

import pdc_core as pdc
from pdc_core.models import MODELS
from pdc_core.runs import list_runs, run_worker
from ui.own_networks import _failures, register_own
from ui.runs.compare import before_of

ROOT = Path(__file__).parents[2]
Open = Callable[..., AppTest]
NET = """
from torch import nn
def make(channels, classes):
    convolutions = nn.Conv2d(channels, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 3), nn.ReLU()
    return nn.Sequential(*convolutions, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes))
"""
CHOOSY = """

class Choosy(nn.Module):
    def __init__(self, channels, classes):
        super().__init__()
        self.body, self.exit = make(channels, 10), nn.Linear(10, classes)

    def forward(self, x):
        y = self.body(x)
        return y if y.sum() > 1e9 else self.exit(y)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder in which the server starts; it holds one module and the environment names it."""
    name = f"own_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(NET)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PDC_BUILD", f"{name}:make")
    _failures.clear()
    yield tmp_path
    _failures.clear()
    MODELS.pop(f"{name}:make", None)
    sys.modules.pop(name, None)


def name_in(folder: Path) -> str:
    return f"{next(folder.glob('own_*.py')).stem}:make"


def errors(app: AppTest) -> list[str]:
    return [error.value for error in app.error]


def test_it_stands_first_and_opens_with_random_weights_and_with_a_checkpoint(opened: Open, folder: Path) -> None:
    own = name_in(folder)
    app = opened("model")
    assert app.selectbox(key="choose_model").options[0] == own
    app.selectbox(key="choose_model").set_value(own).run()
    app.button(key="load_choice").click().run()
    assert not app.exception
    assert not app.error
    assert app.session_state["choice"].model == own
    assert any(caption.value.startswith(f"{own} on digits, random weights") for caption in app.caption)

    trained = pdc.load_model(own, data="digits", weights="random", seed=5)
    save_file(trained.state_dict(), folder / "mine.safetensors")
    app = opened("model", model=own, weights=str(folder / "mine.safetensors"))
    assert not app.error
    assert list(app.dataframe[0].value["MACs"]) == [
        layer.macs for layer in pdc.cost(trained, torch.zeros(1, 1, 8, 8)).layers
    ]


@pytest.mark.parametrize("page", ["filters", "plan", "distil", "compare"])
def test_every_page_opens_it(opened: Open, folder: Path, page: str) -> None:
    app = opened(page, model=name_in(folder), weights="random")
    assert not app.exception
    assert not app.error
    if page == "plan":
        (shown,) = (code.value for code in app.code if code.value.startswith("pdc distil"))
        assert f"--build {name_in(folder)}" in shown


def test_of_one_that_cannot_be_traced_a_part_is_pruned(
    opened: Open, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(folder))
    module = next(folder.glob("own_*.py"))
    module.write_text(NET + CHOOSY)
    own = f"{module.stem}:Choosy"
    pdc.register_custom(own)
    try:
        data = pdc.load_data("digits")
        with pytest.raises(pdc.Untraceable) as caught:
            pdc.trace(pdc.load_model(own, "digits", weights="random"), data.example)
        graph = pdc.trace(pdc.load_model(own, "digits", weights="random"), data.example, inside=caught.value.part)
        plan, quick = pdc.Plan.uniform(graph, 0.5), pdc.Training(epochs=1, images=64)
        spec = pdc.RunSpec(model=own, weights="random", plan=plan, training=quick, allow_weak_teacher=True)
        run = pdc.create_run(spec, root=folder / "runs")
        run_worker(run)
        for page in ("model", "filters", "plan", "distil", "compare"):
            app = opened(page, runs=folder / "runs", model=own, weights="random")
            assert not app.exception
            assert not app.error
            (caption,) = (caption for caption in app.caption if "pruned only in its part `body`" in caption.value)
            assert "`return y if y.sum() > 1e9" in caption.help
        assert before_of(pdc.read_run(run)).graph.inside == "body"
    finally:
        MODELS.pop(own, None)


def test_a_run_started_on_the_page_ends_with_a_file_that_loads_without_the_app(opened: Open, folder: Path) -> None:
    own = name_in(folder)
    opened("model")
    app = opened("distil", runs=folder / "runs", model=own, weights="random")
    app.number_input(key="epochs").set_value(1).run()
    assert "guessing gives 10" in app.warning[0].value
    assert next(button for button in app.button if button.label == "Start").disabled
    app.toggle(key="allow_weak_teacher").set_value(True).run()
    next(button for button in app.button if button.label == "Start").click().run()
    assert not app.exception
    deadline = time.monotonic() + 240
    while (run := list_runs(folder / "runs")[0]).state in ("queued", "running") and time.monotonic() < deadline:
        time.sleep(1)
    assert run.state == "done", (run.status, (run.folder / "worker.log").read_text())
    file = run.folder / "folded.safetensors"
    read = f"import pdc_core as pdc; print(sum(p.numel() for p in pdc.load({str(file)!r}).parameters()))"
    known, unknown = (
        subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=120)
        for code in (f"import pdc_core; pdc_core.register_custom({own!r}); {read}", read)
    )
    assert known.returncode == 0, known.stderr
    assert int(known.stdout) == (run.report or {})["folded"]["params"]
    assert f"--build {own}, or in Python call register_custom" in unknown.stderr.splitlines()[-1]
    assert run.spec.allow_weak_teacher
    app = opened("compare", runs=folder / "runs", model=own, weights="random")
    assert not app.exception
    assert any(f"pdc.register_custom({own!r})" in code.value for code in app.code)


def test_a_name_that_the_server_was_not_started_with_is_not_imported(
    opened: Open, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PDC_BUILD")
    own = name_in(folder)
    app = opened("model", model=own, weights="random")
    assert not app.exception
    assert f"This server was not started with {own}." in errors(app)[0]
    assert own.partition(":")[0] not in sys.modules
    assert own not in MODELS


def test_a_module_that_cannot_be_imported_is_one_sentence_and_the_rest_works(
    opened: Open, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PDC_BUILD", f"no_such_nets:make, {name_in(folder)}")
    app = opened("model")
    assert not app.exception
    (sentence,) = errors(app)
    assert sentence.startswith("no_such_nets:make cannot be imported (ModuleNotFoundError")
    assert f"error: {sentence}" in capsys.readouterr().err
    assert app.selectbox(key="choose_model").options[0] == name_in(folder)


def test_options_after_the_script_name_networks_and_nothing_else(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PDC_BUILD")
    monkeypatch.setattr(sys, "argv", ["/x/app.py", "--build", name_in(folder)])
    assert register_own() == ()
    assert name_in(folder) in MODELS
    monkeypatch.setattr(sys, "argv", ["/x/app.py", "--biuld", "a:b"])
    (said,) = register_own()
    assert said.startswith("--biuld is not an option of the app; it has only --build and --build-data")


def test_data_of_ones_own_stands_first_and_is_in_every_page(
    opened: Open, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "own_digits.py").write_text("import pdc_core\ndef make():\n    return pdc_core.load_data('digits')\n")
    monkeypatch.setattr("pdc_core.data.custom._KNOWN", {})
    monkeypatch.setattr("pdc_core.data.custom._MADE", {})
    monkeypatch.setenv("PDC_BUILD_DATA", "own_digits:make")
    app = opened("model", data="own_digits:make", weights="random")
    assert not app.exception
    assert not errors(app)
    assert app.selectbox(key="choose_data").options[0] == "own_digits:make"
    assert any(caption.value.startswith("ResNet-20 on own_digits:make, random weights") for caption in app.caption)
    for page in ("filters", "plan", "distil"):
        assert not errors(opened(page, data="own_digits:make", weights="random"))
    monkeypatch.delenv("PDC_BUILD_DATA")
    monkeypatch.setattr("pdc_core.data.custom._KNOWN", {})
    (said,) = errors(opened("model", data="os:getcwd"))
    assert "This server was not started with os:getcwd" in said


def test_the_command_stops_before_the_server_starts(
    folder: Path, pdc_command: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PDC_BUILD")
    code, _, err = pdc_command("app", "--build", "no_such_nets:make")
    assert code == 1
    assert err.startswith("error: no_such_nets:make cannot be imported")
    assert err.count("\n") == 1
