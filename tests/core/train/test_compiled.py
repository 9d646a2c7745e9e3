"""torch.compile changes the speed of a run and nothing else."""

from __future__ import annotations

import shutil

import pytest
import torch
from torch import Tensor, nn

import pdc_core as pdc
from pdc_core.train import Training
from tests.training import DIGITS, few


class Block(nn.Module):
    """A residual block of two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(4, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.conv2, self.bn2 = nn.Conv2d(8, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x))))))


def network() -> nn.Module:
    """Return a stem, a block and a classifier: small, since compiling takes all the time of this test."""
    torch.manual_seed(0)
    parts = nn.Conv2d(1, 4, 3), nn.Sequential(Block()), nn.AdaptiveAvgPool2d(2), nn.Flatten()
    return nn.Sequential(*parts, nn.Linear(16, 10)).eval()


@pytest.mark.skipif(not any(map(shutil.which, ("g++", "clang++", "c++"))), reason="torch.compile needs a C++ compiler")
def test_a_compiled_run_ends_where_the_same_run_without_it_ends() -> None:
    """Student, teacher and the distance of blocks are compiled, each once, since all batches have one size."""
    model = network()
    plan = pdc.Plan.uniform(pdc.trace(model, DIGITS.example), 0.5)
    settings = Training(epochs=2, merges=1, lr=0.01, fold_when_tied=True)
    plain, compiled = (
        pdc.distil(model, plan, few(DIGITS, 64), settings=settings.model_copy(update={"compile": wanted}))
        for wanted in (False, True)
    )
    for a, b in zip(plain.history, compiled.history, strict=True):
        for part in {"loss", "ce", "kd", "matching"} & set(a):
            assert b[part] == pytest.approx(a[part], rel=1e-3)
    for a, b in zip(*(run.folded.state_dict().values() for run in (plain, compiled)), strict=True):
        assert torch.allclose(a, b, rtol=1e-3, atol=1e-4)
    assert not any(name.startswith("_orig_mod") for name in compiled.folded.state_dict())
