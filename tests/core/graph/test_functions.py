"""Layers called as functions, subclasses of torch's layers, and forward passes that look at sizes: all fold exactly."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import pdc_core as pdc
from pdc_core.graph.readers import reading
from pdc_core.graph.tensors import input_axis, layer_of
from pdc_core.train.shrink import unfold
from tests.networks import assert_sound, lively_, random_labels, reconstructed_and_folded

X = torch.randn(3, 2, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


class SameConv(nn.Conv2d):
    """A convolution that pads by the size of what it gets, as TensorFlow does."""

    def forward(self, x: Tensor) -> Tensor:
        pads = []
        for size, kernel, stride in zip(x.shape[-2:], self.kernel_size, self.stride, strict=True):
            pad = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
            pads = [pad // 2, pad - pad // 2, *pads]
        if any(pads):
            x = F.pad(x, pads)
        return F.conv2d(x, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


class StandardConv(nn.Conv2d):
    """Weight standardisation: every filter has mean 0 and variance 1 before it is used."""

    def forward(self, x: Tensor) -> Tensor:
        w = self.weight
        w = (w - w.mean((1, 2, 3), keepdim=True)) / (w.std((1, 2, 3), keepdim=True) + 1e-5)
        return F.conv2d(x, w, self.bias, self.stride, self.padding, self.dilation, self.groups)


class ScaledConv(nn.Conv2d):
    """Weight standardisation by a batch norm of the weight, with a learned gain per filter."""

    def __init__(self, *args: int, **kwargs: int) -> None:
        super().__init__(*args, **kwargs)
        self.gain = nn.Parameter(torch.ones(self.out_channels, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        w = F.batch_norm(
            self.weight.reshape(1, self.out_channels, -1), None, None,
            weight=(self.gain * 0.7).view(-1), training=True, momentum=0.0,
        ).reshape_as(self.weight)  # fmt: skip
        return F.conv2d(x, w, self.bias, self.stride, self.padding, self.dilation, self.groups)


class NormAct(nn.BatchNorm2d):
    """A batch norm and an activation in one module."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.act = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.1, 1e-5))


@torch.jit.script
def gate(x: Tensor, scale: float) -> Tensor:
    return torch.sigmoid(x) * scale


@torch.jit.script
def gated(x: Tensor) -> Tensor:
    return x * gate(x, 2.0) if x.dim() == 4 else x


class Scripted(nn.Module):
    """Calls functions that TorchScript compiled: one that its file knows, and one that it holds."""

    def __init__(self) -> None:
        super().__init__()
        self.activation = gate

    def forward(self, x: Tensor) -> Tensor:
        return gated(x) + self.activation(x, 0.5)


class Window(nn.Module):
    """A learned map of pixels, and one of the input's own, for all channels alike."""

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Parameter(torch.ones(8, 8))
        self.register_buffer("edge", torch.linspace(0, 1, 8)[None, None, :, None])

    def forward(self, x: Tensor) -> Tensor:
        return x * self.map + self.edge


