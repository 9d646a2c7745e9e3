"""However a forward pass takes its arguments and asks for the size of a batch: it is traced and folds exactly."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import pdc_core as pdc
from tests.networks import assert_sound, lively_, random_labels, reconstructed_and_folded

X = torch.randn(3, 2, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


class Two(nn.Module):
    """Two convolutions; how they are called is up to those who derive from it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 8, 3), nn.Conv2d(8, 3, 3)

    def run(self, x: Tensor) -> Tensor:
        return self.second(F.relu(self.first(x)))


class Optional(Two):
    def forward(self, x: Tensor, mask: Tensor | None = None, features: bool = False, mode: str = "mean") -> Any:
        if mask is not None:
            x = x * mask
        y = self.run(x)
        return (y, x) if features else y.mean((2, 3)) if mode == "mean" else y


class OnlyByName(Two):
    def forward(self, x: Tensor, *, mask: Tensor | None = None, **more: Any) -> Tensor:
        return self.run(x if mask is None and not more.get("half") else x * 0.5)


class Several(Two):
    def forward(self, *inputs: Tensor, **named: Any) -> Tensor:
        return self.run(inputs[0]) * (2 if named else 1)


def passing_on(forward: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(forward)
    def wrapper(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        kwargs.pop("return_dict", None)
        return forward(self, *args, **kwargs)

    return wrapper


class Wrapped(Two):
    @passing_on
    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        y = self.run(x).mean((2, 3))
        return y if labels is None else F.cross_entropy(y, labels)


class OfItsOwn(Two):
    """Has a forward pass that this one object was given."""

    def __init__(self) -> None:
        super().__init__()
        self.forward = types.MethodType(lambda self, x: self.run(x) + 1, self)  # type: ignore[method-assign]


class Flat(Two):
    def forward(self, x: Tensor) -> Tensor:
        y = self.run(x)
        assert len(y.shape) == len(self.second.weight.shape) == 4
        assert len(y.chunk(2, 1)) == 2
        return y.view(len(y), -1)


class Renaming(Flat):
    """Its literal sizes have to change, so that the fold rewrites the program, for batches of any size."""

    def run(self, x: Tensor) -> Tensor:
        return self.second(F.relu(self.first(x)).view(len(x), 8, 6, 6))


class Sizing(Two):
    """Compares shapes, of which the batch is a part."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        z = F.relu(y)
        assert y.shape == z.shape == (y.size(0), 8, 6, 6)
        assert y.shape != x.shape
        assert y.shape[0] == x.shape[0]
        assert y.shape[1:] != x.shape[1:]
        if y.shape != F.max_pool2d(y, 2).shape:
            z = z + y
        return self.second(z)


def only(x: Any) -> Tensor:
    """Return a tensor, or the first of several."""
    if isinstance(x, tuple | list):
        return only(x[0])
    assert isinstance(x, Tensor | nn.Parameter)
    return x


def tensors(*values: Any) -> int:
    return sum(torch.is_tensor(x) for x in values) + sum(torch.jit.isinstance(x, Tensor) for x in values)


class Asking(Two):
    """Asks for the class of everything, here and in functions; every wrong answer makes it another network."""

    def forward(self, x: Any, mask: Any = None) -> Tensor:
        y = self.first(x) if isinstance(x, Tensor) else self.first(x)[:, :2]
        halves = y.chunk(2, dim=1)
        if isinstance(halves, tuple):
            y = torch.cat(halves[::-1], dim=1)
        y = F.relu(only((y, x))) * tensors(y, mask, x, 1, self.first.weight)  # 6
        if isinstance(y.shape[1], int) and isinstance(y.shape, tuple) and not isinstance(y, nn.Parameter):
            y = y * 2
        if isinstance(y, nn.Module | str):
            y = y[:, :3]
        if isinstance(mask, Tensor):
            y = y * mask
        return only([[self.second(y), y], y])


class AskingSymbolically(Two):
    """Asks for nothing that needs the example's sizes."""

    def forward(self, x: Any) -> Tensor:
        y = only(self.first(x))
        return only((self.second(F.relu(y) * tensors(y, x, None)),))


@pytest.mark.parametrize("kind", [Asking, AskingSymbolically])
def test_it_folds_exactly_where_classes_are_asked_for(kind: type[nn.Module]) -> None:
    graph = assert_sound(lively_(kind()), X)
    assert [g.name.split(".")[0] for g in graph.clusterable] in (["first"], ["first", "first"])
    assert "isinstance" not in globals()
    assert torch.is_tensor(X)
    assert torch.jit.isinstance(X, Tensor)
    assert not torch.is_tensor(kind)
    assert torch.is_tensor.__module__ == "torch"


@pytest.mark.parametrize("kind", [Sizing, Optional, OnlyByName, Several, Wrapped, OfItsOwn, Flat, Renaming])
def test_it_folds_exactly(kind: type[nn.Module]) -> None:
    graph = assert_sound(lively_(kind()), X)
    assert [g.name for g in graph.clusterable] == ["first"]
    assert "len" not in globals()


def test_a_folded_network_still_takes_its_optional_arguments() -> None:
    net = lively_(Optional())
    graph = pdc.trace(net, X[:1])
    tied, small = reconstructed_and_folded(net, graph, random_labels(graph, 0.5))
    with torch.no_grad():
        (ours, features), (theirs, _) = small(X, X > 0, features=True), tied(X, X > 0, features=True)
    assert torch.allclose(ours, theirs, rtol=1e-9)
    assert torch.equal(features, X * (X > 0))


def test_several_inputs_are_refused() -> None:
    class Pair(Two):
        def forward(self, x: Tensor, y: Tensor, flag: bool = True) -> Tensor:
            return self.run(x + y)

    with pytest.raises(pdc.PDCError, match="takes several inputs"):
        pdc.trace(lively_(Pair()), X[:1])
