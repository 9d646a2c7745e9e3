"""What the forward pass itself must change when channels go: literal sizes, and the index expansions of `gather`.

Each shape operation is executed literally on the ids that stay. Where that already gives what is expected, the
network's own forward pass is kept; otherwise the operation's numbers are replaced and it is executed again. Nothing is
taken on trust.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from pdc_core.errors import PDCError
from pdc_core.folding.again import still_computes
from pdc_core.graph import ChannelGraph
from pdc_core.graph.ids import Ids, Weight
from pdc_core.graph.layers import FUNCTIONS
from pdc_core.graph.operations import SHAPE, operation
from pdc_core.graph.shapes import apply, ids_in, is_ids, on_meta
from pdc_core.graph.structure import Program
from pdc_core.graph.tensors import tensor_at


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


class Gather(nn.Module):
    """Expand unique channels to full width before a sum: channel i of the output is channel index[i] of the input.

    Parameters
    ----------
    index : (n,) int64, values 0..k-1; saved with the weights.
    dim : axis of the channels.
    """

    index: Tensor

    def __init__(self, index: Tensor, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.register_buffer("index", index)

    def forward(self, x: Tensor) -> Tensor:
        return x.index_select(self.dim, self.index)

    def extra_repr(self) -> str:
        unique = int(self.index.max()) + 1 if self.index.device.type != "meta" else "?"
        return f"{unique} -> {len(self.index)}, dim={self.dim}"


def rewrite(model: nn.Module, graph: ChannelGraph, survivors: Survivors) -> nn.Module:
    """Return the network itself, or a GraphModule of it where its forward pass has to change."""
    program = graph.program
    changes = _changes(model, program, survivors)
    expansions = {
        (node, operand): index
        for node in program.graph.nodes
        if node in program.expanded
        for operand in node.all_input_nodes
        if (index := _expansion(program.values[operand], program.classes, survivors)) is not None
    }
    careful = program.functional or program.sizes is not None
    if not changes and not expansions and not careful:
        return model
    new = fx.Graph()
    copied: dict[fx.Node, fx.Node] = {}
    for node in program.graph.nodes:
        made = copied[node] = new.node_copy(node, copied.__getitem__)
        if node in changes:
            target, args, kwargs = changes[node]
            made.target = target
            made.args, made.kwargs = fx.node.map_arg((args, kwargs), copied.__getitem__)
    if careful and not expansions and still_computes(model, new, program, graph):
        return model
    if program.sizes is not None:
        _fix_size(model, new, program.sizes)
    earlier = sum(isinstance(m, Gather) for m in model.children())  # of a network that was folded before
    for number, ((node, operand), index) in enumerate(expansions.items(), start=earlier):
        name = f"gather_{number}"
        model.add_module(name, Gather(torch.as_tensor(index, device=_device(model)), program.values[operand].dim))
        with new.inserting_before(copied[node]):
            expanded = new.call_module(name, (copied[operand],))
        copied[node].replace_input_with(copied[operand], expanded)
    for name, value in program.constants.items():
        model.register_buffer(name, value, persistent=False)
    new.lint()
    rewritten = fx.GraphModule(model, new, type(model).__name__)
    for name, child in model.named_children():  # also what this forward pass does not use, such as auxiliary heads
        rewritten.add_module(name, child)
    for name, parameter in model.named_parameters(recurse=False):
        rewritten.register_parameter(name, parameter)
    for name, buffer in model.named_buffers(recurse=False):
        rewritten.register_buffer(name, buffer, persistent=name not in model._non_persistent_buffers_set)
    return rewritten.train(model.training)


class FixedSize(nn.Module):
    """Let inputs of one size pass: a forward pass that could only be traced at that size holds for no other.

    Parameters
    ----------
    sizes : tuple of int
        (c, h, w) of an input.
    """

    def __init__(self, sizes: tuple[int, ...]) -> None:
        super().__init__()
        self.sizes = sizes

    def forward(self, x: Tensor) -> Tensor:
        if tuple(x.shape[1:]) != self.sizes:
            raise PDCError(
                f"This folded network takes inputs of shape {self.sizes}, not {tuple(x.shape[1:])}: its forward pass "
                "depends on the size. Trace and fold it again at the other size."
            )
        return x

    def extra_repr(self) -> str:
        return " x ".join(map(str, self.sizes))


def _fix_size(model: nn.Module, program: fx.Graph, sizes: tuple[int, ...]) -> None:
    if any(isinstance(m, FixedSize) for m in model.children()):
        return
    model.add_module("fixed_size", FixedSize(sizes))
    entry = next(node for node in program.nodes if node.op == "placeholder")
    with program.inserting_after(entry):
        checked = program.call_module("fixed_size", (entry,))
    entry.replace_all_uses_with(checked, delete_user_cb=lambda user: user is not checked)


def _device(model: nn.Module) -> torch.device:
    return next((p.device for p in model.parameters()), torch.device("cpu"))


def _stays(ids: Ids, classes: np.ndarray, survivors: Survivors) -> np.ndarray:
    """Return which entries along the channel axis of an activation stay, as a mask."""
    return survivors.stays[classes[ids.channels]]


def _expansion(ids: Any, classes: np.ndarray, survivors: Survivors) -> np.ndarray | None:
    """Return the index that expands an activation's unique channels to full width, None if all its channels stay."""
    if not isinstance(ids, Ids) or _stays(ids, classes, survivors).all():
        return None
    own = classes[ids.channels]
    place = {c: i for i, c in enumerate(own[survivors.stays[own]])}
    return np.array([place[c] for c in survivors.stands_for[own]], dtype=np.int64)


