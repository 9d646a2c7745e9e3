"""Channel ids: what flows through the traced network in place of activations, and the notes taken on the way.

An activation of shape (1, c, h, w) is represented by the ids of its c channels. Producers make fresh ids;
sums and products tie ids; whatever cannot be followed freezes them, with a reason.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

IntArray = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Ids:
    """An activation of `shape` whose entries along `dim` carry the ids `channels`, constant along all other dims."""

    channels: IntArray  # (shape[dim],)
    dim: int
    shape: tuple[int, ...]

    def literal(self) -> Tensor:
        """Return the ids as a tensor of the full shape (expanded, so that it takes no memory)."""
        view = [1] * len(self.shape)
        view[self.dim] = -1
        return torch.from_numpy(self.channels).view(view).expand(self.shape)

    def at(self, dim: int) -> IntArray | None:
        """Return the ids along `dim`, or None where they vary along another one."""
        if dim == self.dim:
            return self.channels
        if len(self.channels) and (self.channels == self.channels[0]).all():
            return np.full(self.shape[dim], self.channels[0])
        return None

    def reshaped(self, shape: tuple[int, ...]) -> Ids:
        """Return the same channels on an activation whose other dims changed (pooling, padding of pixels)."""
        return Ids(self.channels, self.dim, shape)


def compact(literal: Tensor) -> Ids | None:
    """Return literal ids as `Ids`, or None when they vary along more than one dim, or along the batch."""
    varying = [
        d
        for d in range(literal.dim())
        if literal.shape[d] > 1 and literal.stride(d) != 0 and not (literal.narrow(d, 0, 1) == literal).all()
    ]
    if literal.dim() == 0 or len(varying) > 1 or (varying == [0] and literal.dim() > 1):
        return None
    dim = varying[0] if varying else min(1, literal.dim() - 1)
    index = [0] * literal.dim()
    index[dim] = slice(None)  # type: ignore[call-overload]
    return Ids(literal[tuple(index)].numpy().copy(), dim, tuple(literal.shape))


@dataclass
class TraceRecord:
    """Everything learnt while the ids flowed through. `tracing` turns it into channel groups at the end.

    Attributes
    ----------
    ties : pairs of id arrays that must share labels.
    frozen : (ids, reason).
    producers, norms, readers : module name -> ids of its output channels / its channels / its input positions.
    constants : (ids) of channels that a padding made; each padding is one source.
    parts : (ids, part) -- channels that a split separates are never merged across parts.
    blocks : (ids, block) -- the same for grouped convolutions, which also need equal counts.
    """

    size: int = 0
    ties: list[tuple[IntArray, IntArray]] = field(default_factory=list)
    frozen: list[tuple[IntArray, str]] = field(default_factory=list)
    producers: dict[str, IntArray] = field(default_factory=dict)
    norms: dict[str, IntArray] = field(default_factory=dict)
    readers: dict[str, IntArray] = field(default_factory=dict)
    constants: list[IntArray] = field(default_factory=list)
    parts: list[tuple[IntArray, IntArray]] = field(default_factory=list)
    blocks: list[tuple[str, IntArray, IntArray]] = field(default_factory=list)
    calls: dict[str, list[tuple[int, ...]]] = field(default_factory=dict)  # layer -> output shapes of its calls
    pixels: dict[str, int] = field(default_factory=dict)  # layer -> how often its kernel is applied, over its calls

    def fresh(self, count: int) -> IntArray:
        """Return `count` ids that nobody has yet."""
        ids = np.arange(self.size, self.size + count)
        self.size += count
        return ids

    def freeze(self, ids: Ids | IntArray, reason: str) -> None:
        self.frozen.append((ids.channels if isinstance(ids, Ids) else ids, reason))

    def tie(self, a: IntArray, b: IntArray) -> None:
        if a is not b:
            self.ties.append((a, b))

    def fresh_frozen(self, count: int, reason: str) -> IntArray:
        """Return `count` new ids that may never be merged."""
        ids = self.fresh(count)
        self.freeze(ids, reason)
        return ids

    def opaque(self, shape: tuple[int, ...], reason: str) -> Ids:
        """Return an activation whose channels cannot be followed, on the first axis where they may differ."""
        shape = shape or (1,)
        wide = [d for d in (1, 0, *range(2, len(shape))) if d < len(shape) and shape[d] > 1]
        dim = wide[0] if wide else min(1, len(shape) - 1)
        return Ids(self.fresh_frozen(shape[dim], reason), dim, shape)

    def once(self, table: dict[str, IntArray], name: str, ids: IntArray) -> IntArray:
        """Note ids for a module; a module called again ties them to its first call's."""
        if name in table:
            self.tie(table[name], ids)
        else:
            table[name] = ids
        return table[name]


def in_order(channels: np.ndarray) -> np.ndarray:
    """Return the distinct ids in the order in which they first occur."""
    return channels[np.sort(np.unique(channels, return_index=True)[1])]
