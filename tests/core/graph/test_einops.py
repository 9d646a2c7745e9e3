"""Networks that move axes by einops: its functions are followed as the reshapes and permutations that they are."""

from __future__ import annotations

from collections.abc import Callable

import einops._backends
import pytest
import torch
import torch.nn.functional as F
from einops import einsum, pack, rearrange, reduce, repeat
from einops.layers.torch import Rearrange, Reduce
from torch import Tensor, nn

import pdc_core as pdc
from tests.networks import assert_sound, lively_

X = torch.randn(3, 2, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


class Net(nn.Module):
    """A function of einops between two convolutions."""

    def __init__(self, between: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.read, self.head = nn.Conv2d(2, 6, 3), nn.Conv2d(6, 4, 3), nn.Linear(4, 3)
        self.between = between

    def forward(self, x: Tensor) -> Tensor:
        y = self.between(F.relu(self.first(x)))
        out: Tensor = self.head(reduce(F.relu(self.read(y)), "b c h w -> b c", "mean"))
        return out


class Attention(nn.Module):
    """Tokens of pixels, heads by rearrange, and scores by einsum, as in many transformers."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.out, self.head = nn.Conv2d(2, 8, 2, 2), nn.Linear(8, 8), nn.Linear(8, 3)
        self.qkv = nn.Linear(8, 24, bias=False)
        self.mlp = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))

    def forward(self, x: Tensor) -> Tensor:
        x = rearrange(self.tokens(x), "b c h w -> b (h w) c")
        q, k, v = (rearrange(t, "b n (h d) -> b h n d", h=2) for t in self.qkv(x).chunk(3, -1))
        scores = einsum(q, k, "b h i d, b h j d -> b h i j").softmax(-1)
        x = x + self.out(rearrange(einsum(scores, v, "b h i j, b h j d -> b h i d"), "b h n d -> b n (h d)"))
        x = x + self.mlp(x)
        out: Tensor = self.head(reduce(x, "b n c -> b c", "mean"))
        return out


def gated(x: Tensor) -> Tensor:
    gate: Tensor = repeat(reduce(x, "b c h w -> b c", "mean"), "b c -> b c h w", h=6, w=6)
    return x * gate


def there_and_back(x: Tensor) -> Tensor:
    out: Tensor = rearrange(rearrange(x, "b c h w -> (b h w) c"), "(b h w) c -> b c h w", h=6, w=6)
    return out


MIXER = nn.Sequential(
    nn.Conv2d(2, 6, 3), Rearrange("b c h w -> b (h w) c"), nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4),
    Reduce("b n c -> b c", "mean"), nn.Linear(4, 3),
)  # fmt: skip
NETS: dict[str, tuple[nn.Module, str]] = {
    "shuffle": (Net(lambda x: rearrange(x, "b (g c) h w -> b (c g) h w", g=2)), "first read"),
    "flip of axes": (Net(lambda x: rearrange(x, "b c h w -> b c w h")), "first read"),
    "pixels and back": (Net(there_and_back), "first read"),
    "pooling": (Net(lambda x: reduce(x, "b c (h p) (w q) -> b c h w", "max", p=2, q=1)), "first read"),
    "gate": (Net(gated), "first read"),
    "layers": (MIXER, "0 2 4"),
    "packed": (Net(lambda x: pack([x[:, :2], x[:, 2:]], "b * h w")[0]), "first first.2 read"),
    "attention": (Attention(), "mlp.0"),
}


@pytest.mark.parametrize("residual", ["internal", "shared", "gather"])
@pytest.mark.parametrize("name", NETS)
def test_what_einops_moves_folds_exactly(name: str, residual: str) -> None:
    net, groups = NETS[name]
    graph = assert_sound(lively_(net), X, residual)
    if residual == "internal":
        assert sorted(g.name for g in graph.clusterable) == groups.split()
    assert list(einops._backends._type2backend) == [torch.Tensor]  # as before the trace


def test_what_is_refused_leaves_nothing_behind() -> None:
    pairs = Net(lambda x: reduce(x, "(b two) c h w -> b c h w", "mean", two=2))  # not of an example alone
    with pytest.raises(pdc.Untraceable):
        pdc.trace(lively_(pairs), X[:1])
    assert list(einops._backends._type2backend) == [torch.Tensor]
