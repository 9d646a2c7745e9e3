"""Channel ids: what flows through the traced network in place of activations, and the notes taken on the way.

An activation of shape (1, c, h, w) is represented by the ids of its c channels. Producers make fresh ids;
sums and products tie ids; whatever cannot be followed freezes them, with a reason.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pdc_core.graph.structure import LayerTensors

IntArray = NDArray[np.int64]
WAY = " (used in another way)"  # a second layer that uses the tensors of a first one differently


@dataclass(frozen=True, eq=False)
class Ids:
    """An activation whose entries along `dim` carry the ids `channels`, constant along all other dims.

    Parameters
    ----------
    channels : int array, shape (shape[dim],)
        The id of each channel.
    dim : int
        The axis of the channels.
    shape : tuple of int
        Shape of the activation for one example.
    of_weight : bool, default False
        Whether this was computed from parameters alone; then `dim` is the axis of a layer's filters, usually 0.
    dtype : torch.dtype, optional
        Set where it is not a floating type, as for an index.
    batch : int, default 0
        The axis of the batch; of a parameter without meaning.
    """

    channels: IntArray
    dim: int
    shape: tuple[int, ...]
    of_weight: bool = False
    dtype: torch.dtype | None = None
    batch: int = 0

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
        return replace(self, shape=shape)

    def like(self, value: Tensor) -> Ids:
        """Return the same channels on an activation of the shape and type of a tensor."""
        return replace(self, shape=tuple(value.shape), dtype=None if value.is_floating_point() else value.dtype)


@dataclass(frozen=True)
class Weight:
    """A parameter or buffer of some module as the forward pass reaches it, before anything is computed with it.

    Parameters
    ----------
    path : str
        Its dotted name in the network.
    shape : tuple of int
        Its shape.
    dtype : torch.dtype
        Its type.
    """

    path: str
    shape: tuple[int, ...]
    dtype: torch.dtype


def varying(literal: Tensor) -> list[int]:
    """Return the dims along which literal ids differ."""
    return [
        d
        for d in range(literal.dim())
        if literal.shape[d] > 1 and literal.stride(d) != 0 and not (literal.narrow(d, 0, 1) == literal).all()
    ]


def compact(literal: Tensor, of_weight: bool = False) -> Ids | None:
    """Return literal ids as `Ids`, or None when they vary along more than one dim, or along the batch."""
    along = varying(literal)
    if literal.dim() == 0 or len(along) > 1 or (along == [0] and literal.dim() > 1 and not of_weight):
        return None
    dim = along[0] if along else min(1, literal.dim() - 1)
    return Ids(_line(literal, dim), dim, tuple(literal.shape), of_weight)


def widest(literal: Tensor) -> tuple[Ids, tuple[IntArray, IntArray]]:
    """Return ids that vary along several dims as those of the widest dim, and the ties that make this right.

    A channel shuffle views c channels as (g, c/g): with channel (i, j) tied over all i, what is left varies along one
    dim, and every later operation can be followed.
    """
    along = varying(literal)
    dim = max(along, key=lambda d: (literal.shape[d], d))
    channels = _line(literal, dim)
    view = [1] * literal.dim()
    view[dim] = -1
    other = torch.from_numpy(channels).view(view).expand(literal.shape)
    index = tuple(slice(None) if d in along else 0 for d in range(literal.dim()))
    ties = literal[index].reshape(-1).numpy().copy(), other[index].reshape(-1).numpy().copy()
    return Ids(channels, dim, tuple(literal.shape)), ties


def _line(literal: Tensor, dim: int) -> IntArray:
    """Return the ids along one dim, at place 0 of all others."""
    return literal[tuple(slice(None) if d == dim else 0 for d in range(literal.dim()))].numpy().copy()


@dataclass
class TraceRecord:
    """Everything learnt while the ids flowed through. `tracing` turns it into channel groups at the end.

    Attributes
    ----------
    ties : list of (int array, int array)
        Ids that must share labels, pair by pair.
    frozen : list of (int array, str)
        Ids that may not be merged, and the reason.
    producers, norms, readers : dict of str to int array
        For each layer or norm, the ids of its output channels, its channels, its input positions.
    written : list of int array
        The ids of the output channels of every call of a layer.
    sizes : dict of str to tuple
        For each layer its kind, input and output channels, groups and kernel.
    tensors : dict of str to LayerTensors or None
        For each layer and norm where its tensors live; None: in the module of its name.
    computed : set of str
        Layers whose weight is computed from a parameter, filter by filter.
    consumed : set of str
        Parameters that such weights are computed from.
    rows : dict of str to int array
        For each parameter that the forward pass computes with outside of any layer, the ids along its channels.
    constants : list of int array
        Channels that a padding made; each padding is one source.
    parts : list of (int array, int array)
        Ids and the part of a split that each went to; channels of different parts are never merged.
    blocks : list of (str, int array, int array)
        The same for the groups of a grouped convolution, which also keep equally many channels.
    calls : dict of str to list of tuple
        For each layer the output shapes of its calls.
    pixels : dict of str to int
        For each layer how often its kernel is applied, over its calls.
    fixed : dict of str to (int, tuple)
        Operations outside of layers that multiply (attention, matrix products): MACs and output shape.
    whole : dict of str to str
        Modules and parameters that cannot be followed, and why.
    aliases : dict of str to str
        Further names of tensors that several modules hold, and the first name of each.
    measured : dict of str to str
        Parameters of which the forward pass uses a width as a number, and where.
    """

    size: int = 0
    ties: list[tuple[IntArray, IntArray]] = field(default_factory=list)
    frozen: list[tuple[IntArray, str]] = field(default_factory=list)
    producers: dict[str, IntArray] = field(default_factory=dict)
    norms: dict[str, IntArray] = field(default_factory=dict)
    readers: dict[str, IntArray] = field(default_factory=dict)
    written: list[IntArray] = field(default_factory=list)
    constants: list[IntArray] = field(default_factory=list)
    parts: list[tuple[IntArray, IntArray]] = field(default_factory=list)
    blocks: list[tuple[str, IntArray, IntArray]] = field(default_factory=list)
    calls: dict[str, list[tuple[int, ...]]] = field(default_factory=dict)
    pixels: dict[str, int] = field(default_factory=dict)
    sizes: dict[str, tuple[str, int, int, int, tuple[int, ...]]] = field(default_factory=dict)
    tensors: dict[str, LayerTensors | None] = field(default_factory=dict)
    computed: set[str] = field(default_factory=set)
    consumed: set[str] = field(default_factory=set)
    rows: dict[str, IntArray] = field(default_factory=dict)
    fixed: dict[str, tuple[int, tuple[int, ...]]] = field(default_factory=dict)
    whole: dict[str, str] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    measured: dict[str, str] = field(default_factory=dict)

    def fresh(self, count: int) -> IntArray:
        """Return `count` ids that nobody has yet."""
        ids = np.arange(self.size, self.size + count)
        self.size += count
        return ids

    def freeze(self, ids: Ids | IntArray, reason: str) -> None:
        self.frozen.append((ids.channels if isinstance(ids, Ids) else ids, reason))

    def freeze_measured(self) -> None:
        """Freeze the layers of `measured`, once all of their calls are known."""
        for path, reason in self.measured.items():
            owners = {path, path.rpartition(".")[0]}
            for table in (self.producers, self.norms, self.readers, self.rows):
                for name in owners | {owner + WAY for owner in owners}:
                    if name in table:
                        self.freeze(table[name], reason)

    def tie(self, a: IntArray, b: IntArray) -> None:
        if a is not b:
            self.ties.append((a, b))

    def fresh_frozen(self, count: int, reason: str) -> IntArray:
        """Return `count` new ids that may never be merged."""
        ids = self.fresh(count)
        self.freeze(ids, reason)
        return ids

    def opaque(self, shape: tuple[int, ...], reason: str, dtype: torch.dtype | None = None) -> Ids:
        """Return an activation whose channels cannot be followed, on the first axis where they may differ."""
        shape = shape or (1,)
        wide = [d for d in (1, 0, *range(2, len(shape))) if d < len(shape) and shape[d] > 1]
        dim = wide[0] if wide else min(1, len(shape) - 1)
        known = None if dtype is None or dtype.is_floating_point else dtype
        return Ids(self.fresh_frozen(shape[dim], reason), dim, shape, dtype=known)

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
