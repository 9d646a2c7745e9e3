"""Channel groups: who is tied, who reads, what is frozen and why; and that every treatment folds exactly."""

from __future__ import annotations

import operator
from collections.abc import Callable
from types import BuiltinFunctionType, FunctionType
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

import pdc_core as pdc
from tests.networks import (
    assert_sound,
    chain,
    counted_macs,
    lively_,
    parameters,
    random_labels,
    reconstructed_and_folded,
)

FUNCTION = (BuiltinFunctionType, FunctionType)
X = torch.randn(4, 2, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


class Net(nn.Module):
    """Two convolutions, a function in between, and a reader: `middle` gets (self, x)."""

    def __init__(self, middle: Callable[[nn.Module, Tensor], Tensor], reads: int = 6, **parts: nn.Module) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(2, 6, 3, padding=1), nn.Conv2d(2, 6, 1)
        for name, part in parts.items():
            self.add_module(name, part)
        self.read = nn.Conv2d(reads, 5, 1)
        self.middle = middle

    def forward(self, x: Tensor) -> Tensor:
        return torch.flatten(F.adaptive_avg_pool2d(self.read(self.middle(self, x)), 1), 1)


class Applied(nn.Module):
    """A function as a layer."""

    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(x)


class Pool3x3(nn.MaxPool2d):
    pass


class Norm(nn.InstanceNorm2d):
    pass


def pad_shortcut(net: nn.Module, x: Tensor) -> Tensor:
    return F.pad(net.narrow(x), (0, 0, 0, 0, 1, 1)) + net.a(x)  # type: ignore[operator]


def grid(x: Tensor) -> Tensor:
    theta = torch.tensor([[[0.6, 0.2, 0.1], [-0.3, 0.8, 0.0]]], dtype=torch.float64)
    return F.affine_grid(theta.repeat(x.size(0), 1, 1), list(x.size()), align_corners=False)


SOUND: dict[str, tuple[Net, str]] = {
    # name -> network, groups that can be clustered under `shared`
    "elementwise": (Net(lambda n, x: F.relu(n.a(x)).sigmoid() * 2 + 1), "a"),
    "sum": (Net(lambda n, x: n.a(x) + n.b(x)), "a"),
    "in-place sum": (Net(lambda n, x: operator.iadd(n.a(x), n.b(x))), "a"),
    "product": (Net(lambda n, x: n.a(x) * torch.sigmoid(n.b(x))), "a"),
    "squeeze and excite": (Net(lambda n, x: (y := n.a(x)) * F.adaptive_avg_pool2d(n.b(x), 1) + y), "a"),
    "mean over pixels": (Net(lambda n, x: n.a(x) * n.b(x).mean((2, 3), keepdim=True)), "a"),
    "concat": (Net(lambda n, x: torch.cat([n.a(x), n.b(x)], 1), 12), "a b"),
    "concat of one twice": (Net(lambda n, x: torch.cat([y := n.a(x), F.relu(y)], 1), 12), "a"),
    "concat of one twice, changing places": (
        Net(lambda n, x: torch.cat([(z := torch.cat([y := n.a(x), y.tanh()], 1))[:, 6:], z.narrow(1, 0, 6)], 1), 12),
        "a",
    ),
    "concat of one twice, added": (
        Net(lambda n, x: n.w(y := torch.cat([z := n.a(x), F.relu(z)], 1)) + y, 12, w=nn.Conv2d(12, 12, 1)),
        "a",
    ),
    "channel shuffle": (Net(lambda n, x: n.a(x).view(-1, 2, 3, 8, 8).transpose(1, 2).reshape(-1, 6, 8, 8)), "a"),
    "added to itself shifted": (Net(lambda n, x: (y := n.w(x))[:, :6] + y[:, 6:], w=nn.Conv2d(2, 12, 1)), "w"),
    "added parameter": (Net(lambda n, x: n.a(x) + n.extra.weight), "a"),
    "depthwise": (Net(lambda n, x: n.d(n.a(x)), d=nn.Conv2d(6, 6, 3, groups=6)), "a"),
    "grouped": (Net(lambda n, x: n.g(n.a(x)), g=nn.Conv2d(6, 6, 3, groups=3)), "a g"),
    "transposed": (Net(lambda n, x: n.t(n.a(x)), t=nn.ConvTranspose2d(6, 6, 2, stride=2)), "a t"),
    "dilated": (Net(lambda n, x: n.t(n.a(x)), t=nn.Conv2d(6, 6, 3, dilation=2, bias=False)), "a t"),
    "norm of a concat": (Net(lambda n, x: n.bn(torch.cat([n.a(x), n.b(x)], 1)), 12, bn=nn.BatchNorm2d(12)), "a b"),
    "instance norm": (Net(lambda n, x: n.bn(n.a(x)), bn=nn.InstanceNorm2d(6, affine=True)), "a"),
    "one slope per channel": (Net(lambda n, x: n.p(n.a(x)), p=nn.PReLU(6)), "a"),
    "called twice": (Net(lambda n, x: n.t(n.t(n.a(x))), t=nn.Conv2d(6, 6, 1)), "a"),
    "chunk": (
        Net(lambda n, x: (y := n.w(x).chunk(2, 1))[0] * 2 + n.t(y[1]), w=nn.Conv2d(2, 12, 1), t=nn.Conv2d(6, 6, 1)),
        "w w.2",
    ),
    "slice": (Net(lambda n, x: torch.cat([n.w(x)[:, 2:6], n.w(x)[:, :2]], 1), w=nn.Conv2d(2, 8, 1)), "w w.2 w.3"),
    "split": (Net(lambda n, x: torch.cat(torch.split(n.w(x), [2, 4], 1)[::-1], 1), w=nn.Conv2d(2, 6, 1)), "w w.2"),
    "narrow": (Net(lambda n, x: n.w(x).narrow(1, 1, 6), w=nn.Conv2d(2, 8, 1)), "w w.2 w.3"),
    "padded shortcut": (Net(pad_shortcut, narrow=nn.Conv2d(2, 4, 1)), "narrow a"),
    "padded with ones": (
        Net(lambda n, x: F.pad(n.a(x), (0, 0, 0, 0, 0, 2), value=1.0) + n.w(x), 8, w=nn.Conv2d(2, 8, 1)),
        "a w",
    ),
    "channels last and back": (Net(lambda n, x: n.a(x).permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)), "a"),
    "literal view": (Net(lambda n, x: n.a(x).view(-1, 6, 64).view(-1, 6, 8, 8)), "a"),
    "literal view with a free batch": (Net(lambda n, x: n.a(x).view(x.size(0), 6, 64).view(x.size(0), 6, 8, 8)), "a"),
    "view by size": (Net(lambda n, x: n.a(x).view(x.size(0), -1, 8, 8)), "a"),
    "stochastic depth and dropout": (Net(lambda n, x: F.dropout(n.a(x), 0.5, False)), "a"),
    "gate": (Net(lambda n, x: F.glu(n.w(x), 1), w=nn.Conv2d(2, 12, 1)), "w"),
    "gate as a module": (Net(lambda n, x: n.g(n.w(x)), g=nn.GLU(1), w=nn.Conv2d(2, 12, 1)), "w"),
    "gate along the rows": (Net(lambda n, x: F.glu(n.a(x), dim=-2)), "a"),
    "pixel shuffle": (Net(lambda n, x: F.pixel_shuffle(n.w(x), 2), w=nn.Conv2d(2, 24, 1)), "w"),
    "pixel shuffle as a module": (Net(lambda n, x: n.p(n.w(x)), 2, p=nn.PixelShuffle(2), w=nn.Conv2d(2, 8, 1)), "w"),
    "pixel unshuffle": (Net(lambda n, x: n.p(n.a(x)), 24, p=nn.PixelUnshuffle(2)), "a"),
    "channel shuffle by torch": (Net(lambda n, x: n.s(n.a(x)), s=nn.ChannelShuffle(3)), "a"),
    "unflatten": (Net(lambda n, x: n.u(n.f(x.flatten(1))), 4, u=nn.Unflatten(1, (4, 2, 2)), f=nn.Linear(128, 16)), "f"),
    "windows": (Net(lambda n, x: F.unfold(n.a(x), 3).unflatten(2, (6, 6)), 54), "a"),
    "chosen by a condition": (Net(lambda n, x: torch.where((y := n.a(x)) > 0, y, n.b(x))), "a"),
    "masked": (Net(lambda n, x: (y := n.a(x)).masked_fill((y < 0.1) & ~(y < n.b(x)), 0.5)), "a"),
    "a condition as a number": (Net(lambda n, x: n.a(x) * (n.b(x) > 0).float()), "a"),
    "three operands": (Net(lambda n, x: torch.addcmul(n.a(x), n.b(x), n.a(x), value=0.5)), "a"),
    "the larger one": (Net(lambda n, x: torch.max(n.a(x), n.b(x))), "a"),
    "largest of a row": (Net(lambda n, x: n.a(x) * n.b(x).max(3, keepdim=True).values), "a"),
    "a constant like it": (Net(lambda n, x: torch.ones_like(y := n.a(x)) - y), "a"),
    "transposed attribute": (Net(lambda n, x: n.a(x).mT), "a"),
    "flipped pixels": (Net(lambda n, x: n.a(x).flip((2, 3)).roll(1, -1)), "a"),
    "channels twice": (Net(lambda n, x: n.a(x).repeat(1, 2, 1, 1), 12), "a"),
    "a list of parts": (
        Net(lambda n, x: torch.cat([*(y := list(n.w(x).chunk(2, 1))), y[0]], 1), 18, w=nn.Conv2d(2, 12, 1)),
        "w w.2",
    ),
    "scaled by the width": (Net(lambda n, x: (y := n.a(x)) / y.size(1)), "a"),
    "depthwise, transposed": (
        Net(lambda n, x: n.t(n.a(x)), t=nn.ConvTranspose2d(6, 6, 4, stride=2, padding=1, groups=6)),
        "a",
    ),
    "clamped by another": (Net(lambda n, x: torch.clamp(n.a(x), min=n.b(x))), "a"),
    "clamped on both sides": (Net(lambda n, x: n.a(x).clamp(n.b(x), 1 + n.b(x).abs())), "a"),
    "clamped by a parameter": (Net(lambda n, x: n.a(x).clip(max=n.p.weight)[:, :], p=nn.Linear(1, 1)), "a"),
    "layers made on the way": (Net(lambda n, x: nn.Upsample(scale_factor=2)(nn.ReLU()(n.a(x)))), "a"),
    "a part of a sequence": (
        Net(lambda n, x: n.q[1:](n.a(x)), q=nn.Sequential(nn.Conv2d(6, 6, 1), nn.Conv2d(6, 6, 1), nn.ReLU())),
        "a q.1",
    ),
    "numbers of numpy": (Net(lambda n, x: n.a(x) * np.sqrt(0.25) + np.float32(0.5) * n.b(x)), "a"),
    "as before a head split": (
        Net(lambda n, x: (y := n.a(x)).view(y.size(0), 2, 3, 8, 8).transpose(1, 2).contiguous().view_as(y)),
        "a",
    ),
    "squeezed": (
        Net(lambda n, x: n.l(F.adaptive_avg_pool2d(n.a(x), 1).squeeze()).view(-1, 6, 1, 1), l=nn.Linear(6, 6)),
        "a l",
    ),
    "unsqueezed in place": (Net(lambda n, x: n.a(x) * n.b(x).mean((2, 3)).unsqueeze_(2).unsqueeze_(3)), "a"),
    "layers under names of one's own": (
        Net(lambda n, x: n.i(n.p(n.a(x))), p=Pool3x3(3, stride=1, padding=1), i=Norm(6, affine=True)),
        "a",
    ),
    "side by side on an axis of its own": (
        Net(lambda n, x: torch.cat([n.a(x).unsqueeze_(1), n.b(x).unsqueeze_(1)], 1).softmax(1).sum(1)),
        "a",
    ),
    "a mean beside them": (Net(lambda n, x: torch.cat([n.a(x), x.mean(1, keepdim=True)], 1), 7), "a"),
    "coordinates beside them": (
        Net(lambda n, x: torch.cat([y := n.a(x), torch.linspace(-1, 1, y.size(3)).expand(y.size(0), 1, 8, 8)], 1), 7),
        "a",
    ),
    "zeros of its type": (Net(lambda n, x: torch.cat([y := n.a(x), y.new_zeros(y.size(0), 2, 8, 8)], 1), 8), "a"),
    "stacked before them": (Net(lambda n, x: torch.stack([n.a(x), n.b(x), n.a(x).tanh()], 0).mean(0)), "a"),
    "stacked, the largest": (Net(lambda n, x: torch.stack([n.a(x), n.b(x)]).max(dim=0).values), "a"),
    "stacked, one of them": (Net(lambda n, x: torch.stack([n.a(x), n.b(x)]).relu()[1]), "a"),
    "stacked, weighed": (Net(lambda n, x: torch.stack([n.a(x), n.b(x)]).softmax(0).unbind(0)[0]), "a"),
    "pixels first": (
        Net(lambda n, x: n.a(x) * n.l(n.b(x).flatten(2).permute(2, 0, 1)).mean(0)[..., None, None], l=nn.Linear(6, 6)),
        "a b",
    ),
    "pixels first, one more": (
        Net(
            lambda n, x: (
                torch.cat([(y := n.a(x).flatten(2).permute(2, 0, 1)).mean(0, keepdim=True), y], 0)[1:]
                .permute(1, 2, 0)
                .unflatten(2, (8, 8))
            )
        ),
        "a",
    ),
    "beside each other": (Net(lambda n, x: torch.hstack([n.a(x), n.b(x)]), 12), "a b"),
    "written to in place": (Net(lambda n, x: torch.rsqrt_(n.a(x).square_().add_(0.1)).mul_(n.b(x).sin_())), "a"),
    "sorted pixels": (Net(lambda n, x: n.a(x).sort(3)[0] + n.b(x).topk(8, -1).values.cumsum(2)), "a"),
    "picked pixels": (Net(lambda n, x: n.a(x)[:, :, [3, 1]] + n.b(x).index_select(2, torch.tensor([0, 2]))), "a"),
    "sampled": (Net(lambda n, x: F.grid_sample(y := n.a(x), grid(y), align_corners=False)), "a"),
    "pooled and back": (
        Net(
            lambda n, x: n.u(*n.p(y := n.a(x)), output_size=y.size()), p=Pool3x3(2, 2, 0, 1, True), u=nn.MaxUnpool2d(2)
        ),
        "a",
    ),
    "if tensors had it": (Net(lambda n, x: y.whatever() if hasattr(y := n.a(x), "whatever") else y.relu()), "a"),
    "expanded weights": (Net(lambda n, x: n.a(x) * n.b(x).mean((2, 3))[:, :, None, None].expand(-1, 6, 8, 8)), "a"),
}