class Blur(nn.Module):
    """A fixed kernel per channel, repeated in a buffer or expanded when used."""

    def __init__(self, channels: int, expand: bool) -> None:
        super().__init__()
        self.width, self.expand = channels, expand
        kernel = torch.tensor([1.0, 2.0, 1.0])[:, None] * torch.tensor([1.0, 2.0, 1.0]) / 16
        self.register_buffer("kernel", kernel.repeat(1 if expand else channels, 1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, (1, 1, 1, 1), mode="reflect")
        if self.expand:
            return F.conv2d(x, self.kernel.expand(x.shape[1], 1, 3, 3), stride=2, groups=x.shape[1])
        return F.conv2d(x, self.kernel, stride=2, groups=self.width)


class Ghost(nn.Module):
    """Half of the channels by a convolution, half by a cheap depthwise one of the first half."""

    def __init__(self) -> None:
        super().__init__()
        self.primary, self.cheap = nn.Conv2d(2, 3, 1), nn.Conv2d(3, 3, 3, padding=1, groups=3)

    def forward(self, x: Tensor) -> Tensor:
        first = F.relu(self.primary(x))
        return torch.cat([first, F.relu(self.cheap(first))], dim=1)[:, :6]


class SplitAttention(nn.Module):
    """Two branches of one grouped convolution, weighted by a softmax between them (ResNeSt)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.one, self.two = (
            nn.Conv2d(2, 12, 3, padding=1, groups=2),
            nn.Conv2d(6, 4, 1),
            nn.Conv2d(4, 12, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        b, c, h, w = x.shape
        x = x.reshape(b, 2, c // 2, h, w)
        gate = self.two(F.relu(self.one(x.sum(dim=1).mean((2, 3), keepdim=True))))
        gate = F.softmax(gate.view(b, 1, 2, -1).transpose(1, 2), dim=1).reshape(b, -1)
        return (x * gate.reshape(b, 2, c // 2, 1, 1)).sum(dim=1)


class Eca(nn.Module):
    """Attention by a 1-D convolution over channels, and a convolution behind it that stays free."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.over, self.b = nn.Conv2d(2, 6, 1), nn.Conv1d(1, 1, 3, padding=1), nn.Conv2d(6, 6, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        gate = self.over(x.mean((2, 3)).view(x.shape[0], 1, -1))
        x = x * gate.view(x.shape[0], -1, 1, 1).sigmoid().expand_as(x)
        return F.relu6(self.b(x) + 3) / 6


class Frozen(nn.Module):
    """A batch norm written out in buffers, as detectors have it, and a learned scale per channel."""

    def __init__(self) -> None:
        super().__init__()
        for name in ("weight", "bias", "running_mean", "running_var"):
            self.register_buffer(name, torch.rand(6))
        self.scale = nn.Parameter(torch.ones(6, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        scale = self.weight.reshape(1, -1, 1, 1) * (self.running_var.reshape(1, -1, 1, 1) + 1e-5).rsqrt()
        shift = self.bias.reshape(1, -1, 1, 1) - self.running_mean.reshape(1, -1, 1, 1) * scale
        return (x * scale + shift) * self.scale


class Own(nn.Module):
    """A network whose tensors are its own parameters and buffers: no layer of torch's at all."""

    def __init__(self, upsample: bool = False) -> None:
        super().__init__()
        self.w1, self.b1 = nn.Parameter(torch.zeros(6, 2, 3, 3)), nn.Parameter(torch.zeros(6))
        self.w2 = nn.Parameter(torch.zeros(*((6, 8, 2, 2) if upsample else (8, 6, 1, 1))))
        self.gamma, self.beta = nn.Parameter(torch.ones(6)), nn.Parameter(torch.zeros(6))
        self.register_buffer("mean_running_mean", torch.zeros(6))
        self.register_buffer("running_var", torch.ones(6))
        self.slope, self.head = nn.Parameter(torch.ones(8)), nn.Parameter(torch.zeros(4, 8))
        self.upsample = upsample

    def forward(self, x: Tensor) -> Tensor:
        x = F.conv2d(x, self.w1, self.b1, padding=1)
        x = F.relu(F.batch_norm(x, self.mean_running_mean, self.running_var, self.gamma, self.beta))
        x = F.conv_transpose2d(x, self.w2, stride=2) if self.upsample else F.conv2d(x, self.w2)
        return F.linear(F.prelu(x, self.slope).mean((2, 3)), self.head)


class Grid(nn.Module):
    """Adds, or appends, places of pixels from a buffer that the forward pass makes anew for another size."""

    def __init__(self, channels: int, append: bool) -> None:
        super().__init__()
        self.append, self.read = append, nn.Conv2d(2, channels, 1)
        self.register_buffer("grid", torch.zeros(1, 2, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        if self.grid.shape[2:] != (height, width):
            rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
            self.grid = torch.stack([rows, columns])[None].to(self.read.weight.dtype)
        places = self.grid.expand(x.shape[0], -1, -1, -1)
        if not self.append:
            return x + self.read(places)
        first, rest = torch.cat([self.read(places), x], dim=1).split([x.shape[1], x.shape[1]], dim=1)
        return torch.cat([rest, F.relu(first)], dim=1)[:, 1 : x.shape[1] + 1]


class Block(nn.Module):
    """A convolution to six channels, something in between, and a classifier."""

    def __init__(self, middle: nn.Module, first: nn.Module | None = None) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 6, 3, padding=1) if first is None else first
        self.middle, self.read, self.head = middle, nn.Conv2d(6, 5, 1), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.read(self.middle(self.first(x))))
        return self.head(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))


class By(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def shuffled(x: Tensor) -> Tensor:
    b, c, h, w = x.shape
    return x.view(b, 2, c // 2, h, w).transpose(1, 2).reshape(b, c, h, w)


def padded_to_even(x: Tensor) -> Tensor:
    if x.shape[-1] % 2 or x.size(2) > 7:
        x = F.pad(x, (0, x.shape[-1] % 2, 0, 1))
    return x


def by_chunks(x: Tensor) -> Tensor:
    return torch.cat([F.relu(part) for part in x.chunk(2, dim=1)], dim=1)


def after_a_prefix(x: Tensor, prefix: int = 0) -> Tensor:
    rows = torch.cat([x[:, :, :prefix], x[:, :, prefix:] * 2], dim=2)  # of no rows, as of a ViT without class token
    channels = torch.cat([rows[:, :prefix], F.relu(rows[:, prefix:])], dim=1)
    none, whole = channels.split([prefix, channels.shape[1] - prefix], dim=1)
    return torch.cat([whole, none], dim=1) + whole[..., :prefix].sum(-1, keepdim=True)


def asserted(x: Tensor) -> Tensor:
    assert x.dim() == 4
    b, c, h, w = x.shape
    return x.view(b, 2, c // 2, h, w).flip(1).reshape(b, c, h, w)


def parts_twice(x: Tensor) -> Tensor:
    parts = list(x.chunk(2, 1))
    parts.append(parts[-1] * 2)
    return torch.cat(parts, 1)[:, 3:]


def divided(x: Tensor) -> Tensor:
    if x.dim() == 4 and x.dtype.is_floating_point:
        return x / math.sqrt(x.shape[1]) + x.shape[2]
    return x


FREE: dict[str, tuple[nn.Module, str]] = {
    "own tensors": (Own(), "w1 w2"),
    "own tensors, transposed": (Own(upsample=True), "w1 w2"),
    "convolutions that pad by size": (Block(SameConv(6, 6, 3, 2), SameConv(2, 6, 3)), "first middle read"),
    "depthwise, padding by size": (Block(SameConv(6, 6, 3, 2, groups=6)), "first read"),
    "norm and activation in one": (Block(NormAct(6)), "first read"),
    "standardised producer": (Block(nn.Identity(), StandardConv(2, 6, 3)), "first read"),
    "scaled producer": (Block(nn.Identity(), ScaledConv(2, 6, 3)), "first read"),
    "standardised depthwise": (Block(StandardConv(6, 6, 3, groups=6)), "first read"),
    "blur": (Block(Blur(6, expand=False)), "first read"),
    "blur, expanded": (Block(Blur(6, expand=True)), "first read"),
    "ghost": (Block(nn.Identity(), Ghost()), "first.primary read"),
    "ghost behind a sum": (Block(nn.Conv2d(6, 6, 3, padding=1, groups=6), Ghost()), "first.primary read"),
    "split attention": (Block(nn.Identity(), SplitAttention()), "first.conv first.one read"),
    "one-dimensional attention over channels": (Block(nn.Identity(), Eca()), "first.b read"),
    "batch norm written out": (Block(Frozen()), "first read"),
    "channel shuffle": (Block(By(shuffled)), "first read"),
    "if by size": (Block(By(padded_to_even)), "first read"),
    "loop over chunks": (Block(By(by_chunks)), "first first.2 read"),
    "parts without values": (Block(By(after_a_prefix)), "first read"),
    "grid made anew": (Block(Grid(6, append=False)), "first read"),
    "grid made anew, appended": (Block(Grid(6, append=True)), "first first.2 middle.read middle.read.2 read"),
    "scaled by sizes": (Block(By(divided)), "first read"),
    "a list of parts": (Block(By(parts_twice)), "first first.2 read"),
    "axes asserted": (Block(By(asserted)), "first read"),
    "a share of the channels": (Block(By(lambda x: x / int(x.size(1) * 0.5))), "first read"),
    "functions of TorchScript": (Block(Scripted()), "first read"),
    "map of pixels": (Block(Window()), "first read"),
    "group norm": (Block(nn.GroupNorm(2, 6)), "read"),
    "mean head": (nn.Sequential(nn.Conv2d(2, 6, 3), nn.ReLU(), By(lambda x: x.mean([-2, -1])), nn.Linear(6, 3)), "0"),
    "mean, twice": (nn.Sequential(nn.Conv2d(2, 6, 3), By(lambda x: x.mean(-1).mean(-1)), nn.Linear(6, 3)), "0"),
}  # fmt: skip


@pytest.mark.parametrize("residual", ["internal", "shared", "gather"])
@pytest.mark.parametrize("name", FREE)
def test_what_is_called_as_a_function_folds_exactly(name: str, residual: str) -> None:
    net, groups = FREE[name]
    graph = assert_sound(lively_(net), X, residual)
    if residual == "shared":
        assert sorted(g.name for g in graph.clusterable) == sorted(groups.split())


def normed_over_pixels(x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[2:])


BLOCKED: dict[str, tuple[nn.Module, str]] = {
    "standardised reader": (Block(StandardConv(6, 6, 3)), "is read by middle, whose weight is computed from"),
    "layer norm as a function": (Block(By(lambda x: F.layer_norm(x, x.shape[1:]))), "LayerNorm mixes channels"),
    "group norm as a function": (Block(By(lambda x: F.group_norm(x, 2))), "GroupNorm mixes channels"),
    "spectral norm": (Block(nn.utils.parametrizations.spectral_norm(nn.Conv2d(6, 6, 1))), "Conv2d with SpectralNorm"),
    "attention": (Block(By(lambda x: (x.flatten(2) @ x.flatten(2).transpose(1, 2))[..., None])), "matmul"),
    "einsum": (Block(By(lambda x: torch.einsum("bchw,bdhw->bcd", x, x)[..., None])), "einsum"),
    "weight used twice": (Block(nn.Identity()), "used in another way"),
}


def test_a_layer_norm_over_pixels_keeps_channels_apart() -> None:
    assert sorted(g.name for g in assert_sound(lively_(Block(By(normed_over_pixels))), X).clusterable) == [
        "first",
        "read",
    ]


@pytest.mark.parametrize("name", BLOCKED)
def test_what_blocks_is_named_and_priced(name: str) -> None:
    net, reason = BLOCKED[name]
    if name == "weight used twice":
        assert isinstance(net, Block)
        net.middle = By(lambda x: x + F.linear(x.mean((2, 3)), net.read.weight[:, :, 0, 0])[:, :1, None, None])
    graph = assert_sound(lively_(net), X)
    assert any(reason in (g.frozen or "") for g in graph.groups), [g.frozen for g in graph.groups]
    assert any(reason in b.reason for b in graph.reach().blocked) or "output" in reason


def test_values_in_control_flow_are_refused_with_their_line() -> None:
    def branches(x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x

    def on_the_batch(x: Tensor) -> Tensor:
        return x if x.shape[0] > 2 else -x

    def reads(x: Tensor) -> Tensor:
        return x * float(x.max())

    for function, code in ((branches, "x if x.sum() > 0"), (on_the_batch, "size of the batch"), (reads, "x.max()")):
        with pytest.raises(pdc.PDCError, match=r"test_functions.py, line \d+") as caught:
            pdc.trace(lively_(Block(By(function))), X[:1])
        assert code in str(caught.value)


def test_networks_keep_their_class_where_their_forward_pass_still_fits() -> None:
    other = torch.randn(2, 2, 11, 11, dtype=torch.float64)
    for name in ("convolutions that pad by size", "if by size", "own tensors", "blur, expanded"):
        net = lively_(FREE[name][0])
        graph = pdc.trace(net, X[:1], "shared")
        tied, small = reconstructed_and_folded(net, graph, random_labels(graph, 0.5))
        assert type(small) is type(net)
        assert pdc.check_equal(tied, small, other).relative <= 1e-9  # another size, another branch


@pytest.mark.parametrize("name", ["scaled by sizes", "a list of parts", "axes asserted", "a share of the channels"])
def test_a_forward_pass_that_asks_for_axes_parts_and_widths_is_bound_to_no_size(name: str) -> None:
    net = lively_(FREE[name][0])
    graph = pdc.trace(net, X[:1], "shared")
    tied, small = reconstructed_and_folded(net, graph, random_labels(graph, 0.5))
    for size in (9, 13):
        assert pdc.check_equal(tied, small, torch.randn(2, 2, size, size, dtype=torch.float64)).relative <= 1e-9


def test_a_forward_pass_bound_to_one_size_says_so_at_another() -> None:
    net = lively_(Block(By(lambda x: x / int(x.shape[1] * 0.5) + int(x.shape[2] * 0.5))))
    graph = pdc.trace(net, X[:1], "shared")
    _, small = reconstructed_and_folded(net, graph, random_labels(graph, 0.5))
    with pytest.raises(pdc.PDCError, match=r"takes inputs of shape \(2, 8, 8\)"):
        small(torch.zeros(1, 2, 9, 9, dtype=torch.float64))


def test_networks_of_functions_are_clustered_tied_and_saved(tmp_path: Path) -> None:
    images = torch.randn(20, 2, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    grid = lambda: Block(Grid(6, append=True))  # noqa: E731
    padded, ghost = lambda: Block(SameConv(6, 6, 3, 2), SameConv(2, 6, 3)), lambda: Block(nn.Identity(), Ghost())
    for make in (Own, padded, ghost, grid):
        net = lively_(make())
        graph = pdc.trace(net, X[:1], "shared")
        for vectors in ("raw", "activations"):
            labels = pdc.assign(net, graph, pdc.Plan.uniform(graph, 0.5), vectors=vectors, images=images)
            tied, small = reconstructed_and_folded(net, graph, labels)
            assert pdc.check_equal(tied, small, X).relative <= 1e-9
        pdc.save(small, tmp_path / "net.safetensors")
        again = pdc.load(tmp_path / "net.safetensors", build=make)
        with torch.no_grad():
            assert torch.equal(again(X), small(X))


@pytest.mark.parametrize(
    "name", ["scaled by sizes", "blur", "own tensors", "ghost", "scaled producer", "grid made anew, appended"]
)
def test_a_folded_network_of_functions_is_folded_again(name: str) -> None:
    net = lively_(FREE[name][0])
    graph = pdc.trace(net, X[:1], "shared")
    _, small = reconstructed_and_folded(net, graph, random_labels(graph, 0.7))
    again = pdc.trace(small, X[:1], "shared")
    assert len(again.clusterable) == len(graph.clusterable)
    tied, smaller = reconstructed_and_folded(small, again, random_labels(again, 0.4))
    assert pdc.check_equal(tied, smaller, X).relative <= 1e-9


@pytest.mark.parametrize("name", ["own tensors", "own tensors, transposed", "blur", "ghost", "batch norm written out"])
def test_a_network_of_functions_is_unfolded_to_the_same_function(name: str) -> None:
    net = lively_(FREE[name][0])
    graph = pdc.trace(net, X[:1], "shared")
    labels = random_labels(graph, 0.5)
    _, small = reconstructed_and_folded(net, graph, labels)
    assert pdc.check_equal(small, unfold(small, net, graph, labels), X).relative <= 1e-9


@pytest.mark.parametrize("name", ["own tensors", "convolutions that pad by size", "ghost"])
def test_what_readers_of_a_network_of_functions_receive(name: str) -> None:
    net = lively_(FREE[name][0])
    graph = pdc.trace(net, X[:1], "shared")
    for group in graph.clusterable:
        for part in group.readers:
            received: list[Tensor] = []
            with reading(net, [(part, received.append)]), torch.no_grad():
                net(X)
            assert len(received) == 1
            assert received[0].shape[:3] == (group.size, part.channels.shape[1], len(X))
            silenced = copy.deepcopy(net)  # what is received is what the reader's columns meet: without them it is lost
            weight = layer_of(silenced, part).weight
            with torch.no_grad():
                weight.index_fill_(input_axis(layer_of(silenced, part)), torch.from_numpy(part.channels.reshape(-1)), 0)
                assert not torch.equal(silenced(X), net(X))


def test_tracing_leaves_nothing_behind_in_a_network_that_caches() -> None:
    class Caching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.read = nn.Conv2d(2, 6, 1), nn.Conv2d(6, 3, 1)
            self.cache: dict[str, Tensor] = {}
            self.last: Tensor | None = None

        def forward(self, x: Tensor) -> Tensor:
            self.cache["features"] = self.last = F.relu(self.conv(x))
            return self.read(self.cache["features"])

    net = lively_(Caching())
    pdc.trace(net, X[:1])
    assert net.cache == {}
    assert net.last is None
    graph = pdc.trace(net, X[:1])
    tied, small = reconstructed_and_folded(net, graph, random_labels(graph, 0.5))
    assert pdc.check_equal(tied, small, X).relative <= 1e-9
