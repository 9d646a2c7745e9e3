"""timm's networks, a dozen block types: all fold exactly under `shared`, at the price foretold, with nothing unseen."""

from __future__ import annotations

import pytest
import torch

import pdc_core as pdc
from tests.networks import assert_sound, lively_

# name -> least share of hidden channels that can be clustered
NETWORKS = {
    "tf_efficientnet_b0": 1.0,  # padding by the size of the image, squeeze and excite
    "mobilenetv4_conv_small": 1.0,
    "mixnet_s": 1.0,  # convolutions of several kernel sizes in one layer
    "ghostnet_100": 1.0,
    "resnest14d": 1.0,  # split attention, blur
    "skresnet18": 1.0,  # selective kernels
    "ecaresnet26t": 0.9,
    "resnetv2_18": 1.0,  # norm and activation in one module
    "regnety_002": 1.0,
    "repvgg_a0": 1.0,
    "convnext_atto": 0.5,  # layer norms in the trunk, free inside
    "nf_regnet_b0": 0.1,  # weight standardisation: readers stay whole
}


@pytest.mark.parametrize("name", NETWORKS)
def test_timms_networks_fold_exactly(name: str) -> None:
    pdc.torchvision()  # repaired if need be, before timm imports it
    timm = pytest.importorskip("timm")
    model = lively_(timm.create_model(name, pretrained=False, num_classes=10))
    x = torch.randn(2, 3, 64, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    graph = assert_sound(model, x)
    assert graph.reach().filters >= NETWORKS[name]
