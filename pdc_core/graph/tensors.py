"""Which tensors of a module carry one entry per channel, and along which axis.

The one place that knows the memory layout of torch's layers; cluster, reconstruct and fold all read it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from pdc_core.graph.structure import ChannelGroup

NORM_TENSORS = ("weight", "bias", "running_mean", "running_var")


def output_axes(module: nn.Module) -> dict[str, int]:
    """Return tensor name -> axis of its channels, for a layer (weight, bias) or a norm (gamma, beta, mu, var)."""
    if isinstance(module, _ConvTransposeNd):
        axes = {"weight": 1, "bias": 0}  # (in, out, kh, kw)
    elif isinstance(module, _ConvNd | nn.Linear):
        axes = {"weight": 0, "bias": 0}  # (out, in, kh, kw)
    else:
        axes = dict.fromkeys(NORM_TENSORS, 0)
    return {name: axis for name, axis in axes.items() if isinstance(getattr(module, name, None), Tensor)}


def input_axis(module: nn.Module) -> int:
    """Return the axis of a layer's weight that holds its input channels."""
    return 0 if isinstance(module, _ConvTransposeNd) else 1


def filters(module: nn.Module, channels: np.ndarray) -> Tensor:
    """Return the filters of some output channels, flattened: (n, in*kh*kw). A copy, without gradient."""
    weight = module.weight.detach()  # type: ignore[operator]
    axis = output_axes(module)["weight"]
    index = torch.from_numpy(channels).to(weight.device)
    return weight.index_select(axis, index).movedim(axis, 0).flatten(1)


@dataclass(frozen=True, eq=False)
class ChannelTensor:
    """A tensor with one entry per channel of a group: shares memory with the module, carries no gradient."""

    tensor: Tensor
    axis: int
    channels: np.ndarray
    is_filter: bool

    @property
    def width(self) -> int:
        """Numbers per channel."""
        return self.tensor.numel() // self.tensor.shape[self.axis]


def channel_tensors(model: nn.Module, group: ChannelGroup) -> list[ChannelTensor]:
    """Return every tensor that must be tied so that two channels of the group compute the same."""
    found = []
    for part in (*group.producers, *group.norms):
        module = model.get_submodule(part.module)
        for name, axis in output_axes(module).items():
            is_filter = name == "weight" and any(part is p for p in group.producers)
            found.append(ChannelTensor(getattr(module, name).detach(), axis, part.channels, is_filter))
    return found
