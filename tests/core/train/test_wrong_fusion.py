"""A teacher whose fusion is wrong is not used: the plain network guides in its place."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pdc_core.train import teacher
from pdc_core.train.teacher import Teacher, fuse_norms
from tests.training import little

X = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
REAL = teacher.fuse_conv_bn_eval


def network() -> nn.Module:
    net = little()
    for norm in (m for m in net.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.running_mean.uniform_(-1, 1, generator=torch.Generator().manual_seed(1))
        norm.running_var.uniform_(0.5, 2, generator=torch.Generator().manual_seed(2))
    return net


def without_eps(conv: Any, norm: Any) -> Any:
    norm = copy.deepcopy(norm)
    norm.running_var += 1.0  # a sqrt(var + 1) for sqrt(var + eps)
    return REAL(conv, norm)


def without_mean(conv: Any, norm: Any) -> Any:
    norm = copy.deepcopy(norm)
    norm.running_mean.zero_()
    return REAL(conv, norm)


def of_another_dtype(conv: Any, norm: Any) -> Any:
    fused = REAL(conv, norm)
    with torch.no_grad():
        fused.weight.copy_(fused.weight.bfloat16())  # off by a rounding that is far coarser than float32's
    return fused


def norms(model: nn.Module) -> int:
    return sum(isinstance(m, nn.BatchNorm2d) for m in model.modules())


@pytest.mark.parametrize("wrong", [without_eps, without_mean, of_another_dtype])
def test_a_wrong_fusion_is_noticed_and_the_plain_network_is_the_teacher(
    wrong: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = network()
    assert norms(fuse_norms(net, X)) == 0, "rightly fused, it would be used"
    monkeypatch.setattr(teacher, "fuse_conv_bn_eval", wrong)
    with torch.no_grad():
        truth = net(X)
        assert norms(fuse_norms(net, X)) == 2
        assert torch.equal(fuse_norms(net, X)(X), truth)
        assert torch.equal(Teacher(net, X)(X), truth)


def test_either_teacher_is_frozen_in_eval_mode_and_a_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    net = network()
    before = copy.deepcopy(net.state_dict())
    for wrong in (REAL, without_mean):
        monkeypatch.setattr(teacher, "fuse_conv_bn_eval", wrong)
        made = Teacher(net, X)
        assert not any(p.requires_grad for p in made.parameters())
        assert not any(m.training for m in made.network.modules())
        assert not {p.data_ptr() for p in made.parameters()} & {p.data_ptr() for p in net.parameters()}
    assert all(p.requires_grad for p in net.parameters())
    assert all(torch.equal(before[name], t) for name, t in net.state_dict().items())


def test_the_fused_teacher_says_what_the_network_says_for_other_images_too() -> None:
    net = network()
    made = Teacher(net, X)
    other: Tensor = torch.randn(64, 1, 8, 8, generator=torch.Generator().manual_seed(3)) * 3
    with torch.no_grad():
        truth = net(other)
    assert norms(made.network) == 0
    assert float((made(other) - truth).abs().max()) < 1e-4 * float(truth.abs().max())
