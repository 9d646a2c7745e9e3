"""Networks on disk: back in a fresh process without pickle, and refused when anything is off."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

import pdc_core as pdc
from pdc_core import export
from tests.networks import chain, lively_, random_labels, reconstructed_and_folded


@pytest.fixture(scope="module")
def folded() -> nn.Module:
    model = pdc.load_model("resnet20")
    graph = pdc.trace(model, torch.zeros(1, 1, 8, 8))
    return reconstructed_and_folded(model, graph, random_labels(graph, 0.5))[1]


@pytest.fixture
def file(folded: nn.Module, tmp_path: Path) -> Path:
    pdc.save(folded, tmp_path / "small.safetensors")
    return tmp_path / "small.safetensors"


def test_a_saved_network_answers_the_same(folded: nn.Module, file: Path) -> None:
    loaded = pdc.load(file)
    x = torch.randn(4, 1, 8, 8)
    assert torch.equal(folded(x), loaded(x))
    assert pdc.model_info(loaded) == pdc.model_info(folded)
    assert not loaded.training


def test_it_loads_in_a_fresh_process(folded: nn.Module, file: Path) -> None:
    code = "import sys, torch, pdc_core as pdc; print(pdc.load(sys.argv[1])(torch.ones(1, 1, 8, 8)).sum().item())"
    done = subprocess.run(
        [sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=True, timeout=120
    )
    assert float(done.stdout) == pytest.approx(folded(torch.ones(1, 1, 8, 8)).sum().item(), rel=1e-5)


def test_what_was_loaded_can_be_folded_and_saved_again(file: Path, tmp_path: Path) -> None:
    loaded = pdc.load(file)
    graph = pdc.trace(loaded, torch.zeros(1, 1, 8, 8))
    _tied, smaller = reconstructed_and_folded(loaded, graph, random_labels(graph, 0.5))
    pdc.save(smaller, tmp_path / "smaller.safetensors")
    x = torch.randn(2, 1, 8, 8)
    assert torch.equal(pdc.load(tmp_path / "smaller.safetensors")(x), smaller(x))


def test_a_class_of_ones_own_needs_and_takes_a_builder(tmp_path: Path) -> None:
    net = lively_(chain()).float()
    graph = pdc.trace(net, torch.zeros(1, 2, 6, 6))
    _, small = reconstructed_and_folded(net, graph, random_labels(graph, 0.5))
    pdc.save(small, tmp_path / "own.safetensors")
    with pytest.raises(pdc.PDCError, match="build="):
        pdc.load(tmp_path / "own.safetensors")
    x = torch.randn(2, 2, 6, 6)
    assert torch.equal(pdc.load(tmp_path / "own.safetensors", build=chain)(x), small(x))
    with pytest.raises(pdc.PDCError):
        pdc.load(tmp_path / "own.safetensors", build=lambda: chain(7))


def test_the_header_is_read_without_the_weights(file: Path) -> None:
    head = pdc.header(file)
    assert head["card"]["model"] == "resnet20"
    assert head["folds"][0]["residual"] == "internal"
    assert head["widths"]["layer1.0.conv1"] == [8, 16], "outputs and inputs"
    assert len(set(head["folds"][0]["labels"]["layer1.0.conv1"])) == 8


@settings(max_examples=25, deadline=None)
@given(share=st.floats(0, 0.999))
def test_a_truncated_file_is_refused(share: float) -> None:
    path = Path(__file__).parents[2] / "pdc_core" / "weights" / "resnet20-digits.safetensors"
    content = path.read_bytes()
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        cut = Path(folder) / "cut.safetensors"
        cut.write_bytes(content[: int(share * len(content))])
        with pytest.raises(pdc.PDCError, match="not a whole safetensors file"):
            pdc.load(cut)


def tampered(
    file: Path, change: dict[str, object] | None = None, tensors: dict[str, torch.Tensor] | None = None
) -> Path:
    head = pdc.header(file)
    save_file(tensors or load_file(file), file, metadata={"pdc": json.dumps({**head, **(change or {})})})
    return file


def test_weights_that_are_not_finite_are_refused(file: Path, folded: nn.Module) -> None:
    tensors = load_file(file)
    tensors["conv1.weight"][0] = float("nan")
    with pytest.raises(pdc.PDCError, match="not finite"):
        pdc.load(tampered(file, tensors=tensors))
    bad = pdc.load_model("resnet20")
    next(bad.parameters()).data[:] = float("inf")
    with pytest.raises(pdc.PDCError, match="not saved"):
        pdc.save(bad, file.with_name("bad.safetensors"))
    assert not file.with_name("bad.safetensors").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 99}, "format 99"),
        ({"card": None}, "class that PDC does not have"),
        ({"card": {"model": "os.system"}}, "does not describe the network"),
        ({"folds": "all"}, "damaged"),
        (
            {"folds": [{"residual": "internal", "input": [1, 8, 8], "labels": {"layer1.0.conv1": [0, 0]}}]},
            "expected 16 integers",
        ),
        ({"folds": [{"residual": "internal", "input": [10**9, 8, 8], "labels": {}}]}, "damaged"),
        ({"folds": []}, "do not fit"),
    ],
)
def test_a_tampered_header_is_refused(file: Path, change: dict[str, object], said: str) -> None:
    with pytest.raises(pdc.PDCError, match=said):
        pdc.load(tampered(file, change))


def test_a_header_that_claims_to_be_huge_is_refused_before_it_is_read(file: Path) -> None:
    file.write_bytes((2**40).to_bytes(8, "little") + file.read_bytes()[8:])
    with pytest.raises(pdc.PDCError, match="claims"):
        pdc.load(file)


@pytest.mark.parametrize(
    ("announced", "said"), [(64 * 2**20, "whole safetensors file [(]"), (64 * 2**20 + 1, "claims")]
)
def test_a_header_may_take_64_mebibytes_and_no_more(tmp_path: Path, announced: int, said: str) -> None:
    path = tmp_path / "large.safetensors"
    with path.open("wb") as file:
        file.write(announced.to_bytes(8, "little"))
        file.truncate(65 * 2**20)  # zeros that take no room on the disk
    with pytest.raises(pdc.PDCError, match=said):
        pdc.header(path)


def test_an_onnx_file_that_computes_something_else_is_refused_and_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.onnx, "export", lambda model, inputs, path, **options: Path(path).write_text("written"))
    monkeypatch.setattr("onnxruntime.InferenceSession", lambda path, providers: None)
    net = nn.Conv2d(1, 2, 3).eval()
    for away, refused in ((0.9e-4, False), (1.1e-4, True), (float("nan"), True)):
        monkeypatch.setattr(export, "_disagreement", lambda model, session, x, away=away: away)
        path = tmp_path / f"{away}.onnx"
        if refused:
            with pytest.raises(pdc.PDCError, match="computes something else"):
                pdc.export_onnx(net, path, shape=(1, 4, 4))
        else:
            pdc.export_onnx(net, path, shape=(1, 4, 4))
        assert path.exists() is not refused


def test_a_file_of_somebody_else_is_refused(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(pdc.PDCError, match="not written by pdc"):
        pdc.load(tmp_path / "other.safetensors")
    with pytest.raises(pdc.PDCError, match="no file"):
        pdc.load(tmp_path / "missing.safetensors")


def test_a_folder_that_cannot_be_written_leaves_nothing_behind(folded: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(pdc.PDCError, match="cannot be written"):
        pdc.save(folded, tmp_path / "nowhere" / "x.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_labels_in_the_header_are_the_ones_folded(folded: nn.Module) -> None:
    assert all(isinstance(a, np.ndarray) for a in folded.folds[0].labels.values())  # type: ignore[union-attr,index]


@pytest.mark.parametrize("residual", ["internal", "shared", "gather"])
@pytest.mark.parametrize("name", ["resnet20", "mobilenet_v2_small", "vgg16_bn_small"])
def test_every_treatment_comes_back_from_disk(name: str, residual: str, tmp_path: Path) -> None:
    model = pdc.load_model(name, weights=False)
    graph = pdc.trace(model, torch.zeros(1, 1, 8, 8), residual)
    _, small = reconstructed_and_folded(model, graph, random_labels(graph, 0.4))
    pdc.save(small, tmp_path / "small.safetensors")
    x = torch.randn(2, 1, 8, 8)
    assert torch.equal(pdc.load(tmp_path / "small.safetensors")(x), small(x))


class Picking(nn.Module):
    """Has a forward pass that a fold rewrites, makes a constant, and holds a head and a scale that it does not use."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.read = nn.Conv2d(1, 8, 3), nn.Conv2d(4, 3, 1)
        self.unused, self.scale = nn.Linear(4, 2), nn.Parameter(torch.ones(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x).view(-1, 2, 4, 6, 6).sum(1)
        return self.read(x[:, torch.arange(4)]).mean((2, 3))


def test_a_copy_of_a_rewritten_network_is_saved_and_comes_back(tmp_path: Path) -> None:
    residual = pdc.load_model("resnet20")
    for model, treatment, build in ((residual, "gather", None), (Picking().eval(), "shared", lambda: Picking().eval())):
        x = torch.randn(3, 1, 8, 8)
        graph = pdc.trace(model, x[:1], treatment)
        tied, small = reconstructed_and_folded(model, graph, random_labels(graph, 0.5))
        twin = copy.deepcopy(copy.deepcopy(small))
        assert twin.state_dict().keys() == small.state_dict().keys()
        assert type(twin).__name__ == type(small).__name__
        assert pdc.model_info(twin) == pdc.model_info(model)
        with torch.no_grad():
            assert torch.equal(twin(x), small(x))
            next(iter(small.parameters())).zero_()  # of its own, not shared
        assert pdc.check_equal(tied, twin, x).relative <= 1e-4
        pdc.save(twin, tmp_path / "twin.safetensors")
        again = pdc.load(tmp_path / "twin.safetensors", build=build)
        with torch.no_grad():
            assert torch.equal(again(x), twin(x))
        both = pdc.trace(twin, x[:1], treatment)  # and is folded once more
        smaller = copy.deepcopy(reconstructed_and_folded(twin, both, random_labels(both, 0.5))[1])
        pdc.save(smaller, tmp_path / "smaller.safetensors")
        with torch.no_grad():
            assert torch.equal(pdc.load(tmp_path / "smaller.safetensors", build=build)(x), smaller(x))


def test_gather_indices_do_not_depend_on_the_order_of_a_set(tmp_path: Path) -> None:
    model = pdc.load_model("resnet20", weights=False)
    graph = pdc.trace(model, torch.zeros(1, 1, 8, 8), "gather")
    _, small = reconstructed_and_folded(model, graph, random_labels(graph, 0.4))
    pdc.save(small, tmp_path / "small.safetensors")
    code = "import sys, torch, pdc_core as pdc; print(pdc.load(sys.argv[1])(torch.ones(1, 1, 8, 8)).sum().item())"
    command = [sys.executable, "-c", code, str(tmp_path / "small.safetensors")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert float(done.stdout) == pytest.approx(small(torch.ones(1, 1, 8, 8)).sum().item(), rel=1e-4)


def test_onnx_computes_the_same_on_two_batch_sizes_in_one_file(tmp_path: Path) -> None:
    import onnxruntime

    model = pdc.load_model("resnet20", weights=False)
    graph = pdc.trace(model, torch.zeros(1, 1, 8, 8), "gather")
    _, small = reconstructed_and_folded(model, graph, random_labels(graph, 0.4))
    assert pdc.export_onnx(small, tmp_path / "small.onnx") <= 1e-4
    assert [p.name for p in tmp_path.iterdir()] == ["small.onnx"]
    session = onnxruntime.InferenceSession(str(tmp_path / "small.onnx"))
    for batch in (1, 5):
        x = torch.randn(batch, 1, 8, 8)
        assert np.allclose(session.run(None, {"x": x.numpy()})[0], small(x).detach().numpy(), atol=1e-3, rtol=1e-4)


def test_onnx_names_the_outputs_of_a_network_with_several(tmp_path: Path) -> None:
    import onnxruntime

    class Two(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = torch.nn.Conv2d(1, 4, 3)
            self.head, self.boxes = torch.nn.Conv2d(4, 2, 1), torch.nn.Conv2d(4, 3, 1)

        def forward(self, x: torch.Tensor) -> dict[str, object]:
            features = self.body(x).relu()
            return {"logits": self.head(features), "parts": [self.boxes(features)]}

    model = Two().eval()
    graph = pdc.trace(model, torch.zeros(1, 1, 8, 8))
    _, small = reconstructed_and_folded(model, graph, random_labels(graph, 0.5))
    assert pdc.export_onnx(small, tmp_path / "two.onnx", shape=(1, 8, 8)) <= 1e-4
    session, x = onnxruntime.InferenceSession(str(tmp_path / "two.onnx")), torch.randn(2, 1, 8, 8)
    assert [each.name for each in session.get_outputs()] == ["logits", "parts.0"]
    logits, boxes = session.run(None, {"x": x.numpy()})
    expected = small(x)
    assert np.allclose(logits, expected["logits"].detach().numpy(), atol=1e-5)
    assert np.allclose(boxes, expected["parts"][0].detach().numpy(), atol=1e-5)


def test_onnx_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(pdc.PDCError, match="shape="):
        pdc.export_onnx(chain().eval(), tmp_path / "x.onnx")
    with pytest.raises(pdc.PDCError, match=r"model\.eval"):
        pdc.export_onnx(chain(), tmp_path / "x.onnx", shape=(2, 6, 6))
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(pdc.PDCError, match=r"pip install -e '.\[onnx\]'"):
        pdc.export_onnx(chain().eval(), tmp_path / "x.onnx")
    assert list(tmp_path.iterdir()) == []
