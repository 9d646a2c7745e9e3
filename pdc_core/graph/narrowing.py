"""Which calls of the forward pass must change when channels go: literal sizes, groups of convolutions.

Each shape operation is executed literally on the ids that stay. Where that already gives what is expected, the call is
kept; otherwise its numbers are replaced and it is executed again. Nothing is taken on trust.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from pdc_core.errors import PDCError
from pdc_core.graph.ids import Ids, Weight
from pdc_core.graph.layers import FUNCTIONS
from pdc_core.graph.operations import SHAPE, operation
from pdc_core.graph.shapes import apply, batch_stays, ids_in, is_ids, on_meta
from pdc_core.graph.structure import ChannelGroup, Program


class CannotNarrow(PDCError):
    """A call for which no numbers give the channels that stay."""

    def __init__(self, node: fx.Node, text: str) -> None:
        super().__init__(text)
        self.node = node


@dataclass(frozen=True)
class Survivors:
    """Which channels of the program stay, and which one stands for each.

    Attributes
    ----------
    stays : bool array
        For every class of ids, whether it stays.
    stands_for : int array
        For every class, the class that stays for it.
    """

    stays: np.ndarray
    stands_for: np.ndarray


def first_members(labels: np.ndarray) -> np.ndarray:
    """Return the first member of every cluster.

    Parameters
    ----------
    labels : array of int, shape (n,)
        Labels 0..k-1; no cluster is empty.

    Returns
    -------
    array of int64, shape (k,)
        Positions in `labels`, one per cluster.

    Examples
    --------
    >>> first_members(np.array([0, 1, 0, 2, 1]))
    array([0, 1, 3])
    """
    first = np.empty(int(labels.max()) + 1, dtype=np.int64)
    first[labels[::-1]] = np.arange(len(labels))[::-1]
    return first


def survivors_of(program: Program, groups: Sequence[ChannelGroup], labels: Mapping[str, np.ndarray]) -> Survivors:
    """Return which channels stay under canonical labels {group name: (n,)}."""
    count = len(program.group)
    stays, stands_for = np.ones(count, dtype=bool), np.arange(count)
    for g, group in enumerate(groups):
        if group.name not in labels:
            continue
        a = labels[group.name]
        members = np.flatnonzero(program.group == g)
        members = members[np.argsort(program.position[members])]
        stands_for[members] = members[first_members(a)[a]]
        stays[members] = stands_for[members] == members
    return Survivors(stays, stands_for)


def stays_of(ids: Ids, classes: np.ndarray, survivors: Survivors) -> np.ndarray:
    """Return which entries along the channel axis of an activation stay, as a mask."""
    return survivors.stays[classes[ids.channels]]


Call = tuple[Any, tuple[Any, ...], dict[str, Any]]  # target, args, kwargs


def changed_calls(program: Program, survivors: Survivors, shapes: dict[str, tuple[int, ...]]) -> dict[fx.Node, Call]:
    """Execute the program's shape operations on the ids that stay; return new calls for those that no longer fit."""
    values = {node: program.rows.get(v.path, v) if isinstance(v, Weight) else v for node, v in program.values.items()}

    def narrowed(value: Any) -> Any:
        if isinstance(value, Weight):
            return replace(value, shape=shapes.get(value.path, value.shape))
        if not isinstance(value, Ids):
            return value
        stay = stays_of(value, program.classes, survivors)
        if (value.dim and value.at(0) is not None) or stay.all():  # constant along every axis, or nothing goes
            shape, channels = list(value.shape), value.channels
        else:
            shape, channels = list(value.shape), value.channels[stay]
        shape[value.dim] = len(channels)
        return replace(value, channels=channels, shape=tuple(shape))

    changes: dict[fx.Node, Call] = {}
    now: dict[fx.Node, Any] = {}
    failing: fx.Node | None = None  # an assertion on sizes that the narrowed network would not hold
    for node in program.graph.nodes:
        value = values[node]
        if operation(node) == "setitem":  # of whole channels (see `TensorRules.assign`)
            now[node] = None
            continue
        expected = pytree.tree_map(narrowed, value, is_leaf=is_ids)
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), now.__getitem__)
        if node.op in ("call_function", "call_method") and not ids_in(expected) and ids_in((args, kwargs)):
            now[node] = apply(node, on_meta(args), on_meta(kwargs))  # a size
            continue
        if node.op in ("call_function", "call_method") and not ids_in((args, kwargs)) and not ids_in(expected):
            try:
                now[node] = apply(node, on_meta(args), on_meta(kwargs))  # arithmetic on sizes
            except AssertionError:
                now[node], failing = None, node
            continue
        now[node] = expected
        if node in program.kernels:  # of a blur, expanded to as many channels as there are: see its convolution
            continue
        before = fx.node.map_arg((node.args, node.kwargs), values.__getitem__)
        if node.op == "call_function" and node.target in FUNCTIONS:
            if (call := _regrouped(node, args, kwargs, before[0][0], expected)) is not None:
                changes[node] = call
            for kernel in node.all_input_nodes:
                if kernel in program.kernels and (wider := _expanded(kernel, now, len(expected.channels))):
                    changes[kernel] = wider
            continue
        if node.op not in ("call_function", "call_method") or operation(node) not in SHAPE | {"pad"}:
            continue  # a module may be called «pad» or «split» too
        picks_a_part = operation(node) == "getitem" and not isinstance(args[0], Ids)
        if picks_a_part or _untouched((args, kwargs, expected), (*before, value)):
            continue
        if not _gives(node, node.target, args, kwargs, expected, program.classes):
            changes[node] = _changed(node, args, kwargs, expected, now, program, survivors)
    if failing is not None:
        raise CannotNarrow(failing, f"The forward pass asserts widths that a narrower network has not, at {failing}.")
    return changes


