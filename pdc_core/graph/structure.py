"""What a trace is made of: channel groups, the layers they narrow, and the graph that holds both.

Plain, frozen data. `tracing` writes it; plan, cost, cluster, reconstruct and fold read it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, fx

from pdc_core.errors import PDCError
from pdc_core.graph.reach import Blocked, Reach

RESIDUALS = ("internal", "shared", "gather")
_OUTPUT = "is the network's output"


@dataclass(frozen=True)
class LayerTensors:
    """Where the tensors of a layer live that is called as a function, such as ``F.conv2d(x, self.w)``.

    Attributes
    ----------
    kind : {"conv", "transposed", "linear", "norm", "prelu", "scale"}
        What is done with them; "scale" is a tensor that the forward pass itself computes with, entry by entry.
    paths : tuple of (str, str)
        The role of each tensor ("weight", "bias", "running_mean", "running_var") and its dotted name.
    groups : int, default 1
        Groups of a convolution.
    axis : int, default 0
        For "scale": the axis of the channels.
    """

    kind: str
    paths: tuple[tuple[str, str], ...]
    groups: int = 1
    axis: int = 0


@dataclass(frozen=True, eq=False)
class Slice:
    """The part of one module that belongs to a channel group.

    Attributes
    ----------
    module : str
        Dotted name of the module inside the network, or, for a layer that is called as a function with tensors of its
        own, of its weight.
    channels : int array, shape (n,) or (n, m)
        For producers and norms (n,): channel i of the group is channel ``channels[i]`` of the module. For readers
        (n, m): channel i is read at the m input positions ``channels[i]`` (m = h*w for a linear layer after a flatten,
        else usually 1).
    tensors : LayerTensors, optional
        Where the tensors live, for a layer that no module of torch stands for.
    """

    module: str
    channels: NDArray[np.int64]
    tensors: LayerTensors | None = None

    def __repr__(self) -> str:
        c = self.channels.reshape(-1)
        whole = len(c) and np.array_equal(c, np.arange(c[0], c[0] + len(c)))
        return f"{self.module}[{c[0]}:{c[-1] + 1}]" if whole else f"{self.module}[{len(c)} channels]"


@dataclass(frozen=True, eq=False)
class ChannelGroup:
    """All channels that must share one labelling, because a sum, a product or a depthwise convolution ties them.

    Attributes
    ----------
    name : str
        Name of the first producer, with a suffix where one layer is split over groups.
    size : int
        n, the number of channels.
    producers, norms, readers : tuple of Slice
        What writes these channels, normalises them, reads them.
    frozen : str or None
        Why no channel of this group may be merged; None where they may be.
    block : int array, shape (n,)
        Filters are merged only within a block, and every block keeps equally many (the groups of a grouped
        convolution); all zero where there is one block.
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
    """One convolution or linear layer, and what narrows it; or another operation that multiplies, at a fixed price.

    Attributes
    ----------
    name : str
        Dotted name of the layer.
    kind : {"conv", "linear", "fixed"}
        "fixed" stands for matrix products and attention: their cost does not change with a plan.
    in_channels, out_channels, groups : int
        Its widths.
    kernel : tuple of int
        Size of its kernel; (1,) for linear layers.
    positions : int
        Output pixels of one example, summed over the calls of the layer. For "fixed" the MACs.
    bias : bool
        Whether it has a bias that is a parameter of its own.
    output : tuple of int
        Shape of its first output for one example, channels first.
    narrows_out, narrows_in : tuple of (int, int)
        Index of a group, and channels of this layer per channel of that group.
    learned : bool
        Whether its weight is a parameter; the kernel of a blur is not.
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
    learned: bool = True

    @property
    def depthwise(self) -> bool:
        return self.groups > 1 and self.groups == self.in_channels == self.out_channels

    def size(self, out_channels: int, in_channels: int) -> tuple[int, int]:
        """Return the MACs of one example and the parameters of this layer at other widths.

        Parameters
        ----------
        out_channels, in_channels : int
            Channels that it writes and reads, at least 1 each.
        """
        if self.kind == "fixed":
            return self.positions, 0
        per_filter = math.prod(self.kernel) * (1 if self.depthwise else in_channels // self.groups)
        params = out_channels * (per_filter * int(self.learned) + int(self.bias))
        return self.positions * out_channels * per_filter, params

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
    functional : bool
        Whether it computes with parameters outside of torch's own modules; then the network's forward pass may name
        widths that no module holds, and is traced again after a fold to see whether it still fits.
    sizes : tuple of int, optional
        (c, h, w) of the example, where the forward pass could only be followed at that size.
    constants : dict of str to Tensor
        Tensors that the forward pass makes from nothing.
    inputs : dict
        What the traced module was given, by name (`calls.bound`), with tensors on the meta device.
    rows : dict of str to Ids
        Channels of the parameters that the forward pass computes with outside of layers.
    kernels : frozenset of fx.Node
        Expansions of one kernel to all channels, as in a blur.
    """

    graph: fx.Graph
    values: dict[fx.Node, Any]
    classes: NDArray[np.int64]
    group: NDArray[np.int64]
    position: NDArray[np.int64]
    expanded: frozenset[fx.Node]
    functional: bool = False
    sizes: tuple[int, ...] | None = None
    constants: dict[str, Tensor] = field(default_factory=dict)
    inputs: Mapping[str, Any] = field(default_factory=dict)
    rows: dict[str, Any] = field(default_factory=dict)
    kernels: frozenset[fx.Node] = frozenset()


