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
    torch.save((x, small(x), small.state_dict()), tmp_path / "expected.pt")
    program = (
        "import torch, pdc_core as pdc; x, y, state = torch.load('expected.pt'); "
        "net = pdc.load('small.safetensors'); assert pdc.model_info(net).model == 'timm:resnet10t'; "
        "assert all(torch.equal(t, state.pop(key)) for key, t in net.state_dict().items()) and not state; "
        "assert torch.allclose(net(x), y, atol=1e-5)"
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


def _published(monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """Weights of timm's resnet10t as its hub would send them, for 1,000 classes."""
    state = pdc.build_model("timm:resnet10t", 3, 1000).state_dict()
    state = {key: torch.full_like(t, 0.25) if t.is_floating_point() else t for key, t in state.items()}
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", lambda *args, **kwargs: dict(state))
    return state


def test_weights_that_timm_publishes_are_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    state = _published(monkeypatch)
    loaded = pdc.load_model("timm:resnet10t", weights="timm").state_dict()
    assert all(torch.equal(loaded[key], t) for key, t in state.items())


def test_for_other_classes_only_the_last_layer_is_new_and_for_grey_images_the_first_is_summed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    state = _published(monkeypatch)
    loaded = pdc.load_model("timm:resnet10t", "digits", weights="timm", seed=3).state_dict()
    new = {key for key, t in state.items() if not (loaded[key].shape == t.shape and torch.equal(loaded[key], t))}
    assert new == {"fc.weight", "fc.bias", "conv1.0.weight"}
    assert loaded["fc.weight"].shape[0] == 10
    assert torch.equal(loaded["conv1.0.weight"], state["conv1.0.weight"].sum(1, keepdim=True))
    again = pdc.load_model("timm:resnet10t", "digits", weights="timm", seed=3).state_dict()
    assert torch.equal(loaded["fc.weight"], again["fc.weight"])


def test_weights_that_cannot_be_had_are_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*args: object, **kwargs: object) -> None:
        raise ConnectionError("no route to host")

    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", unreachable)
    with pytest.raises(pdc.PDCError, match=r"timm:resnet10t could not be loaded.*no route to host.*weights=PATH"):
        pdc.load_model("timm:resnet10t", weights="timm")
    with pytest.raises(pdc.PDCError, match="its own networks only: load timm:resnet18"):
        pdc.load_model("resnet18", weights="timm")


def test_images_are_prepared_as_timm_says() -> None:
    info = pdc.model_info(pdc.load_model("timm:mobilevit_xxs", weights="random"))
    assert info is not None
    cfg = timm.get_pretrained_cfg("mobilevit_xxs")
    assert (
        (info.shape, info.mean, info.std) == (cfg.input_size, cfg.mean, cfg.std) == ((3, 256, 256), (0,) * 3, (1,) * 3)
    )
    assert pdc.model_info(pdc.load_model("timm:mobilevit_xxs", "cifar10", weights="random")).shape == (3, 32, 32)


def test_a_new_head_is_named_and_a_whole_network_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    _published(monkeypatch)
    heads = [pdc.model_info(pdc.load_model("timm:resnet10t", data, weights="timm")) for data in ("digits", "imagenet")]
    assert [info.new_head for info in heads if info is not None] == ["fc", ""]