def _untouched(now: Any, before: Any) -> bool:
    """Return whether a call gets and gives what it did before the fold: the same widths, the same sizes."""
    plain = lambda v: v.shape if is_ids(v) else v  # noqa: E731
    leaves = [[plain(v) for v in pytree.tree_leaves(value, is_leaf=is_ids)] for value in (now, before)]
    return leaves[0] == leaves[1]


def _regrouped(node: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any], before: Any, expected: Any) -> Call | None:
    """Return a depthwise convolution's call with its number of groups replaced, None where that need not be."""
    kind, names = FUNCTIONS[node.target]
    if kind != "conv" or not isinstance(before, Ids) or not isinstance(expected, Ids):
        return None
    place = names.index("groups")
    groups = args[place] if len(args) > place else kwargs.get("groups", 1)
    width = len(expected.channels)
    if groups == 1 or before.shape[expected.dim] == expected.shape[expected.dim]:
        return None
    if groups != before.shape[expected.dim] or groups == width:  # no depthwise convolution, or it fits already
        return None
    if len(args) > place:
        return node.target, (*node.args[:place], width, *node.args[place + 1 :]), dict(node.kwargs)
    return node.target, node.args, {**node.kwargs, "groups": width}


def _expanded(kernel: fx.Node, now: dict[fx.Node, Any], width: int) -> Call | None:
    """Return the call that expands a kernel to `width` channels, None where it does."""
    first, *sizes = kernel.args
    nested = len(sizes) == 1 and isinstance(sizes[0], list | tuple)
    inner = list(sizes[0] if nested else sizes)  # type: ignore[arg-type]
    if fx.node.map_arg(inner[0], now.__getitem__) == width:
        return None
    return kernel.target, (first, (width, *inner[1:])) if nested else (first, width, *inner[1:]), {}


def _gives(node: fx.Node, target: Any, args: Any, kwargs: Any, expected: Any, classes: np.ndarray) -> bool:
    """Return whether the call makes exactly the expected channels out of those that stay."""
    args = args if kwargs else batch_stays(operation(node), args)
    literal_args, literal_kwargs = pytree.tree_map(
        lambda v: v.literal().contiguous() if is_ids(v) else v, (args, kwargs), is_leaf=is_ids
    )
    if operation(node) == "pad":  # what it fills in has ids of its own, which no literal execution can make
        return _pads(*literal_args, **literal_kwargs, expected=expected, inner=args[0])
    if target in ("view", "view_as"):  # see tensor_rules.py: ids lie in memory otherwise than activations
        target = target.replace("view", "reshape")
    try:
        made = (
            getattr(literal_args[0], target)(*literal_args[1:], **literal_kwargs)
            if node.op == "call_method"
            else target(*literal_args, **literal_kwargs)
        )
    except (RuntimeError, IndexError, TypeError):
        return False
    made_leaves, wanted = pytree.tree_leaves(made), pytree.tree_leaves(expected, is_leaf=is_ids)
    of = torch.from_numpy(classes)
    return len(made_leaves) == len(wanted) and all(
        m.shape == w.shape and bool((of[m] == of[w.literal()]).all()) for m, w in zip(made_leaves, wanted, strict=True)
    )


def _pads(
    ids: Tensor, pad: Any, mode: str = "constant", value: float | None = None, *, expected: Ids, inner: Ids
) -> bool:
    """Return whether padding gives the expected channels, with -1 for those that it fills in."""
    if mode != "constant":  # which never pads channels (see interpreter.py)
        place = 2 * (ids.dim() - 1 - inner.dim)
        return not any(pad[place : place + 2]) and np.array_equal(expected.channels, inner.channels)
    made = F.pad(ids, pad, mode, -1)
    known = np.where(np.isin(expected.channels, inner.channels), expected.channels, -1)
    return made.shape == expected.shape and bool((made.amax(dim=_others(made, expected.dim)).numpy() == known).all())