@dataclass(frozen=True, eq=False)
class ChannelGraph:
    """The channel groups of a network under one residual treatment. Made by `trace`, reused by every plan.

    Attributes
    ----------
    groups : tuple of ChannelGroup
        Every group with at least one producer, in the order of the forward pass, frozen ones included.
    residual : {"internal", "shared", "gather"}
        What happens where channels are summed.
    layers : tuple of Layer
        Convolutions, linear layers and whatever else multiplies, in the order of the forward pass.
    params : int
        Parameters of the whole network.
    norm_params : tuple of int
        For each group, learnable norm parameters per channel.
    input_shape : tuple of int
        (c, h, w) of the example.
    program : Program
        The traced forward pass.
    whole : dict of str to str
        Modules and parameters that cannot be followed, and why; their neighbours are frozen.
    inside : str, optional
        The submodule within which channels are clustered, where that is not the whole network.
    """

    groups: tuple[ChannelGroup, ...]
    residual: str
    layers: tuple[Layer, ...]
    params: int
    norm_params: tuple[int, ...]
    input_shape: tuple[int, ...]
    program: Program = field(repr=False)
    whole: dict[str, str] = field(default_factory=dict)
    inside: str = ""

    @cached_property
    def clusterable(self) -> tuple[ChannelGroup, ...]:
        """The groups whose filters may be merged."""
        return tuple(g for g in self.groups if g.frozen is None)

    def group(self, name: str) -> ChannelGroup:
        """Return the group of that name.

        Parameters
        ----------
        name : str
            As `groups` has it: usually the first layer that writes the group's channels.

        Raises
        ------
        PDCError
            There is no such group; the message lists some that exist.
        """
        for g in self.groups:
            if g.name == name:
                return g
        known = ", ".join(g.name for g in self.clusterable[:6])
        raise PDCError(f"There is no channel group {name!r} in this network. Groups that can be clustered: {known} ...")

    def reach(self) -> Reach:
        """Return how much of the network a plan can reach at most, and what blocks the rest.

        Examples
        --------
        >>> import torch, pdc_core as pdc
        >>> net = torch.nn.Sequential(torch.nn.Conv2d(1, 8, 3), torch.nn.GroupNorm(2, 8), torch.nn.Conv2d(8, 4, 3))
        >>> print(pdc.trace(net.eval(), torch.zeros(1, 1, 8, 8)).reach())
        No filters can be merged. Blocked: 8 filters whose group enters 1 (GroupNorm mixes channels).
        """
        hidden = [g for g in self.groups if g.frozen != _OUTPUT]
        free = sum(g.size for g in hidden if g.frozen is None)
        gone = [0 if g.frozen else g.size - g.blocks for g in self.groups]
        total = least = 0
        for layer in self.layers:
            out = layer.out_channels - sum(m * gone[g] for g, m in layer.narrows_out)
            into = layer.in_channels - sum(m * gone[g] for g, m in layer.narrows_in)
            total, least = total + layer.macs, least + layer.size(out, into)[0]
        reasons: dict[str, list[ChannelGroup]] = {}
        for g in hidden:
            if g.frozen:
                reasons.setdefault(g.frozen, []).append(g)
        blocked = [Blocked(why, sum(g.size for g in own), tuple(g.name for g in own)) for why, own in reasons.items()]
        blocked.sort(key=lambda b: -b.filters)
        filters = sum(g.size for g in hidden)
        return Reach(free / filters if filters else 0.0, 1 - least / total if total else 0.0, tuple(blocked))

    def __iter__(self) -> Iterator[ChannelGroup]:
        return iter(self.groups)

    def __repr__(self) -> str:
        free = f"{len(self.clusterable)} of {len(self.groups)} groups clusterable"
        return f"ChannelGraph({free}, residual={self.residual!r})"
