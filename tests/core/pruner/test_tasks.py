"""Tasks that are no classification: a U-Net that segments digits, and several labels per image."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import pdc_core as pdc
from tests.training import DIGITS


def block(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU())


class UNet(nn.Module):
    """Two levels with a skip connection: what a layer of the way down puts out is read again on the way up."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.deep, self.up = block(1, 16), block(16, 32), block(48, 16)
        self.head = nn.Conv2d(16, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        wide = self.down(x)
        deep = F.interpolate(self.deep(F.max_pool2d(wide, 2)), scale_factor=2.0)
        return self.head(self.up(torch.cat([wide, deep], dim=1)))


def segmentation(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Digits under noise, and where their ink is: images and masks, (count, 1, 8, 8)."""
    draw = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(DIGITS.train), generator=draw)[:count]
    clean = DIGITS.train.images[chosen].float() / 255
    return clean + 0.3 * torch.randn(clean.shape, generator=draw), (clean > 0.4).float()


def iou(model: nn.Module, x: Tensor, masks: Tensor) -> float:
    """Intersection over union of the predicted and the true ink."""
    with torch.no_grad():
        found, true = model.eval()(x) > 0, masks > 0.5
    return float((found & true).sum() / (found | true).sum())


def fit(model: nn.Module, x: Tensor, y: Tensor, steps: int, pruner: pdc.Pruner | None = None) -> list[float]:
    """Train with BCE, by Adam; return the losses."""
    model.train()
    optimizer, losses = torch.optim.Adam(model.parameters(), lr=5e-3), []
    if pruner is not None:
        pruner.attach(optimizer)
    for step in range(steps):
        part = torch.arange(32 * step, 32 * step + 32) % len(x)
        out = model(x[part])
        loss = F.binary_cross_entropy_with_logits(out, y[part])
        losses.append(float(loss.detach()))
        if pruner is not None:
            loss = loss + pruner.guidance(x[part], out)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return losses


def test_a_unet_is_trained_pruned_and_folded_without_losing_its_masks(tmp_path: Path) -> None:
    torch.manual_seed(0)
    (x, masks), (other, true), model = segmentation(512, 0), segmentation(200, 1), UNet()
    losses = fit(model, x, masks, 60)
    assert losses[-1] < losses[0] / 2
    before = iou(model, other, true)
    plan = pdc.Plan.uniform(pdc.trace(model.eval(), x[:1]), 0.5)
    pruner = pdc.Pruner(model, plan, x[:1], steps=60, images=x[:256], outputs="sigmoid")
    assert {group.name for group in pruner.graph.clusterable} == {"down.0", "deep.0", "up.0"}
    losses = fit(model, x, masks, 60, pruner)
    assert losses[-1] < losses[0]
    small, unfolded = pruner.fold(), iou(model, other, true)
    assert iou(small, other, true) == pytest.approx(unfolded, abs=2e-3)  # rounding may turn a pixel
    assert before > 0.75
    assert unfolded > before - 0.05
    assert pdc.cost(small, x[:1]).macs < 0.4 * pdc.cost(model, x[:1]).macs
    pdc.save(small, tmp_path / "unet.safetensors")
    again = pdc.load(tmp_path / "unet.safetensors", build=UNet)
    assert iou(again, other, true) == pytest.approx(unfolded, abs=2e-3)


def test_labels_side_by_side_are_learned_with_bce_and_guided_by_sigmoids() -> None:
    """Three labels per digit: even, above 4, and has a loop."""
    torch.manual_seed(0)
    digits = torch.arange(10)
    has = torch.stack([digits % 2 == 0, digits > 4, torch.isin(digits, torch.tensor([0, 6, 8, 9]))], dim=1).float()
    x, y = DIGITS.prepare(DIGITS.train.images[:600]), has[DIGITS.train.labels[:600]]
    test, truth = DIGITS.prepare(DIGITS.test.images), has[DIGITS.test.labels]
    model = nn.Sequential(
        block(1, 16), nn.MaxPool2d(2), block(16, 32), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(128, 3)
    )
    fit(model, x, y, 80)

    def right(net: nn.Module) -> float:
        with torch.no_grad():
            return float(((net.eval()(test) > 0) == truth.bool()).float().mean())

    before, teacher = right(model), copy.deepcopy(model)
    plan = pdc.Plan.uniform(pdc.trace(model, x[:1]), 0.5)
    pruner = pdc.Pruner(model, plan, x[:1], steps=80, images=x[:256], outputs="sigmoid", teacher=teacher)
    fit(model, x, y, 80, pruner)
    small = pruner.fold()
    assert right(small) == right(model)
    assert right(small) > before - 0.03
    assert pdc.check_equal(model, small.eval(), test).equal


class Detector(nn.Module):
    """A backbone, and heads for the class and the box of one shape per image; its forward pass branches on values."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            block(1, 16), nn.MaxPool2d(2), block(16, 32), nn.MaxPool2d(2), block(32, 32), nn.Conv2d(32, 16, 1)
        )
        self.classes, self.boxes = nn.Linear(256, 2), nn.Linear(256, 4)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        if float(x.abs().max()) > 100:
            raise ValueError("images from 0 to 1 are expected")
        features = self.backbone(x).flatten(1)
        return {"logits": self.classes(features), "boxes": self.boxes(features)}


def shapes(count: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """One bright rectangle per image, (count, 1, 16, 16): whether it is wide, and its corners from 0 to 1."""
    draw = torch.Generator().manual_seed(seed)
    size = torch.randint(3, 10, (count, 2), generator=draw)
    size[:, 1] += size[:, 0] == size[:, 1]
    corner = (torch.rand(count, 2, generator=draw) * (16 - size)).long()
    images = 0.1 * torch.rand(count, 1, 16, 16, generator=draw)
    for image, (h, w), (top, left) in zip(images, size.tolist(), corner.tolist(), strict=True):
        image[0, top : top + h, left : left + w] += 0.8
    boxes = torch.cat([corner, corner + size], dim=1) / 16  # top, left, bottom, right
    return images, (size[:, 1] > size[:, 0]).long(), boxes


def overlap(found: Tensor, true: Tensor) -> float:
    """Mean intersection over union of boxes (n, 4)."""
    inner = (torch.minimum(found[:, 2:], true[:, 2:]) - torch.maximum(found[:, :2], true[:, :2])).clamp(min=0).prod(1)
    areas = [(box[:, 2:] - box[:, :2]).clamp(min=0).prod(1) for box in (found, true)]
    return float((inner / (areas[0] + areas[1] - inner)).mean())


def test_the_backbone_of_a_detector_is_pruned_and_its_boxes_stay(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, (x, wide, boxes), (other, _, true) = Detector(), shapes(512, 0), shapes(200, 1)

    def rounds(steps: int, rate: float, pruner: pdc.Pruner | None = None) -> list[float]:
        optimizer, losses = torch.optim.Adam(model.train().parameters(), lr=rate), []
        if pruner is not None:
            pruner.attach(optimizer)
        for step in range(steps):
            part = torch.arange(64 * step, 64 * step + 64) % len(x)
            out = model(x[part])
            loss = F.cross_entropy(out["logits"], wide[part]) + 10 * F.smooth_l1_loss(out["boxes"], boxes[part])
            losses.append(float(loss.detach()))
            if pruner is not None:
                loss = loss + pruner.guidance(x[part], out)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        return losses

    losses = rounds(100, 3e-3)
    with torch.no_grad():
        before = overlap(model.eval()(other)["boxes"], true)
    graph = pdc.trace(model, x[:1], inside="backbone")
    pruner = pdc.Pruner(
        model, pdc.Plan.uniform(graph, 0.5), x[:1], steps=100, images=x[:256], inside="backbone",
        outputs={"logits": "softmax", "boxes": "matching"},
    )  # fmt: skip
    again = rounds(100, 2e-3, pruner)
    assert again[-1] < losses[0] / 4
    small = pruner.fold().eval()
    with torch.no_grad():
        after = overlap(small(other)["boxes"], true)
        assert overlap(model.eval()(other)["boxes"], true) == pytest.approx(after, abs=1e-5)  # equal up to rounding
    assert before > 0.6
    assert after > before - 0.1
    assert small.backbone[0][0].out_channels == 8
    pdc.save(small, tmp_path / "detector.safetensors")
    loaded = pdc.load(tmp_path / "detector.safetensors", build=Detector)
    assert pdc.check_equal(small, loaded, other).max_abs_diff == 0