def _others(t: Tensor, dim: int) -> tuple[int, ...]:
    return tuple(d for d in range(t.dim()) if d != dim)


def _changed(
    node: fx.Node,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    expected: Any,
    now: dict[fx.Node, Any],
    program: Program,
    survivors: Survivors,
) -> Call:
    """Return the call with its literal numbers replaced so that it makes the expected channels."""
    name, x = operation(node), args[0]
    first = node.args[0]
    target, new_args, new_kwargs = node.target, node.args, dict(node.kwargs)
    if name == "unflatten":
        dim, sizes = [*args[1:], *(kwargs[key] for key in ("dim", "sizes") if key in kwargs)]
        dim %= len(x.shape)
        new_args, new_kwargs = (first, dim, expected.shape[dim : dim + len(sizes)]), {}
    elif name in ("view", "reshape", "expand", "broadcast_to"):
        nested = len(node.args) == 2 and isinstance(node.args[1], list | tuple)
        sizes = list(node.args[1] if nested else node.args[1:])  # type: ignore[arg-type]
        given = fx.node.map_arg(sizes, now.__getitem__)
        fitted = [  # a size that the forward pass computes stays, unless it is the width of another tensor
            s if s == -1 or (not isinstance(s, int) and (d == 0 or value in (-1, wanted))) else wanted
            for d, (s, value, wanted) in enumerate(zip(sizes, given, expected.shape, strict=False))
        ]
        new_args = (first, tuple(fitted)) if nested else (first, *fitted)
    elif name == "pad":
        pad = list(kwargs.get("pad", args[1] if len(args) > 1 else []))
        place = 2 * (len(x.shape) - 1 - x.dim)
        inner = np.flatnonzero(np.isin(expected.channels, x.channels))
        pad[place : place + 2] = int(inner[0]), len(expected.channels) - 1 - int(inner[-1])
        new_kwargs.pop("pad", None)
        new_args = (first, pad, *node.args[2:])
    elif name in ("chunk", "split", "split_with_sizes", "tensor_split"):
        sizes = [len(part.channels) for part in expected]
        target = "split" if node.op == "call_method" else torch.split
        new_args, new_kwargs = (first, sizes, x.dim), {}
    elif name == "narrow":
        start, length = _interval(node, program, survivors)
        new_args, new_kwargs = (first, x.dim, start, length), {}
    elif name == "getitem":
        picks = list(node.args[1]) if isinstance(node.args[1], tuple) else [node.args[1]]
        place = _place_of_axis(picks, x.dim, len(x.shape))
        start, length = _interval(node, program, survivors)
        picks[place] = slice(start, start + length)
        new_args = (first, tuple(picks))
    elif name in ("squeeze", "squeeze_") and len(node.args) == 1:
        kept = {x.dim} if x.of_weight else {x.batch, x.dim}
        new_args = (first, tuple(d for d, size in enumerate(x.shape) if size == 1 and d not in kept))
    called, named = fx.node.map_arg((new_args, new_kwargs), now.__getitem__)
    if _gives(node, target, called, named, expected, program.classes):
        return target, new_args, new_kwargs
    raise CannotNarrow(
        node,
        f"The forward pass cannot be narrowed at {node.name} ({name}): leave the groups that pass through it whole, "
        "and please report this network.",
    )


def _interval(node: fx.Node, program: Program, survivors: Survivors) -> tuple[int, int]:
    """Return (start, length) of a part's channels within those that stay of the whole."""
    whole = program.values[node.all_input_nodes[0]]
    if isinstance(whole, Weight):
        whole = program.rows[whole.path]
    places = replace(whole, channels=np.arange(len(whole.channels))).literal()  # a channel may be there twice
    args, kwargs = fx.node.map_arg((node.args, node.kwargs), program.values.__getitem__)
    where = np.unique(apply(node, (places, *args[1:]), kwargs).numpy())
    stays = stays_of(whole, program.classes, survivors)
    return int(stays[: where[0]].sum()) if len(where) else 0, int(stays[where].sum())


def _place_of_axis(picks: list[Any], axis: int, dims: int) -> int:
    """Return which index of x[picks] selects along `axis`."""
    used = sum(p is not None and p is not Ellipsis for p in picks)
    at = 0
    for i, p in enumerate(picks):
        if p is Ellipsis:
            at += dims - used
        elif p is not None:
            if at == axis:
                return i
            at += 1
    raise PDCError("An index that does not name the channel axis cannot be narrowed.")