# -- literal sizes -----------------------------------------------------------------------------------------

Call = tuple[Any, tuple[Any, ...], dict[str, Any]]  # target, args, kwargs


def _changes(model: nn.Module, program: Program, survivors: Survivors) -> dict[fx.Node, Call]:
    """Execute the program's shape operations on the ids that stay; return new calls for those that no longer fit."""
    values = {node: program.rows.get(v.path, v) if isinstance(v, Weight) else v for node, v in program.values.items()}

    def narrowed(value: Any) -> Any:
        if isinstance(value, Weight):
            return replace(value, shape=tuple(tensor_at(model, value.path).shape))
        if not isinstance(value, Ids):
            return value
        stay = _stays(value, program.classes, survivors)
        if (value.dim and value.at(0) is not None) or stay.all():  # constant along every axis, or nothing goes
            shape, channels = list(value.shape), value.channels
        else:
            shape, channels = list(value.shape), value.channels[stay]
        shape[value.dim] = len(channels)
        return replace(value, channels=channels, shape=tuple(shape))

    changes: dict[fx.Node, Call] = {}
    now: dict[fx.Node, Any] = {}
    for node in program.graph.nodes:
        value = values[node]
        expected = pytree.tree_map(narrowed, value, is_leaf=is_ids)
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), now.__getitem__)
        if node.op in ("call_function", "call_method") and not ids_in(expected) and ids_in((args, kwargs)):
            now[node] = apply(node, on_meta(args), on_meta(kwargs))  # a size
            continue
        if node.op in ("call_function", "call_method") and not ids_in((args, kwargs)) and not ids_in(expected):
            now[node] = apply(node, args, kwargs)  # arithmetic on sizes
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
    literal_args, literal_kwargs = pytree.tree_map(
        lambda v: v.literal().contiguous() if is_ids(v) else v, (args, kwargs), is_leaf=is_ids
    )
    if operation(node) == "pad":  # what it fills in has ids of its own, which no literal execution can make
        return _pads(*literal_args, **literal_kwargs, expected=expected, inner=args[0])
    if target == "view":  # see interpreter.py: ids lie in memory otherwise than activations
        target = "reshape"
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
        target, name = "reshape" if node.op == "call_method" else torch.reshape, "reshape"
        sizes = [s if d else -1 for d, s in enumerate(expected.shape)]
        new_args, new_kwargs = (first, tuple(sizes)), {}
    elif name in ("view", "reshape", "expand"):
        nested = len(node.args) == 2 and isinstance(node.args[1], list | tuple)
        sizes = list(node.args[1] if nested else node.args[1:])  # type: ignore[arg-type]
        fitted = [
            s if not isinstance(s, int) or s == -1 else wanted for s, wanted in zip(sizes, expected.shape, strict=False)
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
    elif name == "squeeze" and len(node.args) == 1:
        new_args = (first, tuple(d for d, size in enumerate(x.shape) if size == 1 and d != x.dim))
    called, named = fx.node.map_arg((new_args, new_kwargs), now.__getitem__)
    if _gives(node, target, called, named, expected, program.classes):
        return target, new_args, new_kwargs
    raise PDCError(
        f"The forward pass cannot be narrowed at {node.name} ({name}): leave the groups that pass through it whole, "
        "and please report this network."
    )


def _interval(node: fx.Node, program: Program, survivors: Survivors) -> tuple[int, int]:
    """Return (start, length) of a part's channels within those that stay of the whole."""
    whole, part = program.values[node.all_input_nodes[0]], program.values[node]
    if isinstance(whole, Weight):
        whole = program.rows[whole.path]
    where = np.flatnonzero(np.isin(whole.channels, part.channels))
    stays = _stays(whole, program.classes, survivors)
    return int(stays[: where[0]].sum()), int(stays[where].sum())


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
