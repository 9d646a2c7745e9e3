"""Shapes without computing: operations and modules run on the meta device, with `Ids` in place of activations."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn
from torch.nn.modules.conv import _ConvNd
from torch.utils import _pytree as pytree

from pdc_core.graph.ids import Ids, Weight


def is_ids(value: Any) -> bool:
    """Return whether a value stands for an activation."""
    return isinstance(value, Ids)


def on_meta(value: Any) -> Any:
    """Return `value` with every `Ids` as an empty tensor of its shape on the meta device."""
    return pytree.tree_map(_empty, value, is_leaf=is_ids)


def _empty(value: Any) -> Any:
    if isinstance(value, Ids | Weight):
        return torch.empty(value.shape, device="meta", dtype=value.dtype if not is_floating(value.dtype) else None)
    return value


def is_floating(dtype: torch.dtype | None) -> bool:
    """Return whether a type is floating; None stands for one that is."""
    return dtype is None or dtype.is_floating_point


def wider(value: Any) -> Any:
    """Return `value` as `on_meta` does, with one channel more in every activation: sizes that differ are widths."""

    def one_more(v: Any) -> Any:
        if isinstance(v, Weight):
            return torch.empty([size + (size > 1) for size in v.shape], device="meta")
        if not is_ids(v):
            return v
        return torch.empty([size + (d == v.dim) for d, size in enumerate(v.shape)], device="meta")

    return pytree.tree_map(one_more, value, is_leaf=is_ids)


def doubled(value: Any) -> Any:
    """Return `value` as `on_meta` does, with twice the batch in every activation."""

    def twice(v: Any) -> Any:
        if not is_ids(v) or v.of_weight or not v.shape:
            return _empty(v)
        return _empty(replace(v, shape=tuple(size * (1 + (d == v.batch)) for d, size in enumerate(v.shape))))

    return pytree.tree_map(twice, value, is_leaf=is_ids)


def counted(run: Callable[[], Any]) -> tuple[Any, int]:
    """Return what a function gives, and the MACs that torch's counter sees in it."""
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    counter.mod_tracker = _AllModules()  # type: ignore[assignment]
    with counter, torch.no_grad():
        value = run()
    return value, counter.get_total_flops() // 2


class _AllModules:
    """What torch's counter asks for the module at work. Torch's own fails on views that are made without gradients."""

    parents = ("Global",)

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


def ids_in(value: Any) -> list[Ids]:
    """Return every `Ids` inside nested arguments, in order."""
    return [v for v in pytree.tree_leaves(value, is_leaf=is_ids) if is_ids(v)]


def batch_stays(name: str, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the arguments of a shape operation so that a batch of one image is not squeezed away as `squeeze()` does.

    Parameters
    ----------
    name : str
        The operation.
    args : tuple
        Its arguments; of another operation they stay.
    """
    if name not in ("squeeze", "squeeze_") or len(args) > 1 or not is_ids(args[0]) or args[0].of_weight:
        return args
    return args[0], tuple(d for d, size in enumerate(args[0].shape) if size == 1 and d != args[0].batch)


def apply(node: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run a function or method node on other arguments."""
    if node.op == "call_method":
        return getattr(args[0], str(node.target))(*args[1:], **kwargs)
    return _LIKE.get(node.target, node.target)(*args, **kwargs)  # type: ignore[operator]


# On the meta device, where only shapes count, an adaptive mean makes torch import its whole compiler: a second or more.
_LIKE: dict[Any, Callable[..., Any]] = {
    F.adaptive_avg_pool1d: F.adaptive_max_pool1d,
    F.adaptive_avg_pool2d: F.adaptive_max_pool2d,
    F.adaptive_avg_pool3d: F.adaptive_max_pool3d,
}
_LIKE_MODULES: dict[type[nn.Module], Callable[..., Any]] = {
    nn.AdaptiveAvgPool1d: F.adaptive_max_pool1d,
    nn.AdaptiveAvgPool2d: F.adaptive_max_pool2d,
    nn.AdaptiveAvgPool3d: F.adaptive_max_pool3d,
}


def module_on_meta(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run a copy of a module on the meta device, for the shape of what comes out; its weights are not copied or read.

    A copy, since other threads may be running the module itself at this moment.
    """
    if type(module) in _LIKE_MODULES:
        return _LIKE_MODULES[type(module)](*on_meta(args), output_size=module.output_size, **on_meta(kwargs))
    if not any(True for _ in (*module.parameters(), *module.buffers())):
        return module(*on_meta(args), **on_meta(kwargs))
    memo: dict[int, Any] = {}
    for p in module.parameters():
        memo[id(p)] = nn.Parameter(torch.empty(p.shape, device="meta"), requires_grad=False)
    for b in module.buffers():
        memo[id(b)] = torch.empty(b.shape, device="meta", dtype=None if b.is_floating_point() else b.dtype)
    return copy.deepcopy(module, memo)(*on_meta(args), **on_meta(kwargs))


def output_shape(name: str, conv: _ConvNd, x: Ids) -> tuple[int, ...]:
    """Return the shape of what a convolution makes, or raise with what does not fit, as torch would."""
    *outer, channels = x.shape[: -len(conv.kernel_size)]
    if len(outer) > 1 or channels != conv.in_channels:
        raise ValueError(f"{name} reads {conv.in_channels} channels, but an input of shape {x.shape} arrives")
    if isinstance(conv.padding, str) or conv.padding_mode != "zeros":
        around = [conv._reversed_padding_repeated_twice[2 * i : 2 * i + 2] for i in range(len(conv.kernel_size))][::-1]
    else:
        around = [[each, each] for each in conv.padding]
    pixels = []
    for i, size in enumerate(x.shape[-len(conv.kernel_size) :]):
        room = size + sum(around[i]) - conv.dilation[i] * (conv.kernel_size[i] - 1) - 1
        if room < 0:
            raise ValueError(f"the kernel {tuple(conv.kernel_size)} of {name} is larger than its input {x.shape}")
        pixels.append(room // conv.stride[i] + 1)
    return (*outer, conv.out_channels, *pixels)
