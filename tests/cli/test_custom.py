"""Networks of one's own class: only through --build, never through a name in a file or an address."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import pdc_core as pdc
from pdc_core.models import MODELS, register_custom

ROOT = Path(__file__).resolve().parents[2]
NET = """
from torch import nn
def make(channels, classes):
    convolutions = nn.Conv2d(channels, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 3)
    return nn.Sequential(*convolutions, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes))
def broken(channels, classes):
    return "no network"
"""


@pytest.fixture
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"nets_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(NET)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("pdc_core.models.custom.MODELS", known := dict(MODELS))
    monkeypatch.setattr("pdc_core.models.zoo.MODELS", known)
    monkeypatch.setattr("pdc_core.models.load.MODELS", known)
    monkeypatch.setattr("pdc_core.data.custom._KNOWN", {})
    monkeypatch.setattr("pdc_core.data.custom._MADE", {})
    return name


def test_a_registered_function_is_a_network_by_its_own_name(nets: str) -> None:
    name = register_custom(f"{nets}:make")
    model = pdc.load_model(name, data="digits", weights=False)
    assert model[0].in_channels == 1
    assert model[5].out_features == 10
    assert pdc.model_info(model).model == name


def test_a_name_that_nobody_registered_is_never_imported(nets: str) -> None:
    with pytest.raises(pdc.PDCError, match="--build"):
        pdc.load_model(f"{nets}:make", data="digits", weights=False)
    assert nets not in sys.modules


@pytest.mark.parametrize("target", ["nets", "a.b", "os;x:y", "../x:y", "os:", ":make", "no_such_module_here:make"])
def test_targets_that_name_nothing_are_refused(target: str) -> None:
    with pytest.raises(pdc.PDCError, match=r"does not name a function|cannot be imported"):
        register_custom(target)


def test_what_returns_no_network_is_refused(nets: str) -> None:
    register_custom(f"{nets}:broken")
    with pytest.raises(pdc.PDCError, match=r"not a torch\.nn\.Module"):
        pdc.load_model(f"{nets}:broken", data="digits", weights=False)
    with pytest.raises(pdc.PDCError, match="not a function"):
        register_custom("sys:path")


def test_the_option_stands_anywhere_on_the_command_line(nets: str, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "pdc_core", "layers", f"{nets}:make", "--data", "digits", "--build", f"{nets}:make"]
    done = subprocess.run(
        words, cwd=tmp_path, capture_output=True, text=True, timeout=120, env={"PYTHONPATH": str(ROOT), "PATH": ""}
    )
    assert done.returncode == 0, done.stderr
    assert "6" in done.stdout
    assert f"{nets}:make" in done.stdout


MINE = """
import torch
def make():
    images, labels = torch.zeros(30, 1, 12, 12, dtype=torch.uint8), torch.arange(30) % 3
    return (images, labels), (images[:6], labels[:6]), (images[:6], labels[:6])
"""


def test_what_the_command_line_makes_known_is_what_a_command_works_on(
    nets: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pdc_command: Callable[..., tuple[int, str, str]]
) -> None:
    (tmp_path / f"{nets}_data.py").write_text(MINE)
    own, data = f"{nets}:make", f"{nets}_data:make"
    code, out, err = pdc_command("layers", "--build", own)
    assert code == 0, err
    assert f"{own} on digits (1x8x8)" in out
    code, out, err = pdc_command("distil", "--build", own, "--build-data", data, "--weights", "random", "--dry-run")
    assert code == 0, err
    assert f"distil {own} on {data}: 8 epochs of 30 images" in out
    assert "distil resnet20 on" in pdc_command("distil", "--build", own, "--model", "resnet20", "--dry-run")[1]
    assert "distil resnet20 on" in pdc_command("distil", "--build", own, "--build", own, "--dry-run")[1]
    monkeypatch.setenv("PDC_BUILD", own)  # of a server, whose runs are of other networks too
    assert "distil resnet20 on" in pdc_command("distil", "--dry-run")[1]


def test_a_recipe_keeps_its_own_data(
    nets: str, tmp_path: Path, pdc_command: Callable[..., tuple[int, str, str]]
) -> None:
    (tmp_path / f"{nets}_data.py").write_text(MINE)
    recipe = ROOT / "recipes" / "clothing_resnet20_teach.yaml"
    code, out, err = pdc_command("run", recipe, "--dry-run", "--build-data", f"{nets}_data:make")
    assert code == 0, err
    assert "on clothing" in out


def test_a_module_that_imports_torchvision_is_imported_where_that_has_to_be_repaired(tmp_path: Path) -> None:
    name = f"seen_{tmp_path.name.replace('-', '_')}"
    body = "    return torchvision.models.squeezenet1_1(num_classes=classes)"
    source = f"import torchvision\ndef make(channels, classes):\n{body}\n"
    (tmp_path / f"{name}.py").write_text(source)
    words = [sys.executable, "-m", "pdc_core", "layers", f"{name}:make", "--data", "cifar10", "--build", f"{name}:make"]
    done = subprocess.run(
        words, cwd=tmp_path, capture_output=True, text=True, timeout=120, env={"PYTHONPATH": str(ROOT), "PATH": ""}
    )
    assert done.returncode == 0, done.stderr
    assert "classifier.1" in done.stdout
