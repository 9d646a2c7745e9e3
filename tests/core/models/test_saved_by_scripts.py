"""Checkpoints as training scripts write them: nested, prefixed, with their settings beside; nothing in them is run."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from pdc_core.errors import PDCError
from pdc_core.models import build_model, compare_state, inspect_checkpoint, load_model, read_checkpoint
from pdc_core.models.checkpoint import load_state_

STATE = build_model("resnet20", 1, 10).state_dict()
SETTINGS = argparse.Namespace(lr=0.1, arch="resnet20", out=Path("runs"))


def prefixed(prefix: str) -> dict[str, torch.Tensor]:
    return {prefix + name: tensor for name, tensor in STATE.items()}


@pytest.mark.parametrize(
    ("content", "prefix"),
    [
        ({"model": STATE, "optimizer": {"lr": 0.1}, "epoch": 3, "args": SETTINGS}, ""),
        ({"model_state_dict": prefixed("module."), "loss": 0.5}, "module."),
        ({"net": prefixed("module."), "acc": 93.1, "epoch": 3}, "module."),
        ({"state_dict": STATE, "state_dict_ema": {}, "args": SETTINGS, "arch": "resnet20"}, ""),
        ({"state_dict_ema": STATE, "epoch": 1}, ""),
        ({"ema": {"state_dict": STATE}}, ""),
        ({"state_dict": prefixed("model."), "hyper_parameters": {"lr": 0.1}, "callbacks": {}}, "model."),
        ({"state_dict": prefixed("net._orig_mod.")}, "net._orig_mod."),
        (prefixed("_orig_mod.module."), "_orig_mod.module."),
    ],
)
def test_weights_are_found_where_scripts_put_them(tmp_path: Path, content: Any, prefix: str) -> None:
    torch.save(content, path := tmp_path / "last.pt")
    found = inspect_checkpoint(path)
    assert found.prefix == prefix
    assert list(found.tensors) == list(STATE)
    assert all(torch.equal(found.tensors[name], STATE[name]) for name in STATE)
    loaded = load_model("resnet20", data="digits", weights=path).state_dict()
    assert all(torch.equal(loaded[name], STATE[name]) for name in STATE)


def test_a_prefix_that_is_the_networks_own_is_kept(tmp_path: Path) -> None:
    net = nn.Module()
    net.model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4))
    torch.save({"state_dict": {f"module.{name}": t + 1 for name, t in net.state_dict().items()}}, tmp_path / "own.pt")
    expected = {name: t + 1 for name, t in net.state_dict().items()}
    tensors = read_checkpoint(tmp_path / "own.pt")
    assert compare_state(net, tensors).whole
    load_state_(net, tensors, "own.pt")
    assert all(torch.equal(net.state_dict()[name], expected[name]) for name in expected)


class Hostile:
    """When unpickled, writes the file `target`."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.target, "run")


def test_a_program_beside_the_weights_is_not_run(tmp_path: Path) -> None:
    target = tmp_path / "written"
    torch.save({"state_dict": STATE, "args": Hostile(target)}, path := tmp_path / "hostile.pt")
    with pytest.raises(PDCError, match="was not opened: such a file can run any program"):
        read_checkpoint(path)
    assert not target.exists()
    torch.load(path, weights_only=False)
    assert target.exists()  # the file was armed


def test_the_lines_of_the_error_convert_a_file_that_is_trusted(tmp_path: Path) -> None:
    torch.save({"state_dict": STATE, "made": Hostile(tmp_path / "written")}, path := tmp_path / "old.pt")
    with pytest.raises(PDCError, match="convert it once in Python") as error:
        read_checkpoint(path)
    lines = [line.strip() for line in str(error.value).splitlines() if line.startswith("    ")]
    assert len(lines) == 3
    exec("\n".join(lines), {})
    assert list(read_checkpoint(tmp_path / "old-weights.pt")) == list(STATE)