SOUND["added parameter"][0].extra = nn.Linear(1, 1)
SOUND["added parameter"][0].extra.weight = nn.Parameter(torch.zeros(6, 1, 1))
SOUND["clamped by a parameter"][0].p.weight = nn.Parameter(torch.zeros(6, 1, 1))


@pytest.mark.parametrize("residual", ["internal", "shared", "gather"])
@pytest.mark.parametrize("name", SOUND)
def test_what_can_be_followed_folds_exactly_under_every_treatment(name: str, residual: str) -> None:
    net, groups = SOUND[name]
    lively_(net)
    graph = pdc.trace(net, X[:1], residual)
    if residual == "shared":
        assert sorted(g.name for g in graph.clusterable) == sorted(groups.split())
    for keep in (0.2, 0.7):
        labels = random_labels(graph, keep)
        tied, small = reconstructed_and_folded(net, graph, labels)
        assert pdc.check_equal(tied, small, X).equal
        priced = pdc.plan_cost(graph, pdc.Plan.uniform(graph, keep))
        assert (priced.macs, priced.params) == (counted_macs(small, X), parameters(small))


LAYERS = {
    1: (nn.Conv1d, nn.ZeroPad1d(1), nn.ConstantPad1d(1, 0.5), nn.ReflectionPad1d(1), nn.ReplicationPad1d(1),
        nn.CircularPad1d(1), nn.LPPool1d(2, 2), nn.MaxPool1d(2), nn.AvgPool1d(2), nn.Upsample(scale_factor=2)),
    2: (nn.Conv2d, nn.ZeroPad2d(1), nn.ConstantPad2d(1, 0.5), nn.ReflectionPad2d(1), nn.ReplicationPad2d(1),
        nn.CircularPad2d(1), nn.LPPool2d(2, 2), nn.MaxPool2d(2), nn.AvgPool2d(2), nn.UpsamplingNearest2d(None, 2)),
    3: (nn.Conv3d, nn.ZeroPad3d(1), nn.ConstantPad3d(1, 0.5), nn.ReflectionPad3d(1), nn.ReplicationPad3d(1),
        nn.CircularPad3d(1), nn.LPPool3d(2, 2), nn.MaxPool3d(2), nn.AvgPool3d(2), nn.Upsample(scale_factor=2)),
}  # fmt: skip
ACTIVATIONS = (
    nn.Hardshrink(0.1), nn.Softshrink(0.1), nn.Tanhshrink(), nn.RReLU(), nn.ELU(), nn.SELU(), nn.CELU(), nn.GELU(),
    nn.Mish(), nn.Hardswish(), nn.Hardsigmoid(), nn.LogSigmoid(), nn.Softplus(), nn.Softsign(), nn.Threshold(0.1, 0.2),
    nn.SiLU(),
)  # fmt: skip


