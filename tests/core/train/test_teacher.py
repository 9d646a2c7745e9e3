"""The teacher: the same function with its norms fused, never a part of training's graph."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import pdc_core as pdc
from pdc_core.train.teacher import Teacher, fuse_norms

X = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def norms(model: nn.Module) -> int:
    return sum(isinstance(m, nn.BatchNorm2d) for m in model.modules())


def test_every_norm_of_a_resnet_is_fused_and_the_function_stays() -> None:
    model = pdc.load_model("resnet20")
    before = copy.deepcopy(model.state_dict())
    fused = fuse_norms(model, X)
    assert (norms(model), norms(fused)) == (19, 0)
    check = pdc.check_equal(copy.deepcopy(model).double(), copy.deepcopy(fused).double(), X.double())
    assert check.relative < 1e-6  # the weights were fused in float32
    assert all(torch.equal(a, b) for a, b in zip(before.values(), model.state_dict().values(), strict=True))
    assert fused.get_submodule("layer1.0") is not None  # blocks keep their names, for hooks


class Reused(nn.Module):
    """One convolution under two norms, and one whose output is also used elsewhere: neither may be fused."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.one, self.two = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.BatchNorm2d(4)
        self.other, self.three = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.one(self.conv(x)) + self.two(self.conv(x))
        z = self.other(y)
        return (self.three(z) + z).flatten(1)


class Branching(nn.Module):
    """Control flow that depends on the values: torch.fx cannot follow it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(self.conv(x)).flatten(1)
        return y if y.sum() > 0 else -y


@pytest.mark.parametrize(("model", "left"), [(Reused(), 3), (Branching(), 1)])
def test_what_cannot_be_fused_stays_as_it_is(model: nn.Module, left: int) -> None:
    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.running_mean.uniform_(-1, 1)
        norm.running_var.uniform_(0.5, 2)
    model.eval()
    fused = fuse_norms(model, X)
    assert norms(fused) == left
    with torch.no_grad():
        assert torch.equal(fused(X), model(X))


def test_logits_can_be_trained_against_and_carry_no_graph() -> None:
    teacher = Teacher(pdc.load_model("resnet20"), X)
    z = teacher(X)
    assert not z.requires_grad
    assert not z.is_inference()
    w = torch.ones(10, requires_grad=True)
    (z * w).sum().backward()
    assert torch.allclose(w.grad, z.sum(dim=0))


def test_a_teacher_in_bfloat16_says_nearly_the_same_in_float32() -> None:
    model = pdc.load_model("resnet20")
    one, other = Teacher(model, X)(X), Teacher(model, X, "bf16")(X)
    assert other.dtype == torch.float32
    assert 0 < float((one - other).abs().max()) < 0.1 * float(one.abs().max())
