"""Which tensors of a layer carry one entry per channel, and along which axis.

The one place that knows the memory layout of torch's layers; cluster, reconstruct and fold all read it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from pdc_core.graph.structure import ChannelGroup, LayerTensors, Slice

NORM_TENSORS = ("weight", "bias", "running_mean", "running_var")


class Scale(nn.Module):
    """A parameter that the forward pass computes with entry by entry, one entry per channel along `axis`."""

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis = axis


def layer_of(model: nn.Module, part: Slice) -> nn.Module:
    """Return the module of a producer, norm or reader.

    A layer that is called as a function gets a module that holds its very tensors: writing to them in place writes to
    the network. To replace a tensor, see `owners`.
    """
    if part.tensors is None:
        return model.get_submodule(part.module)
    return _module(part.tensors, {role: tensor_at(model, path) for role, path in part.tensors.paths})


def tensor_at(model: nn.Module, path: str) -> Tensor:
    """Return a parameter or buffer by its dotted name."""
    owner, _, name = path.rpartition(".")
    found = getattr(model.get_submodule(owner), name)
    assert isinstance(found, Tensor)
    return found


def aliases(model: nn.Module) -> dict[str, str]:
    """Return every further name of a parameter or buffer that goes by several -> its first name."""
    first: dict[int, str] = {}
    found: dict[str, str] = {}
    for named in (model.named_parameters(remove_duplicate=False), model.named_buffers(remove_duplicate=False)):
        for name, tensor in named:
            known = first.setdefault(id(tensor), name)
            if known != name:
                found[name] = known
    return found


def paths_of(module: nn.Module, part: Slice) -> dict[str, str]:
    """Return the dotted name of every tensor of a layer, for the module that `layer_of` gives."""
    if part.tensors is not None:
        return dict(part.tensors.paths)
    return {role: f"{part.module}.{role}" if part.module else role for role in output_axes(module)}


def owners(model: nn.Module, part: Slice) -> dict[str, tuple[nn.Module, str]]:
    """Return for every tensor of a layer (weight, bias, ...) the module that holds it, and its name there."""
    if part.tensors is None:
        module = model.get_submodule(part.module)
        return {role: (module, role) for role in output_axes(module)}
    split = {role: path.rpartition(".") for role, path in part.tensors.paths}
    return {role: (model.get_submodule(owner), name) for role, (owner, _, name) in split.items()}


_BASES: dict[tuple[str, int], type[Any]] = {
    ("conv", 1): nn.Conv1d, ("conv", 2): nn.Conv2d, ("conv", 3): nn.Conv3d,
    ("transposed", 1): nn.ConvTranspose1d, ("transposed", 2): nn.ConvTranspose2d, ("transposed", 3): nn.ConvTranspose3d,
}  # fmt: skip


def _module(tensors: LayerTensors, held: dict[str, Tensor]) -> nn.Module:
    """Return a module of torch's that holds some tensors."""
    weight, groups = held.get("weight"), tensors.groups
    module: nn.Module
    if not held:  # a blur, whose kernel is the same for all channels
        return Scale(0)
    if tensors.kind in ("conv", "transposed"):
        assert weight is not None
        wide, narrow = (1, 0) if tensors.kind == "transposed" else (0, 1)
        widths = weight.shape[wide], weight.shape[narrow] * groups
        if tensors.kind == "transposed":
            widths = weight.shape[1] * groups, weight.shape[0]
        base = _BASES[tensors.kind, weight.dim() - 2]
        module = base(widths[1], widths[0], tuple(weight.shape[2:]), groups=groups, device="meta")
    elif tensors.kind == "linear":
        assert weight is not None
        module = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
    elif tensors.kind == "prelu":
        module = nn.PReLU(next(iter(held.values())).shape[0], device="meta")
    elif tensors.kind == "scale":
        module = Scale(tensors.axis)
    else:
        module = nn.BatchNorm2d(next(iter(held.values())).shape[0], device="meta")
    for name in NORM_TENSORS:
        module._parameters.pop(name, None)
        module._buffers.pop(name, None)
        tensor = held.get(name)
        if isinstance(tensor, nn.Parameter) or tensor is None:
            module.register_parameter(name, tensor)
        else:
            module.register_buffer(name, tensor)
    return module.eval()


def output_axes(module: nn.Module) -> dict[str, int]:
    """Return tensor name -> axis of its channels, for a layer (weight, bias) or a norm (gamma, beta, mu, var)."""
    if isinstance(module, _ConvTransposeNd):
        axes = {"weight": 0 if module.groups > 1 else 1, "bias": 0}  # (in, out, kh, kw); depthwise (n, 1, kh, kw)
    elif isinstance(module, _ConvNd | nn.Linear):
        axes = {"weight": 0, "bias": 0}  # (out, in, kh, kw)
    elif isinstance(module, Scale):
        axes = {"weight": module.axis}
    else:
        axes = dict.fromkeys(NORM_TENSORS, 0)
    return {name: axis for name, axis in axes.items() if isinstance(getattr(module, name, None), Tensor)}


def input_axis(module: nn.Module) -> int:
    """Return the axis of a layer's weight that holds its input channels."""
    return 0 if isinstance(module, _ConvTransposeNd) else 1


def filters(module: nn.Module, channels: np.ndarray) -> Tensor:
    """Return the filters of some output channels, flattened: (n, in*kh*kw). A copy, without gradient."""
    if "weight" not in output_axes(module):  # a blur, whose kernel is the same for all channels
        return torch.zeros(len(channels), 0)
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
        module = layer_of(model, part)
        for name, axis in output_axes(module).items():
            is_filter = name == "weight" and any(part is p for p in group.producers)
            found.append(ChannelTensor(getattr(module, name).detach(), axis, part.channels, is_filter))
    return found
