"""What a trace is made of: channel groups, the layers they narrow, and the graph that holds both.

Plain, frozen data. `tracing` writes it; plan, cost, cluster, reconstruct and fold read it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import fx

from pdc_core.errors import PDCError

RESIDUALS = ("internal", "shared", "gather")


@dataclass(frozen=True, eq=False)
class Slice:
    """The part of one module that belongs to a channel group.

    Attributes
    ----------
    module : dotted name of the module inside the network.
    channels : for producers and norms int array (n,): channel i of the group is channel ``channels[i]`` of the module.
        For readers int array (n, m): channel i is read at the m input positions ``channels[i]`` (m = h*w for a
        linear layer after a flatten, else usually 1).
    """

    module: str
    channels: NDArray[np.int64]

    def __repr__(self) -> str:
        c = self.channels.reshape(-1)
        whole = len(c) and np.array_equal(c, np.arange(c[0], c[0] + len(c)))
        return f"{self.module}[{c[0]}:{c[-1] + 1}]" if whole else f"{self.module}[{len(c)} channels]"


@dataclass(frozen=True, eq=False)
class ChannelGroup:
    """All channels that must share one labelling, because a sum, a product or a depthwise convolution ties them.

    Attributes
    ----------
    name : the first producer's module name (with a suffix where one layer is split over groups).
    size : n, the number of channels.
    producers, norms, readers : who writes these channels, normalises them, reads them.
    frozen : None, or the reason why no channel of this group may be merged.
    block : int array (n,): filters are merged only within a block and every block keeps equally many
        (the groups of a grouped convolution); all zero where there is one block.
    """

    name: str
    size: int
    producers: tuple[Slice, ...]
    norms: tuple[Slice, ...]
    readers: tuple[Slice, ...]
    frozen: str | None = None
    block: NDArray[np.int64] = None  # type: ignore[assignment]  # all zero unless given

    def __post_init__(self) -> None:
        if self.block is None:
            object.__setattr__(self, "block", np.zeros(self.size, dtype=np.int64))

    @cached_property
    def blocks(self) -> int:
        """Number of blocks; a plan's count is a multiple of it."""
        return int(self.block.max()) + 1 if self.size else 1

    def details(self) -> str:
        """Return who forces whom, one line per layer: what writes, normalises and reads these channels, and why.

        Examples
        --------
        >>> import torch, pdc_core as pdc
        >>> net = torch.nn.Sequential(torch.nn.Conv2d(1, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.Conv2d(8, 4, 3))
        >>> print(pdc.trace(net.eval(), torch.zeros(1, 1, 8, 8)).groups[0].details())
        0: 8 channels, can be clustered
          written by    0[0:8]
          normalised by 1[0:8]
          read by       2[0:8]
        """
        lines = [
            f"{self.name}: {self.size} channels, " + (f"frozen: {self.frozen}" if self.frozen else "can be clustered")
        ]
        for role, parts in (
            ("written by   ", self.producers),
            ("normalised by", self.norms),
            ("read by      ", self.readers),
        ):
            lines += [f"  {role} {part}" for part in parts]
        if len(self.producers) > 1:
            lines.append(
                "  tied: all of these producers get the same labels, because their channels meet in a sum or product"
            )
            lines[-1] += " or pass through a depthwise convolution"
        if self.blocks > 1:
            each = self.size // self.blocks
            lines.append(f"  {self.blocks} blocks of {each} channels (grouped convolution): each keeps equally many")
        return "\n".join(lines)

    def __repr__(self) -> str:
        state = f"frozen: {self.frozen}" if self.frozen else f"{len(self.producers)} producers"
        return f"ChannelGroup({self.name}, n={self.size}, {state})"


@dataclass(frozen=True)
class Layer:
    """One convolution or linear layer, and what narrows it.

    Attributes
    ----------
    positions : output pixels of one example, summed over the calls of the layer.
    narrows_out, narrows_in : pairs (index of a group, channels of this layer per channel of that group).
    """

    name: str
    kind: str
    in_channels: int
    out_channels: int
    groups: int
    kernel: tuple[int, ...]
    positions: int
    bias: bool
    output: tuple[int, ...]
    narrows_out: tuple[tuple[int, int], ...] = ()
    narrows_in: tuple[tuple[int, int], ...] = ()

    @property
    def depthwise(self) -> bool:
        return self.groups > 1 and self.groups == self.in_channels == self.out_channels

    def size(self, out_channels: int, in_channels: int) -> tuple[int, int]:
        """MACs of one example and parameters of this layer at other widths."""
        per_filter = math.prod(self.kernel) * (1 if self.depthwise else in_channels // self.groups)
        return self.positions * out_channels * per_filter, out_channels * (per_filter + int(self.bias))

    @cached_property
    def macs(self) -> int:
        return self.size(self.out_channels, self.in_channels)[0]

    @cached_property
    def params(self) -> int:
        return self.size(self.out_channels, self.in_channels)[1]


@dataclass(frozen=True, eq=False)
class Program:
    """The traced forward pass with the channels of every activation, for `fold`.

    Attributes
    ----------
    graph : fx.Graph
        The torch.fx program.
    values : dict of fx.Node to Any
        What each node returns, with `Ids` for activations (`classes` gives the class of an id).
    classes : int array
        The class of each id; ids of one class are tied.
    group, position : int array
        For each class the index of its group (-1: none) and its place in that group.
    expanded : frozenset of fx.Node
        Sums whose operands `gather` expands to full width.
    """

    graph: fx.Graph
    values: dict[fx.Node, Any]
    classes: NDArray[np.int64]
    group: NDArray[np.int64]
    position: NDArray[np.int64]
    expanded: frozenset[fx.Node]


@dataclass(frozen=True, eq=False)
class ChannelGraph:
    """The channel groups of a network under one residual treatment. Made by `trace`, reused by every plan.

    Attributes
    ----------
    groups : every group with at least one producer, in the order of the forward pass, frozen ones included.
    residual : "internal", "shared" or "gather": what happens where channels are summed.
    layers : convolutions and linear layers in the order of the forward pass.
    params : parameters of the whole network.
    norm_params : per group, learnable norm parameters per channel.
    input_shape : (c, h, w) of the example.
    """

    groups: tuple[ChannelGroup, ...]
    residual: str
    layers: tuple[Layer, ...]
    params: int
    norm_params: tuple[int, ...]
    input_shape: tuple[int, ...]
    program: Program = field(repr=False)

    @cached_property
    def clusterable(self) -> tuple[ChannelGroup, ...]:
        """The groups whose filters may be merged."""
        return tuple(g for g in self.groups if g.frozen is None)

    def group(self, name: str) -> ChannelGroup:
        """Return the group of that name, or raise with the names that exist."""
        for g in self.groups:
            if g.name == name:
                return g
        known = ", ".join(g.name for g in self.clusterable[:6])
        raise PDCError(f"There is no channel group {name!r} in this network. Groups that can be clustered: {known} ...")

    def __iter__(self) -> Iterator[ChannelGroup]:
        return iter(self.groups)

    def __repr__(self) -> str:
        free = f"{len(self.clusterable)} of {len(self.groups)} groups clusterable"
        return f"ChannelGraph({free}, residual={self.residual!r})"
