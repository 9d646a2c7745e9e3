"""Which weights the form offers: those that fit the network and the channels of the data, the best first."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ui.model.weights import offered_weights, weights_caption


@pytest.fixture
def colours(tmp_path: Path) -> str:
    x, y = np.zeros((8, 12, 12, 3), np.uint8), np.arange(8) % 4
    np.savez(tmp_path / "a.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    return f"npz:{tmp_path / 'a.npz'}"


@pytest.mark.parametrize(
    ("model", "data", "offered"),
    [
        ("resnet20", "clothing", ["shipped", "random"]),
        ("resnet56", "clothing", ["random"]),
        ("resnet56", "cifar10", ["published", "random"]),
        ("resnet56", "colours", ["random", "published"]),
        ("resnet20_b", "cifar10", ["random"]),
        ("resnet18", "imagenet", ["torchvision", "random"]),
        ("resnet18", "colours", ["torchvision", "random"]),
        ("resnet18", "digits", ["random"]),
        ("timm:resnet18", "digits", ["timm", "random"]),
        ("resnet18", "npz:/nowhere.npz", ["torchvision", "random"]),
        ("resnet18", None, ["torchvision", "random"]),
    ],
)
def test_weights_are_offered_where_the_channels_fit(model: str, data: str, offered: list[str], colours: str) -> None:
    assert offered_weights(model, colours if data == "colours" else data) == offered


def test_it_is_said_that_the_last_layer_will_be_new_and_where_nothing_is_learned(colours: str) -> None:
    assert "The last layer is new, for your 4 classes" in weights_caption("torchvision", colours)
    assert "new" not in weights_caption("published", "cifar10")
    assert weights_caption("random", colours).startswith("Nothing is learned yet")
    assert weights_caption("shipped", "digits") == ""