@pytest.mark.parametrize("dims", LAYERS)
def test_layers_that_keep_channels_apart_are_followed(dims: int) -> None:
    convolution, *between = LAYERS[dims]
    for layer in (*between, *ACTIVATIONS):
        net = lively_(nn.Sequential(convolution(2, 6, 1), layer, convolution(6, 4, 1), nn.Flatten(2)))
        x = torch.randn(2, 2, *[4] * dims, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        assert [g.name for g in assert_sound(net, x).clusterable] == ["0"], layer


FROZEN: dict[str, tuple[Net, str]] = {
    "group norm": (Net(lambda n, x: n.gn(n.a(x)), gn=nn.GroupNorm(2, 6)), "GroupNorm mixes channels"),
    "softmax over channels": (Net(lambda n, x: F.softmax(n.a(x), 1)), "softmax"),
    "mean over channels": (Net(lambda n, x: n.a(x) * n.a(x).mean(1, keepdim=True)), "mean over channels"),
    "sum with the input": (Net(lambda n, x: n.t(x) + x, 2, t=nn.Conv2d(2, 2, 1)), "network's input"),
    "spectral norm": (Net(lambda n, x: n.s(x), 6, s=spectral_norm(nn.Conv2d(2, 6, 1))), "Conv2d with SpectralNorm"),
    "every second channel": (Net(lambda n, x: n.a(x)[:, ::2], 3), "single channels picked from it"),
    "channels by list": (Net(lambda n, x: n.a(x)[:, [5, 4, 3, 2, 1, 0]]), "single channels picked from it"),
    "channels by tensor": (Net(lambda n, x: n.a(x)[:, torch.arange(6)]), "indexing by a list"),
    "sorted channels": (Net(lambda n, x: n.a(x).sort(1)[0]), "enters sort"),
    "a grid of channels": (
        Net(lambda n, x: F.grid_sample(x, n.w(x).permute(0, 2, 3, 1), align_corners=False), 2, w=nn.Conv2d(2, 2, 1)),
        "says where grid_sample looks",
    ),
    "reversed": (Net(lambda n, x: n.a(x).flip(1)), "flip"),
    "rolled": (Net(lambda n, x: torch.roll(n.a(x), 1, 1)), "roll"),
    "variance of all": (Net(lambda n, x: n.a(x) * n.b(x).var(True)), "var over channels"),
    "pooled channels": (Net(lambda n, x: n.a(x) * F.avg_pool1d(n.b(x).mean((2, 3)), 3, 1, 1)[..., None, None]), "pool"),
    "pooled channels, flat": (Net(lambda n, x: (y := n.a(x)) * F.max_pool3d(y, (3, 1, 1), 1, (1, 0, 0))), "max_pool3d"),
    "pooled channels, module": (Net(lambda n, x: n.m(n.a(x)), m=nn.MaxPool3d((3, 1, 1), 1, (1, 0, 0))), "MaxPool3d"),
    "shifted channels": (Net(lambda n, x: n.p(n.a(x)), p=nn.ConstantPad3d((0, 0, 0, 0, 1, -1), 0.0)), "ConstantPad3d"),
    "channels as pixels": (
        Net(lambda n, x: n.a(x) * n.i(n.b(x).mean((2, 3)))[..., None, None], i=nn.InstanceNorm1d(6)),
        "enters i",
    ),
    "matrix product": (Net(lambda n, x: torch.matmul(n.a(x), n.a(x))), "matmul"),
    "a convolution group each": (
        Net(lambda n, x: n.g(torch.cat([n.a(x), n.b(x)], 1)), g=nn.Conv2d(12, 6, 1, groups=2)),
        "spread unevenly over the groups of convolution g",
    ),
    "reflected channels": (
        Net(lambda n, x: F.pad(n.a(x)[:, None], (0, 0, 0, 0, 1, 1), mode="reflect")[:, 0], 8),
        "pad",
    ),
}


def functions() -> dict[str, Callable[[Tensor], Any]]:
    """Every method of a tensor, and every further function of tensors, that might take one tensor alone.

    What sets something for the whole process, as torch.set_printoptions does, is no function of tensors.
    """
    of_tensors = torch.overrides.get_overridable_functions()
    found = {f.__name__: f for where in (F, torch) for f in of_tensors[where] if isinstance(f, FUNCTION)}
    found = {name: f for name, f in found.items() if not name.startswith("_") and name != "lobpcg"}  # takes seconds
    methods = {n for n in dir(Tensor) if not n.startswith("_") and callable(getattr(Tensor, n))} - {"share_memory_"}
    return found | {name: operator.methodcaller(name) for name in methods}


@pytest.mark.filterwarnings("ignore")
def test_every_function_of_torch_that_keeps_channels_apart_is_followed() -> None:
    x = torch.rand(2, 6, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(3)) * 0.8 + 0.1
    order, first = torch.tensor([3, 1, 0, 2, 5, 4]), torch.ones(6, dtype=torch.float64)
    first[0] = 1.05
    known, missed = 0, []
    for name, function in functions().items():
        try:
            made = [function(x.clone()), function(x.clone()), function(x[:, order]), function(x * first[:, None, None])]
            if any(y.shape[:2] != x.shape[:2] or y.dim() != 4 or y.dtype != x.dtype for y in made):
                continue
            y, again, ordered, other = made
            if not y.equal(again) or not y[:, order].equal(ordered) or not y[:, 1:].equal(other[:, 1:]):
                continue  # it draws numbers, or mixes channels
        except Exception:  # takes something else
            continue
        within = Applied(lambda x, f=function: f(x.sigmoid() * 0.8 + 0.1))
        net = lively_(nn.Sequential(nn.Conv2d(2, 6, 3, padding=1), within, nn.Conv2d(6, 4, 1)))
        images = torch.rand(3, 2, 4, 4, dtype=torch.float64)
        known += 1
        try:
            graph = pdc.trace(net, images[:1])
        except pdc.PDCError:
            missed.append(name)
            continue
        tied, small = reconstructed_and_folded(net, graph, random_labels(graph, 0.5))
        assert pdc.check_equal(tied, small, images).equal, name
        missed += [] if graph.clusterable else [name]
    assert known > 150
    assert len(missed) < 20, missed  # what works on matrices, and hardly anybody calls


@pytest.mark.parametrize("name", FROZEN)
def test_what_cannot_be_followed_is_frozen_with_a_reason(name: str) -> None:
    net, reason = FROZEN[name]
    lively_(net)
    graph = pdc.trace(net, X[:1], "shared")
    assert any(reason in (g.frozen or "") for g in graph.groups), [g.frozen for g in graph.groups]
    tied, small = reconstructed_and_folded(net, graph, random_labels(graph, 0.5))
    assert pdc.check_equal(tied, small, X).equal


def test_a_convolution_with_its_own_forward_is_not_taken_for_torchs() -> None:
    class Standardised(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            return F.conv2d(x, self.weight - self.weight.mean(), self.bias, padding=1)

    class Renamed(nn.Conv2d):
        pass

    own = nn.Sequential(Standardised(2, 4, 3), nn.Conv2d(4, 3, 1)).eval()
    assert [g.name for g in pdc.trace(own, X[:1].float()).clusterable] == []
    same = nn.Sequential(Renamed(2, 4, 3), nn.Conv2d(4, 3, 1)).eval()
    assert [g.name for g in pdc.trace(same, X[:1].float()).clusterable] == ["0"]


def test_internal_freezes_the_trunk_and_frees_the_inner_convolution_of_every_block() -> None:
    graph = pdc.trace(pdc.load_model("resnet20", weights=False), torch.zeros(1, 1, 8, 8))
    assert [g.name for g in graph.clusterable] == [f"layer{s}.{b}.conv1" for s in (1, 2, 3) for b in (0, 1, 2)]
    assert all("residual sum" in (g.frozen or "") for g in graph.groups if g.name.endswith("conv2"))
    inner = graph.group("layer2.1.conv1")
    assert [p.module for p in inner.producers] == ["layer2.1.conv1"]
    assert [p.module for p in inner.norms] == ["layer2.1.bn1"]
    assert [p.module for p in inner.readers] == ["layer2.1.conv2"]


def test_padded_shortcuts_split_the_trunk_by_who_writes_it() -> None:
    graph = pdc.trace(pdc.load_model("resnet20", weights=False), torch.zeros(1, 1, 8, 8), "shared")
    trunk = {g.name: g for g in graph.clusterable if "conv1" not in g.name.split(".")[-1] or g.name == "conv1"}
    assert {name: g.size for name, g in trunk.items()} == {"conv1": 16, "layer2.0.conv2": 16, "layer3.0.conv2": 32}
    stage2 = next(p for p in trunk["conv1"].producers if p.module == "layer2.0.conv2")
    assert stage2.channels.tolist() == list(range(8, 24))  # 8 zeros before and 8 behind


@pytest.mark.parametrize("residual", ["internal", "shared", "gather"])
@pytest.mark.parametrize("name", ["resnet20", "resnet20_b"])
def test_the_zoo_folds_exactly_under_every_treatment(name: str, residual: str) -> None:
    x = torch.randn(3, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    model = lively_(pdc.load_model(name, data="cifar10", weights=False))
    graph = pdc.trace(model, x[:1], residual)
    tied, small = reconstructed_and_folded(model, graph, random_labels(graph, 0.4))
    assert pdc.check_equal(tied, small, x).equal
    assert counted_macs(small, x) == pdc.plan_cost(graph, pdc.Plan.uniform(graph, 0.4)).macs


def test_merging_one_producer_of_a_sum_alone_would_be_wrong() -> None:
    """The mistake that the treatments exist for (DESIGN.md section 2), so that the tests above are known to see it."""
    net = lively_(SOUND["sum"][0])
    labels = np.array([0, 0, 1, 1, 2, 2])
    graph = pdc.trace(net, X[:1], "shared")
    tied, small = reconstructed_and_folded(net, graph, {"a": labels})
    with torch.no_grad():
        small.b.weight.copy_(net.b.weight[::2])  # as if b had not been tied
    assert not pdc.check_equal(tied, small, X).equal


def test_tracing_says_what_stands_in_the_way() -> None:
    class Branches(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.sum() > 0 else -x

    class TwoInputs(nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return x + y

    hooked = chain().eval()
    hooked[0].register_forward_hook(lambda *_: None)
    lazy = nn.Sequential(nn.LazyConv2d(3, 1)).eval()
    partly = chain().eval()
    partly[1].train()
    example = torch.zeros(1, 2, 6, 6)
    for net, x, said in (
        (Branches().eval(), example, "cannot be traced"),
        (TwoInputs().eval(), example, "several inputs"),
        (chain().train(), example, r"model\.eval\(\)"),
        (partly, example, "^1 is in train mode"),
        ("resnet20", example, "The network is str"),
        (hooked, example, "forward hooks"),
        (lazy, example, "lazy module"),
        (chain().eval(), torch.zeros(1, 3, 6, 6), "does not accept an example of shape"),
        (chain().eval(), torch.zeros(1, 2, 9, 9), "does not accept an example of shape"),
        (chain().eval(), torch.zeros(6), "give one input as a tensor"),
        (chain().eval(), "image", "give one input as a tensor"),
    ):
        with pytest.raises(pdc.PDCError, match=said):
            pdc.trace(net, x)  # type: ignore[arg-type]
    with pytest.raises(pdc.PDCError, match="internal, shared, gather"):
        pdc.trace(chain().eval(), example, "some")


def test_half_precision_and_another_device_are_traced_as_they_are() -> None:
    example = torch.zeros(1, 2, 6, 6)
    half = pdc.trace(chain().half().eval(), example)
    meta = pdc.trace(chain().to("meta").eval(), example)
    assert [g.name for g in half.clusterable] == [g.name for g in meta.clusterable] == ["0", "3", "8"]
    with pytest.raises(pdc.PDCError, match="holds no weights"):
        pdc.assign(chain().to("meta").eval(), meta, pdc.Plan.uniform(meta, 0.5))


def test_a_flatten_gives_every_channel_its_pixels() -> None:
    graph = pdc.trace(chain().eval(), torch.zeros(1, 2, 6, 6))
    reader = graph.group("3").readers[0]
    assert reader.module == "8"
    assert reader.channels.shape == (12, 9)
    assert reader.channels[1].tolist() == list(range(9, 18))


def test_an_unknown_group_name_is_answered_with_the_ones_there_are() -> None:
    graph = pdc.trace(chain().eval(), torch.zeros(1, 2, 6, 6))
    with pytest.raises(pdc.PDCError, match=r"no channel group 'conv9'.*0, 3, 8"):
        graph.group("conv9")


def test_details_say_who_forces_whom_and_why() -> None:
    graph = pdc.trace(lively_(Net(lambda n, x: n.a(x) + n.b(x))), X[:1], "shared")
    assert graph.group("a").details().splitlines() == [
        "a: 6 channels, can be clustered",
        "  written by    a[0:6]",
        "  written by    b[0:6]",
        "  read by       read[0:6]",
        "  tied: all of these producers get the same labels, because their channels meet in a sum or product or pass "
        "through a depthwise convolution",
    ]
    assert "frozen: is the network's output" in graph.group("read").details()
    grouped = pdc.trace(lively_(SOUND["grouped"][0]), X[:1]).group("a")
    assert "3 blocks of 2 channels" in grouped.details()


def test_every_group_knows_the_block_of_every_channel() -> None:
    for net, _ in (SOUND["grouped"], SOUND["sum"]):
        for group in pdc.trace(lively_(net), X[:1]):
            assert group.block.shape == (group.size,)
            assert len(np.unique(group.block)) == group.blocks
    assert pdc.ChannelGroup("alone", 3, (), (), ()).block.tolist() == [0, 0, 0]


def test_reach_is_the_largest_cut_and_names_what_blocks_the_rest() -> None:
    net = nn.Sequential(nn.Conv2d(2, 6, 3), nn.GroupNorm(2, 6), nn.Conv2d(6, 10, 1), nn.ReLU(), nn.Conv2d(10, 3, 1))
    graph = pdc.trace(lively_(net), X[:1])
    reach = graph.reach()
    least = pdc.plan_cost(graph, {"2": 1}).macs
    assert reach.filters == 10 / 16
    assert reach.macs == pytest.approx(1 - least / pdc.plan_cost(graph, {}).macs)
    assert [(b.filters, b.groups) for b in reach.blocked] == [(6, ("0",))]
    assert str(reach).startswith("62% of the hidden filters can be merged, and at most ")
    assert str(reach).endswith("Blocked: 6 filters whose group enters 1 (GroupNorm mixes channels).")
    nothing = pdc.trace(lively_(nn.Sequential(nn.Conv2d(2, 3, 1))), X[:1]).reach()
    assert (nothing.filters, nothing.macs, nothing.blocked) == (0, 0, ())
    assert str(nothing) == "No filters can be merged."


def test_what_wraps_a_network_or_was_made_of_one_is_refused_with_what_to_give() -> None:
    net = chain().eval()
    x = torch.zeros(1, 2, 6, 6)
    for made, said in (
        (torch.compile(net, backend="eager"), r"OptimizedModule wraps the network .* model\._orig_mod"),
        (nn.DataParallel(net).eval(), r"DataParallel wraps the network.* model\.module"),
        (torch.optim.swa_utils.AveragedModel(net).eval(), r"AveragedModel wraps the network.* model\.module"),
        (torch.jit.trace(net, x), "compiled by TorchScript; use the Python module that it was made from"),
        (nn.Sequential(torch.jit.script(net)).eval(), "0 is compiled by TorchScript"),
        (torch.export.export(net, (x,)).module(), "made by torch.export; give the network that it was made from"),
        (nn.Sequential(nn.Conv2d(2, 3, 1, dtype=torch.complex64)).eval(), "complex weights"),
    ):
        with pytest.raises(pdc.PDCError, match=said):
            pdc.trace(made, x)
