"""What every operation does to channel ids: one small rule each, and the walk that dispatches to them.

A rule gets the operation's arguments with `Ids` in place of activations, and returns what comes out. An operation
without a rule freezes what enters it and names itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.utils import _pytree as pytree

from pdc_core.graph.ids import Ids, TraceRecord, compact, in_order
from pdc_core.graph.operations import (
    ELEMENTWISE,
    MODULES_ELEMENTWISE,
    MODULES_SPATIAL,
    POOLING,
    PRODUCT,
    REDUCTIONS,
    SHAPE,
    SUM,
    operation,
)
from pdc_core.graph.shapes import apply, ids_in, is_ids, module_on_meta, on_meta, output_shape


class ChannelInterpreter:
    """The walk of ids through one program: dispatches nodes to rules and keeps the notes."""

    def __init__(self, root: nn.Module, residual: str) -> None:
        self.root, self.residual, self.notes = root, residual, TraceRecord()
        self.modules = dict(root.named_modules())
        self.sized: set[fx.Node] = set()  # nodes whose value derives from a tensor's size
        self.expanded: set[fx.Node] = set()  # sums whose operands `gather` expands
        self.node: fx.Node = None  # type: ignore[assignment]

    # -- dispatch ---------------------------------------------------------------------------------

    def run_node(self, node: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return what comes out of a node, given what enters it."""
        self.node = node
        if any(n in self.sized for n in node.all_input_nodes) and not ids_in((args, kwargs)):
            self.sized.add(node)
        if node.op == "call_module":
            return self.call_module(str(node.target), self.modules[str(node.target)], args, kwargs)
        name = operation(node)
        if not ids_in((args, kwargs)):  # arithmetic on sizes, tensors made from nothing
            return self.without_ids(node, args, kwargs)
        if self.scaled_by_size(node, name):
            for ids in ids_in((args, kwargs)):
                self.notes.freeze(ids, f"is combined with a tensor's size in {node.name}, which changes with the width")
        if name in ELEMENTWISE:
            return self.elementwise(args, kwargs)
        if name in SUM or name in PRODUCT:
            return self.combine(name, args, kwargs)
        if name in POOLING:
            return self.spatial(name, lambda: apply(node, on_meta(args), on_meta(kwargs)), args[0])
        if name == "pad":
            return self.pad(*args, **kwargs)
        if name in REDUCTIONS:
            return self.reduce(name, args, kwargs)
        if name in {"cat", "concat", "concatenate"}:
            return self.cat(args, kwargs)
        if name in SHAPE:
            return self.shape_operation(name, args, kwargs)
        return self.unknown(name, lambda: apply(node, on_meta(args), on_meta(kwargs)), args, kwargs)

    def call_module(self, name: str, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        run = lambda: module_on_meta(module, args, kwargs)  # noqa: E731
        if isinstance(module, MODULES_ELEMENTWISE) or (isinstance(module, nn.PReLU) and module.num_parameters == 1):
            return self.elementwise(args, kwargs)
        if isinstance(module, _ConvTransposeNd) and module.groups > 1:
            return self.unknown(name, run, args, kwargs, "a grouped transposed convolution")
        if isinstance(module, _ConvNd):
            shape = tuple(run().shape) if isinstance(module, _ConvTransposeNd) else output_shape(name, module, args[0])
            return self.convolution(name, module, shape, args[0])
        if isinstance(module, nn.Linear):
            return self.linear(name, module, args[0])
        if isinstance(module, _BatchNorm | _InstanceNorm | nn.PReLU):
            return self.norm(name, module, args[0])
        if isinstance(module, MODULES_SPATIAL):
            return self.spatial(name, run, args[0])
        if isinstance(module, nn.Flatten):
            return self.literal(lambda x: module(x), args, kwargs, f"{type(module).__name__} ({name})")
        why = "mixes channels" if isinstance(module, nn.GroupNorm | nn.LayerNorm | nn.LocalResponseNorm) else ""
        return self.unknown(name, run, args, kwargs, f"{type(module).__name__} {why}".strip())

    def without_ids(self, node: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        value = apply(node, args, kwargs)
        return self.notes.opaque(tuple(value.shape), "is a constant tensor") if isinstance(value, Tensor) else value

    def scaled_by_size(self, node: fx.Node, name: str) -> bool:
        return name not in SHAPE | {"pad"} | POOLING and any(n in self.sized for n in node.all_input_nodes)

    # -- layers that write and read channels -------------------------------------------------------

    def convolution(self, name: str, conv: _ConvNd, shape: tuple[int, ...], x: Ids) -> Ids:
        notes = self.notes
        dim = len(shape) - 1 - len(conv.kernel_size)
        read = x.at(dim)
        if read is None or dim == 0:
            notes.freeze(x, f"is read by {name} with its channels not where a convolution expects them")
            read = notes.fresh_frozen(conv.in_channels, "is read in another order")
        first_call = name not in notes.calls
        meets = (
            x.shape if isinstance(conv, _ConvTransposeNd) else shape
        )  # its kernel meets every input pixel, or makes every output pixel
        self.call(name, shape, int(np.prod(meets[dim + 1 :])))
        written = notes.fresh(conv.out_channels)
        if conv.groups > 1 and conv.groups == conv.in_channels == conv.out_channels:
            notes.tie(read, written)  # depthwise: filter i reads and writes channel i
        else:
            notes.once(notes.readers, name, read)
            if conv.groups > 1 and first_call:
                notes.blocks.append((name, read, np.arange(len(read)) // (len(read) // conv.groups)))
                notes.blocks.append((name, written, np.arange(len(written)) // (len(written) // conv.groups)))
        notes.once(notes.producers, name, written)
        return Ids(written, dim, shape)

    def call(self, name: str, shape: tuple[int, ...], pixels: int) -> None:
        """Note one call of a layer: the shape that comes out, and how often its kernel was applied."""
        self.notes.calls.setdefault(name, []).append(shape)
        self.notes.pixels[name] = self.notes.pixels.get(name, 0) + pixels

    def linear(self, name: str, linear: nn.Linear, x: Ids) -> Ids:
        notes, shape = self.notes, (*x.shape[:-1], linear.out_features)
        if x.shape[-1] != linear.in_features:
            raise ValueError(f"{name} reads {linear.in_features} features, but {x.shape[-1]} arrive")
        last = len(shape) - 1
        read = x.at(last)
        if read is None or last == 0:
            notes.freeze(x, f"is read by {name} along another axis than its channels")
            read = notes.fresh_frozen(x.shape[-1], "is read along another axis")
        self.call(name, shape, int(np.prod(shape[:-1])))
        notes.once(notes.readers, name, read)
        written = notes.once(notes.producers, name, notes.fresh(linear.out_features))
        return Ids(written, last, shape)

    def norm(self, name: str, norm: nn.Module, x: Ids) -> Ids:
        count = getattr(norm, "num_features", None) or norm.num_parameters
        read = x.at(1) if len(x.shape) > 1 else None
        if read is None or len(read) != count:
            self.notes.freeze(x, f"enters {name} with its channels not where a norm expects them")
            return self.notes.opaque(x.shape, f"comes out of {name}")
        self.notes.once(self.notes.norms, name, read)
        return Ids(read, 1, x.shape)

    # -- operations that keep channels apart --------------------------------------------------------

    def elementwise(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return ids_in((args, kwargs))[0]

    def spatial(self, name: str, run: Callable[[], Any], x: Ids) -> Any:
        value = run()
        if not isinstance(value, Tensor) or x.dim != 1 or value.dim() != len(x.shape) or value.shape[1] != x.shape[1]:
            return self.unknown(name, lambda: value, (x,), {})
        return x.reshaped(tuple(value.shape))

    def combine(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Sums and products of activations: channel p of one meets channel p of the other."""
        operands = ids_in((args, kwargs))
        shape = tuple(torch.broadcast_shapes(*(x.shape for x in operands)))
        moved = [Ids(x.channels, x.dim + len(shape) - len(x.shape), shape) for x in operands]
        if len(operands) == 1:
            return operands[0]
        wide = [m for m, x in zip(moved, operands, strict=True) if len(x.channels) > 1] or moved[:1]
        for m, x in zip(moved, operands, strict=True):
            if m.dim != wide[0].dim or len(m.channels) != len(wide[0].channels):
                self.notes.freeze(x, f"is broadcast over other channels in {self.node.name}")
        if any(m.dim != wide[0].dim for m in wide):
            for x in operands:
                self.notes.freeze(x, f"meets other axes in {self.node.name}")
            return self.notes.opaque(shape, "comes out of a broadcast")
        result = Ids(wide[0].channels, wide[0].dim, shape)
        if name in SUM and len(wide) > 1 and self.residual == "gather":
            self.expanded.add(self.node)
            trunk = self.notes.fresh_frozen(
                shape[result.dim], "is a sum: under `gather` the trunk keeps its full width"
            )
            return Ids(trunk, result.dim, shape)
        for m in wide[1:]:
            self.notes.tie(wide[0].channels, m.channels)
        if name in SUM and len(wide) > 1 and self.residual == "internal":
            self.notes.freeze(result, "its channels are added to others (a residual sum): `internal` leaves them whole")
        return result

    def reduce(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Means and the like over pixels keep channels apart; over channels they mix them."""
        x = args[0]
        value = apply(self.node, on_meta(args), on_meta(kwargs))
        named = kwargs.get("dim", kwargs.get("axis", args[1] if len(args) > 1 else None))
        dims = range(len(x.shape)) if named is None else [named] if isinstance(named, int) else list(named)
        over = {d % len(x.shape) for d in dims}
        if x.dim in over or 0 in over:
            return self.unknown(f"{name} over channels", lambda: value, args, kwargs)
        keep = value.dim() == len(x.shape)
        return Ids(x.channels, x.dim if keep else x.dim - sum(d < x.dim for d in over), tuple(value.shape))

    # -- operations on the shape, executed literally on the ids --------------------------------------

    def pad(self, x: Ids, pad: Any, mode: str = "constant", value: float | None = None) -> Any:
        shape = tuple(F.pad(torch.empty(x.shape, device="meta"), pad, mode, value).shape)
        place = 2 * (len(x.shape) - 1 - x.dim)
        front, back = (pad[place], pad[place + 1]) if place + 1 < len(pad) else (0, 0)
        if front == 0 and back == 0:
            return x.reshaped(shape)
        if mode != "constant" or front < 0 or back < 0 or shape[0] != x.shape[0]:
            return self.unknown(
                f"pad of channels in mode {mode!r}", lambda: torch.empty(shape, device="meta"), (x,), {}
            )
        made = self.notes.fresh(front + back)
        self.notes.constants.append(made)
        return Ids(np.concatenate([made[:front], x.channels, made[front:]]), x.dim, shape)

    def cat(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        tensors = list(args[0] if args else kwargs["tensors"])
        shape = tuple(
            torch.cat(
                [on_meta(x) for x in tensors], *args[1:], **{k: v for k, v in kwargs.items() if k != "tensors"}
            ).shape
        )
        dim = kwargs.get("dim", args[1] if len(args) > 1 else 0) % len(shape)
        parts = [x.at(dim) for x in tensors]
        if all(p is not None for p in parts) and dim > 0:
            return Ids(np.concatenate([p for p in parts if p is not None]), dim, shape)
        if dim != tensors[0].dim and all(
            np.array_equal(x.channels, tensors[0].channels) and x.dim == tensors[0].dim for x in tensors
        ):
            return Ids(tensors[0].channels, tensors[0].dim, shape)
        return self.unknown("cat of unlike channels", lambda: torch.empty(shape, device="meta"), (tensors,), {})

    def shape_operation(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if name in {"size", "dim", "ndimension", "getattr"}:
            value = apply(self.node, on_meta(args), kwargs)
            if name in {"size", "getattr"}:
                self.sized.add(self.node)
            if isinstance(value, Tensor):  # x.T and the like
                return self.unknown(f"attribute {args[1]}", lambda: value, args, kwargs)
            return value
        if name == "getitem" and not isinstance(args[0], Ids):
            return args[0][args[1]]
        picks = args[1] if name == "getitem" and isinstance(args[1], tuple) else args[1:2] if name == "getitem" else ()
        if any(not isinstance(i, slice | int | type(None) | type(Ellipsis)) for i in picks):
            return self.unknown(
                "indexing by a list or tensor", lambda: apply(self.node, on_meta(args), kwargs), args, kwargs
            )
        # ids are expanded tensors, which `view` may refuse where the real activation does not: reshape is the same here
        run = (lambda x, *a, **k: x.reshape(*a, **k)) if name == "view" else (lambda *a, **k: apply(self.node, a, k))
        return self.literal(run, args, kwargs, f"{name} ({self.node.name})")

    def literal(self, run: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], what: str) -> Any:
        """Execute a shape operation on the ids themselves; freeze what it splits over several axes."""
        sources = ids_in((args, kwargs))
        tensors = pytree.tree_map(lambda v: v.literal() if is_ids(v) else v, (args, kwargs), is_leaf=is_ids)
        value = run(*tensors[0], **tensors[1])
        outputs = [compact(v) for v in pytree.tree_leaves(value)]
        if any(ids is None for ids in outputs):
            for x in sources:
                self.notes.freeze(x, f"its channels are split over several axes by {what}")
            outputs = [
                ids or self.notes.opaque(tuple(v.shape), f"comes out of {what}")
                for ids, v in zip(outputs, pytree.tree_leaves(value), strict=True)
            ]
        elif len(sources) == 1:
            self.separate(sources[0], [ids for ids in outputs if ids is not None], what)
        _, spec = pytree.tree_flatten(value)
        return pytree.tree_unflatten(outputs, spec)

    def separate(self, x: Ids, parts: list[Ids], what: str) -> None:
        """Note which part each channel went to, so that no cluster reaches across a split."""
        if all(np.array_equal(in_order(p.channels), in_order(x.channels)) for p in parts):
            return
        part = np.zeros(len(x.channels), dtype=np.int64)
        for i, p in enumerate(parts):
            where = np.flatnonzero(np.isin(x.channels, p.channels))
            contiguous = len(where) and np.array_equal(where, np.arange(where[0], where[-1] + 1))
            inner = len(p.shape) == len(x.shape) and p.dim == x.dim
            if not contiguous or not inner or part[where].any() or not np.array_equal(x.channels[where], p.channels):
                self.notes.freeze(x, f"single channels are picked from it by {what}")
                return
            part[where] = i + 1
            if len(parts) == 1:
                part[where[-1] + 1 :] = 2
        self.notes.parts.append((x.channels, part))

    # -- everything else ------------------------------------------------------------------------------

    def unknown(self, name: str, run: Callable[[], Any], args: Any, kwargs: Any, what: str = "") -> Any:
        reason = f"enters {name} ({what})" if what else f"enters {name}, which PDC cannot follow"
        for x in ids_in((args, kwargs)):
            self.notes.freeze(x, reason)
        fresh = lambda v: self.notes.opaque(tuple(v.shape), f"comes out of {name}") if isinstance(v, Tensor) else v  # noqa: E731
        return pytree.tree_map(fresh, run())
