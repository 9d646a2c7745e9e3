"""Weights that others publish: from torch's cache or a server, their hash checked; a new head for other classes."""

from __future__ import annotations

import functools
import hashlib
import http.server
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import pdc_core as pdc
from pdc_core.models import load, published
from pdc_core.runs import read_report

NOWHERE = "http://127.0.0.1:9"  # nobody listens on the port of «discard»


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of torch's, and no way out of this machine."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(published, "URL", NOWHERE)
    return tmp_path / "torch" / "hub" / "checkpoints"


@pytest.fixture
def server(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder that a server on this machine publishes the checkpoints from."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    monkeypatch.setattr(http.server.SimpleHTTPRequestHandler, "log_message", lambda *args: None)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        monkeypatch.setattr(published, "URL", f"http://127.0.0.1:{serving.server_port}")
        yield folder
        serving.shutdown()


def publish(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str = "resnet20") -> tuple[Path, torch.nn.Module]:
    """Write a checkpoint as its author did, under a name with its hash, and return it with its network."""
    network = pdc.load_model(name, "cifar10", weights="random", seed=5)
    state = {f"module.{key}": t for key, t in network.state_dict().items() if not key.endswith("num_batches_tracked")}
    path = folder / "checkpoint.th"
    torch.save({"state_dict": state, "best_prec1": 91.73}, path)
    file = f"{name}-{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}.th"
    monkeypatch.setitem(published.FILES, name, file)
    return path.rename(folder / file), network


def same(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    return all(torch.equal(t, b.state_dict()[key]) for key, t in a.state_dict().items())


def test_published_weights_are_downloaded_once_and_silently(
    server: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, network = publish(server, monkeypatch)
    assert same(pdc.load_model("resnet20", "cifar10", weights="published"), network)
    assert (cache / path.name).read_bytes() == path.read_bytes()
    path.unlink()
    assert same(pdc.load_model("resnet20", "cifar10", weights="published"), network)
    assert capsys.readouterr().out == ""  # where commands print their JSON


def test_a_file_that_was_put_into_the_cache_by_hand_is_used(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.mkdir(parents=True)
    _, network = publish(cache, monkeypatch)
    assert same(pdc.load_model("resnet20", "cifar10", weights="published"), network)


def test_another_file_is_refused_wherever_it_comes_from(
    server: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _ = publish(server, monkeypatch)
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(
        pdc.PDCError, match=r"could not be downloaded \(invalid hash value.*put the file at .*--weights"
    ):
        pdc.load_model("resnet20", "cifar10", weights="published")
    assert not list(cache.iterdir())
    (cache / path.name).write_bytes(b"something else")
    with pytest.raises(
        pdc.PDCError, match=r"does not hold the published weights.*begins with \w{8}, not \w{8}\. Delete"
    ):
        pdc.load_model("resnet20", "cifar10", weights="published")


def test_without_a_network_one_sentence_says_where_the_file_may_be_put(cache: Path) -> None:
    with pytest.raises(pdc.PDCError) as error:
        pdc.load_model("resnet56", "cifar10", weights="published")
    said = str(error.value)
    assert f"download {NOWHERE}/resnet56-4bfd9763.th" in said
    assert str(cache / "resnet56-4bfd9763.th") in said
    assert not list(cache.iterdir())


def test_a_program_in_the_file_is_not_run(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[Path]]:
            return (Path.touch, (tmp_path / "sprung",))

    cache.mkdir(parents=True)
    torch.save({"state_dict": Trap()}, cache / "a.th")
    name = f"resnet20-{hashlib.sha256((cache / 'a.th').read_bytes()).hexdigest()[:8]}.th"
    (cache / "a.th").rename(cache / name)
    monkeypatch.setitem(published.FILES, "resnet20", name)
    with pytest.raises(pdc.PDCError, match="holds Python objects"):
        pdc.load_model("resnet20", "cifar10", weights="published")
    assert not (tmp_path / "sprung").exists()


def test_published_are_the_resnets_with_option_a_and_the_way_to_them_is_named(cache: Path) -> None:
    assert list(published.FILES) == [f"resnet{depth}" for depth in (20, 32, 44, 56, 110, 1202)]
    with pytest.raises(pdc.PDCError, match=r"resnet20, .*resnet1202; for 'resnet20_b' choose other weights"):
        pdc.load_model("resnet20_b", "cifar10", weights="published")
    with pytest.raises(pdc.PDCError, match=r"no weights for resnet56 on cifar10.*--weights published.*--weights PATH"):
        pdc.load_model("resnet56", "cifar10")


# A new head


def as_torchvision(monkeypatch: pytest.MonkeyPatch, folder: Path, name: str) -> dict[str, torch.Tensor]:
    """Let torchvision publish weights of its own network, for 1,000 classes."""
    state = pdc.load_model(name, "imagenet", weights="random", seed=7).state_dict()
    torch.save(state, folder / f"{name}.pth")
    monkeypatch.setattr(load, "cached_file", lambda url, what: folder / f"{name}.pth")
    return state


HEADS = {"resnet18": "fc", "squeezenet1_1": "classifier.1", "mobilenet_v3_small": "classifier.3", "googlenet": "fc"}


@pytest.mark.parametrize("name", HEADS)
def test_for_other_classes_only_the_last_layer_is_new(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = as_torchvision(monkeypatch, tmp_path, name)
    loaded = pdc.load_model(name, "cifar10", weights="torchvision", seed=3)
    own = loaded.state_dict()
    new = {key for key, t in state.items() if not (own[key].shape == t.shape and torch.equal(own[key], t))}
    assert new == {f"{HEADS[name]}.weight", f"{HEADS[name]}.bias"}
    random = pdc.load_model(name, "cifar10", weights="random", seed=3).state_dict()
    assert all(torch.equal(own[key], random[key]) for key in new)  # of the seed, as all random weights
    info = pdc.model_info(loaded)
    assert info is not None
    assert info.new_head == HEADS[name]
    assert f"New head: {HEADS[name]} has 10 outputs" in info.note


def test_for_imagenet_nothing_is_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = as_torchvision(monkeypatch, tmp_path, "resnet18")
    loaded = pdc.load_model("resnet18", weights="torchvision")
    assert all(torch.equal(t, state[key]) for key, t in loaded.state_dict().items())
    info = pdc.model_info(loaded)
    assert info is not None
    assert (info.new_head, info.note) == ("", "")


def test_names_in_the_files_of_densenet_are_those_of_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = as_torchvision(monkeypatch, tmp_path, "densenet121")
    written = {re.sub(r"(denselayer\d+\.[a-z]+)([12])", r"\1.\2", key): t for key, t in state.items()}
    assert "features.denseblock1.denselayer1.norm.1.weight" in written
    torch.save(written, tmp_path / "densenet121.pth")
    loaded = pdc.load_model("densenet121", weights="torchvision").state_dict()
    assert all(torch.equal(loaded[key], t) for key, t in state.items())


def test_another_difference_than_the_head_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = as_torchvision(monkeypatch, tmp_path, "resnet18")
    torch.save({**state, "conv1.weight": state["conv1.weight"][:32]}, tmp_path / "resnet18.pth")
    with pytest.raises(pdc.PDCError, match=r"conv1\.weight has shape"):
        pdc.load_model("resnet18", "cifar10", weights="torchvision")


def test_a_run_says_that_the_head_is_new_and_its_network_has_none(
    pdc_command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_torchvision(monkeypatch, tmp_path, "mobilenet_v3_small")
    random, labels = np.random.default_rng(0), np.arange(16) % 3
    images = random.integers(0, 256, (16, 32, 32, 3), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    options = ("--data", f"npz:{tmp_path / 'a.npz'}", "--weights", "torchvision")
    code, out, said = pdc_command(
        "teach", "mobilenet_v3_small", *options, "--epochs", 1, "--batch-size", 8, "--out", tmp_path / "run", "--json"
    )
    assert code == 0, said
    assert "New head: classifier.3 has 3 outputs and random weights" in " ".join(said.split())
    assert json.loads(out)["new_head"] == "classifier.3"
    assert read_report(tmp_path / "run").new_head == "classifier.3"
    info = pdc.model_info(pdc.load(tmp_path / "run" / "folded.safetensors"))
    assert info is not None
    assert info.new_head == ""
    code, out, _ = pdc_command("show", tmp_path / "run")
    assert "New head: classifier.3 began with random weights." in out


def test_a_checkpoint_of_ones_own_for_other_classes_is_one_plain_sentence(tmp_path: Path) -> None:
    torch.save(pdc.load_model("resnet20", "digits").state_dict(), tmp_path / "mine.pt")
    images = np.zeros((8, 8, 8, 1), np.uint8)
    np.savez(tmp_path / "a.npz", x_train=images, y_train=np.arange(8) % 3, x_test=images, y_test=np.arange(8) % 3)
    said = r"mine\.pt is for 10 classes \(the outputs of linear\), but npz:.* has 3: choose data with its classes, or"
    with pytest.raises(pdc.PDCError, match=said):
        pdc.load_model("resnet20", f"npz:{tmp_path / 'a.npz'}", weights=tmp_path / "mine.pt")
