"""timm's networks by name: built for the data, folded, saved, and read again by a process that knows only the file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import pdc_core as pdc
from pdc_core.models import MODELS

timm = pytest.importorskip("timm") if pdc.torchvision() else None


def test_a_folded_network_of_timm_is_rebuilt_by_name_in_a_fresh_process(tmp_path: Path) -> None:
    model = pdc.load_model("timm:resnet10t", data="digits", weights="random")
    x = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert model(x).shape == (3, 10)
    graph = pdc.trace(model, x[:1])
    labels = pdc.assign(model, graph, pdc.Plan.uniform(graph, 0.5))
    small = pdc.fold(pdc.reconstruct_(model, graph, labels), graph, labels)
    pdc.save(small, tmp_path / "small.safetensors")
    torch.save((x, small(x)), tmp_path / "expected.pt")
    program = (
        "import torch, pdc_core as pdc; x, y = torch.load('expected.pt'); "
        "net = pdc.load('small.safetensors'); "
        "assert pdc.model_info(net).model == 'timm:resnet10t'; assert torch.equal(net(x), y)"
    )
    root = str(Path(__file__).parents[3])
    code = f"import sys; sys.path.insert(0, {root!r}); {program}"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=300)


def test_an_unknown_name_gets_those_that_are_close() -> None:
    with pytest.raises(pdc.PDCError, match=r"no network called 'resnet10tt'; did you mean timm:resnet10t"):
        pdc.build_model("timm:resnet10tt", 3, 10)
    assert not any(name.startswith("timm:") for name in MODELS)


def test_without_timm_a_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(pdc.PDCError, match=r"pip install pdc-core\[timm\]"):
        pdc.build_model("timm:resnet18", 3, 10)
