"""Random networks of functions, subclasses and branches on sizes: each folds exactly, is priced, and hides nothing."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.networks import assert_sound, lively_

KINDS = (
    "conv",
    "own conv",
    "depthwise",
    "standard",
    "norm",
    "scale",
    "if",
    "shuffle",
    "halves",
    "ghost",
    "sum",
    "blur",
    "sum in place",
    "part in place",
    "assigned",
    "empty part",
)


class Standard(nn.Conv2d):
    """A convolution with standardised filters."""

    def forward(self, x: Tensor) -> Tensor:
        w = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return self._conv_forward(x, w, self.bias)


class Step(nn.Module):
    """One step of a random network, with tensors of its own where it can."""

    def __init__(self, kind: str, width: int, number: int) -> None:
        super().__init__()
        self.kind, self.number, self.width = kind, number, width
        out = self.out = 2 * (1 + number % 3) if kind in ("conv", "own conv", "standard") else width
        if kind == "own conv":
            self.kernel, self.shift = nn.Parameter(torch.zeros(out, width, 3, 3)), nn.Parameter(torch.zeros(out))
        elif kind == "depthwise":
            self.kernel = nn.Parameter(torch.zeros(width, 1, 3, 3))
        elif kind in ("conv", "standard"):
            self.conv = (nn.Conv2d if kind == "conv" else Standard)(width, out, 3, padding=1)
        elif kind == "norm":
            self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
            self.register_buffer("running_mean", torch.zeros(width))
            self.register_buffer("running_var", torch.ones(width))
        elif kind == "scale":
            self.gain = nn.Parameter(torch.ones(*((width, 1, 1) if number % 2 else (1, width, 1, 1))))
        elif kind in ("ghost", "sum", "sum in place"):
            self.cheap = nn.Conv2d(width, width, 1, groups=width if kind == "ghost" else 1)
            self.out = 2 * width if kind == "ghost" else width
        elif kind == "blur":
            self.register_buffer("kernel", torch.full((1, 1, 3, 3), 1 / 9))

    def forward(self, x: Tensor) -> Tensor:
        kind, (b, c, h, w) = self.kind, x.shape
        if kind == "own conv":
            return F.relu(F.conv2d(x, self.kernel, self.shift, padding=1))
        if kind == "depthwise":
            return F.conv2d(x, self.kernel, padding=1, groups=self.width if self.number % 2 else c)
        if kind in ("conv", "standard"):
            return F.relu(self.conv(x))
        if kind == "norm":
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias)
        if kind == "scale":
            return torch.sigmoid(x) * self.gain
        if kind == "if":
            return F.pad(x, (0, 1, 0, 1))[:, :, 1:, 1:] if h % 2 == self.number % 2 or w > 9 else x / (h * w)
        if kind == "shuffle":
            return x.view(b, 2, c // 2, h, w).transpose(1, 2).reshape(b, c, h, w)
        if kind == "halves":
            return torch.cat([F.relu(half) for half in x.chunk(2, dim=1)], dim=1)
        if kind == "ghost":
            return torch.cat([x, self.cheap(x)], dim=1)
        if kind == "sum":
            return x + self.cheap(x)
        if kind == "sum in place":
            return self.added(x, self.cheap(x))
        if kind == "empty part":
            axis = 1 + self.number % 3
            none, some = x.narrow(axis, 0, 0), x.narrow(axis, 0, x.shape[axis])
            return torch.cat([none, some] if self.number < 5 else [some, none], dim=axis)
        if kind in ("part in place", "assigned"):
            return self.written(x.clone())
        return F.conv2d(x, self.kernel.expand(c, 1, 3, 3), padding=1, groups=c)

    def added(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the sum of two tensors that is written to the second: in one of several ways, read by some name."""
        how, same = self.number % 5, y
        if how == 0:
            y += x
        elif how == 1:
            y.add_(x)
        elif how == 2:
            y.flatten(2).sub_(x.flatten(2))
        elif how == 3:
            view = y.transpose(1, 2)
            y += x
            return view.transpose(1, 2)
        else:
            view = y[:, :]
            view += x
        return same if self.number > 4 else y

    def written(self, x: Tensor) -> Tensor:
        """Write to a part of a tensor: of its channels, its pixels, or where it is negative."""
        half, how = x.shape[1] // 2, self.number % 5
        if self.kind == "part in place":
            part = x[:, :half] if how < 3 else x[:, half:]
            if how % 2:
                part *= 2
            else:
                part.add_(1)
        elif how == 0:
            x[:, :, 0] = 1
        elif how == 1:
            x[x < 0] = 0.5
        elif how == 2:
            x[:, half] = 2
        elif how == 3:
            x[:, :half] = x[:, half : 2 * half].clone()
        else:
            x[..., 1:] = x[..., :-1].clone()
        return x


class RandomFunctions(nn.Module):
    """A chain of steps behind a convolution, and a linear classifier that is a function."""

    def __init__(self, steps: list[tuple[str, int]]) -> None:
        super().__init__()
        self.stem, width = nn.Conv2d(2, 4, 1), 4
        self.steps = nn.ModuleList()
        for kind, number in steps:
            if width * (2 if kind == "ghost" else 1) > 16:
                continue
            self.steps.append(Step(kind, width, number))
            width = self.steps[-1].out  # type: ignore[assignment]
        self.classes = nn.Parameter(torch.zeros(3, width))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for step in self.steps:
            x = step(x)
        return F.linear(x.mean((2, 3)), self.classes)


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(
    steps=st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 9)), min_size=1, max_size=6),
    residual=st.sampled_from(["internal", "shared", "gather"]),
    keep=st.floats(0.1, 0.9),
    seed=st.integers(0, 99),
)
def test_a_random_network_of_functions_folds_exactly(
    steps: list[tuple[str, int]], residual: str, keep: float, seed: int
) -> None:
    x = torch.randn(3, 2, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    assert_sound(lively_(RandomFunctions(steps), seed), x, residual, keep)
