"""torchvision's segmentation networks by name: traced, planned, folded, saved and read again."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import pdc_core as pdc
from pdc_core.models.zoo import segmentation_names
from tests.networks import lively_, random_labels


@pytest.mark.parametrize("name", ["lraspp_mobilenet_v3_large", "fcn_resnet50"])
def test_a_segmentation_network_is_known_by_its_name(name: str, tmp_path: Path) -> None:
    assert name in segmentation_names()
    model, x = pdc.load_model(name, weights="random"), torch.rand(1, 3, 64, 64, dtype=torch.float64)
    lively_(model)
    graph = pdc.trace(model, x)
    assert graph.reach().macs > 0.9
    labels = random_labels(graph, 0.5)
    small = pdc.fold(pdc.reconstruct_(model, graph, labels), graph, labels)
    assert pdc.check_equal(model, small, x).relative <= 1e-9
    pdc.save(small, tmp_path / "small.safetensors")
    assert pdc.check_equal(small, pdc.load(tmp_path / "small.safetensors"), x).max_abs_diff == 0


def test_its_published_weights_are_asked_for_as_a_file() -> None:
    with pytest.raises(pdc.PDCError, match=r"for classifiers only.*--weights PATH"):
        pdc.load_model("fcn_resnet50", weights="torchvision")
