"""What operations do to reaches: which of the values that enter an operation each of its outputs depends on.

A rule gets the operation, its arguments and its first output. In the arguments stands one side of a reach for each
tensor of floats; indices and numbers are as they were. A rule returns the reach of its outputs, one after another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

NOTHING = float("-inf")  # the reach of what depends on no pixel, such as padding or a weight
Args = tuple[Any, ...]
Kwargs = dict[str, Any]
Rule = Callable[[Any, Args, Kwargs, Tensor], Any]


def rule_of(func: Any) -> Rule | None:
    """Return the rule of an operation, None where there is none.

    Parameters
    ----------
    func : torch._ops.OpOverload
        An operation as torch dispatches it.
    """
    name = func._schema.name.removeprefix("aten::")
    rule = _RULES.get(name) or _RULES.get(name.rstrip("_"))
    return rule or (_pointwise if torch.Tag.pointwise in func.tags else None)


def _pointwise(func: Any, args: Args, kwargs: Kwargs, out: Tensor) -> Tensor:
    found = torch.full(out.shape, NOTHING)
    for x in tree_leaves((args, kwargs)):
        if isinstance(x, Tensor) and x.is_floating_point():
            found = torch.maximum(found, x)
    return found


def _first(func: Any, args: Args, kwargs: Kwargs, out: Tensor) -> Tensor:
    """Entry by entry from the first argument: copies, and norms by statistics that are known."""
    reach: Tensor = args[0]
    return reach


def _copied(func: Any, args: Args, kwargs: Kwargs, out: Tensor) -> Tensor:
    source: Tensor = args[1]
    return source.expand(out.shape).contiguous()


def _moved(func: Any, args: Args, kwargs: Kwargs, out: Tensor) -> Any:
    """Values change places only: the operation itself moves their reaches."""
    indices = [x for x in tree_leaves((args[1:], kwargs)) if isinstance(x, Tensor)]
    if func._schema.name.removeprefix("aten::") in _BY_INDEX and any(x.is_floating_point() for x in indices):
        return ()  # which value is taken depends on pixels too
    owned = tree_map(lambda x: x.contiguous().clone() if isinstance(x, Tensor) else x, (args, kwargs))
    return func(*owned[0], **owned[1])


def _padded(func: Any, args: Args, kwargs: Kwargs, out: Tensor) -> Tensor:
    return F.pad(args[0], args[1], value=NOTHING)


def _convolution(func: Any, args: Args, kwargs: Kwargs, out: Tensor) -> Any:
    x, weight, _, stride, padding, dilation, transposed, _, groups = args
    if transposed:
        return ()
    of_group = x.unflatten(1, (groups, -1)).amax(2)
    window = _windows(of_group, weight.shape[2:], stride, padding, dilation, False, out)
    return window.repeat_interleave(out.shape[1] // groups, dim=1)


def _max_pool(func: Any, args: Args, kwargs: Kwargs, out: Tensor) -> Any:
    x, kernel, stride, padding, dilation, ceil = _filled(func, args, kwargs)[:6]
    return _windows(x, kernel, stride or kernel, padding, dilation, ceil, out)


def _average_pool(func: Any, args: Args, kwargs: Kwargs, out: Tensor) -> Any:
    x, kernel, stride, padding, ceil = _filled(func, args, kwargs)[:5]
    return _windows(x, kernel, stride or kernel, padding, (1, 1), ceil, out)


def _filled(func: Any, args: Args, kwargs: Kwargs) -> list[Any]:
    """Return all arguments in their order, with defaults for those that are left out."""
    schema = func._schema.arguments
    return [*args, *(kwargs.get(a.name, a.default_value) for a in schema[len(args) :])]


def _windows(
    x: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    ceil: bool,
    out: Tensor,
) -> Any:
    """Return the largest reach in each window of a convolution or pooling in one or two dimensions."""
    dims = x.dim() - 2
    if dims not in (1, 2):
        return ()
    size, step, edge, apart = (list(each) * (dims // len(each)) for each in (kernel, stride, padding, dilation))
    if dims == 1:
        x, size, step, edge, apart = x[:, :, None], [1, *size], [1, *step], [0, *edge], [1, *apart]
    x = F.pad(x, (edge[1], edge[1], edge[0], edge[0]), value=NOTHING)
    found = F.max_pool2d(x, size, step, 0, apart, ceil)
    found = found if dims == 2 else found[:, :, 0]
    # Windows that would begin in the padding at the end are left out by torch.
    return found[..., : out.shape[-1]] if dims == 1 else found[..., : out.shape[-2], : out.shape[-1]]


def _adaptive_pool(func: Any, args: Args, kwargs: Kwargs, out: Tensor) -> Tensor:
    return F.adaptive_max_pool2d(args[0], args[1])


def _reduced(func: Any, args: Args, kwargs: Kwargs, out: Tensor) -> Tensor:
    given = {a.name: value for a, value in zip(func._schema.arguments, args, strict=False)} | kwargs
    dims = given.get("dim")
    if dims is None or dims == []:
        return args[0].amax().expand(out.shape).contiguous()
    found: Tensor = args[0].amax(dims, given.get("keepdim", False))
    return found


def _along_axis(func: Any, args: Args, kwargs: Kwargs, out: Tensor) -> Tensor:
    """Softmax and the like: each value depends on its whole row."""
    return args[0].amax(args[1], keepdim=True).expand(out.shape).contiguous()


def _layer_norm(func: Any, args: Args, kwargs: Kwargs, out: Tensor) -> Tensor:
    dims = list(range(-len(args[1]), 0))
    return args[0].amax(dims, keepdim=True).expand(out.shape).contiguous()


def _group_norm(func: Any, args: Args, kwargs: Kwargs, out: Tensor) -> Tensor:
    groups = _filled(func, args, kwargs)[6]
    rows = args[0].reshape(len(out), groups, -1)
    return rows.amax(2, keepdim=True).expand(rows.shape).reshape(out.shape)


def _product(func: Any, args: Args, kwargs: Kwargs, out: Tensor) -> Tensor:
    """Matrix products: an output depends on its row of the first matrix and its column of the second."""
    *added, a, b = args[: 3 if "add" in func._schema.name else 2]
    found = torch.full(out.shape, NOTHING)
    for x in (*added, *(m.amax(axis, keepdim=True) for m, axis in ((a, -1), (b, -2)) if any(m.stride()))):
        found = torch.maximum(found, x)
    return found


_MOVES = {
    "view", "_unsafe_view", "reshape", "_reshape_alias", "permute", "transpose", "t", "expand", "slice", "select",
    "unsqueeze", "squeeze", "cat", "stack", "split", "split_with_sizes", "chunk", "unbind", "flip", "roll", "repeat",
    "narrow", "diagonal", "unfold", "reflection_pad2d", "replication_pad2d", "pixel_shuffle", "pixel_unshuffle",
    "channel_shuffle", "native_channel_shuffle", "upsample_nearest2d",
}  # fmt: skip
_BY_INDEX = {"index", "index_select", "gather", "take_along_dim"}
_RULES: dict[str, Rule] = {
    **dict.fromkeys(("clone", "detach", "alias", "_to_copy", "lift_fresh"), _first),
    **dict.fromkeys(("native_batch_norm", "_native_batch_norm_legit_no_training", "_batch_norm_no_update"), _first),
    "copy": _copied,
    **dict.fromkeys(_MOVES | _BY_INDEX, _moved),
    "constant_pad_nd": _padded,
    **dict.fromkeys(("convolution", "_convolution"), _convolution),
    **dict.fromkeys(("max_pool2d", "max_pool2d_with_indices"), _max_pool),
    "avg_pool2d": _average_pool,
    **dict.fromkeys(
        ("_adaptive_avg_pool2d", "adaptive_avg_pool2d", "adaptive_max_pool2d", "mkldnn_adaptive_avg_pool2d"),
        _adaptive_pool,
    ),
    **dict.fromkeys(
        ("mean", "sum", "amax", "amin", "var", "std", "var_mean", "logsumexp", "linalg_vector_norm"), _reduced
    ),
    **dict.fromkeys(("_softmax", "_log_softmax"), _along_axis),
    "native_layer_norm": _layer_norm,
    "native_group_norm": _group_norm,
    **dict.fromkeys(("mm", "bmm", "addmm", "baddbmm"), _product),
    **dict.fromkeys(("hardswish", "_prelu_kernel"), _pointwise),  # without the mark of the others
}  # fmt: skip
