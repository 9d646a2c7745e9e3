"""What operations between layers do to channel ids: one small rule each.

A rule gets the operation's arguments with `Ids` in place of activations, and returns what comes out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from pdc_core.graph.axes import AxisRules
from pdc_core.graph.ids import Ids, TraceRecord, compact, in_order, varying, widest
from pdc_core.graph.operations import SUM, operation
from pdc_core.graph.shapes import apply, batch_stays, ids_in, is_ids, on_meta

_STACKED = {"hstack": 1, "dstack": 2}  # along which axis


class TensorRules(AxisRules):
    """Sums, products, and whatever changes shapes. The interpreter of the whole program builds on it."""

    notes: TraceRecord
    residual: str
    node: fx.Node
    values: dict[fx.Node, Any]
    expanded: set[fx.Node]
    rearranged: bool

    # -- operations that keep channels apart --------------------------------------------------------

    def elementwise(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        x = ids_in((args, kwargs))[0]
        types = [v for v in (*args, *kwargs.values()) if isinstance(v, torch.dtype)]
        if operation(self.node) in {"float", "double", "half", "bfloat16"}:
            return replace(x, dtype=None)
        return replace(x, dtype=None if types[0].is_floating_point else types[0]) if types else x

    def spatial(self, kind: str, run: Callable[[], Any], x: Ids) -> Any:
        """Pooling and padding of pixels. Of a tensor with one axis less, torch would take the channels for pixels."""
        value, pixels = run(), int("".join(c for c in kind.partition("_with")[0] if c.isdigit()) or len(x.shape) - 2)
        made = pytree.tree_leaves(value)
        apart = x.dim == 1 and len(x.shape) == pixels + 2 and all(isinstance(v, Tensor) for v in made)
        if not apart or any(v.shape[:2] != x.shape[:2] or v.dim() != pixels + 2 for v in made):
            return self.unknown(kind, lambda: value, (x,), {}, "on another axis")
        return pytree.tree_map(x.like, value)

    def unpool(self, name: str, run: Callable[[], Tensor], x: Ids, places: Ids) -> Any:
        """What was pooled goes back to its places, channel by channel."""
        if (x.dim, x.shape) != (places.dim, places.shape):
            return self.unknown(name, run, (x, places), {}, "with other places")
        self.notes.tie(x.channels, places.channels)
        return self.spatial(name, run, x)

    def sample(self, run: Callable[[], Tensor], x: Ids, grid: Any) -> Any:
        """Interpolation at the places of a grid, the same for all channels."""
        for ids in ids_in(grid):
            self.notes.freeze(ids, f"says where {self.node.name} looks")
        return self.spatial("grid_sample", run, x)

    def combine(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Sums and products of activations: channel p of one meets channel p of the other."""
        operands = ids_in((args, kwargs))
        shape = tuple(torch.broadcast_shapes(*(x.shape for x in operands)))
        of_weight = all(x.of_weight for x in operands)
        moved = [Ids(x.channels, x.dim + len(shape) - len(x.shape), shape, x.of_weight) for x in operands]
        if len(operands) == 1:
            return operands[0]
        wide = [m for m, x in zip(moved, operands, strict=True) if len(x.channels) > 1] or moved[:1]
        wide.sort(key=lambda m: m.of_weight)  # activations first
        own = {id(m): (1,) * (len(shape) - len(x.shape)) + x.shape for m, x in zip(moved, operands, strict=True)}
        for main in wide:  # a map of pixels is the same for all channels, so that it does not matter what it varies by
            if all(m.dim == main.dim or own[id(m)][main.dim] == 1 for m in wide):
                wide = [m for m in wide if m.dim == main.dim]
                break
        for m, x in zip(moved, operands, strict=True):
            if m.dim != wide[0].dim or len(m.channels) != len(wide[0].channels):
                self.notes.freeze(x, f"is broadcast over other channels in {self.node.name}")
        if any(m.dim != wide[0].dim for m in wide):
            for x in operands:
                self.notes.freeze(x, f"meets other axes in {self.node.name}")
            return self.notes.opaque(shape, "comes out of a broadcast")
        types = {x.dtype for x in operands}
        dtype = None if "div" in name or len(types) > 1 else types.pop()
        result = Ids(wide[0].channels, wide[0].dim, shape, of_weight, dtype)
        summed = [m for m in wide if not m.of_weight and m.channels is not wide[0].channels]
        added = name in SUM and not wide[0].of_weight and len(summed) > 0
        if added and self.residual == "gather":
            self.expanded.add(self.node)
            for m in wide:
                if m.of_weight:
                    self.notes.freeze(m, f"is a parameter that is added to a sum in {self.node.name}")
            trunk = self.notes.fresh_frozen(
                shape[result.dim], "is a sum: under `gather` the trunk keeps its full width"
            )
            return Ids(trunk, result.dim, shape)
        for m in wide[1:]:
            self.notes.tie(wide[0].channels, m.channels)
        if added and self.residual == "internal":
            self.notes.freeze(result, "is added to others in a residual sum, which `internal` leaves whole")
        return result

    def glu(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A gate: the first half of the channels times the sigmoid of the second."""
        x, shape = args[0], tuple(apply(self.node, on_meta(args), on_meta(kwargs)).shape)
        if kwargs.get("dim", args[1] if len(args) > 1 else -1) % len(shape) != x.dim:
            return x.reshaped(shape)
        halves = tuple(Ids(channels, x.dim, shape) for channels in np.split(x.channels, 2))
        self.separate(x, [replace(x, channels=h.channels, shape=shape) for h in halves], f"glu ({self.node.name})")
        return self.combine("mul", halves, {})

    def repeated(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Ids:
        """Windows side by side: every channel becomes as many as a window has pixels."""
        x, shape = args[0], tuple(apply(self.node, on_meta(args), on_meta(kwargs)).shape)
        return Ids(np.repeat(x.channels, shape[1] // len(x.channels)), 1, shape)

    def shuffle(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Pixel and channel shuffles. Channels that end up at one place of several are tied: they go together."""
        x, shape = args[0], tuple(apply(self.node, on_meta(args), on_meta(kwargs)).shape)
        if name == "pixel_unshuffle":
            return Ids(np.repeat(x.channels, shape[1] // len(x.channels)), 1, shape)
        if name == "pixel_shuffle":
            same = x.channels.reshape(shape[1], -1).T
            result = same[0]
        else:
            groups = args[1] if len(args) > 1 else kwargs["groups"]
            same = x.channels.reshape(groups, -1)
            result = np.repeat(same[0], groups)
        for other in same[1:]:
            self.notes.tie(same[0], other)
        self.rearranged = True
        return Ids(result, 1, shape)

    def assign(self, x: Any, index: Any, value: Any) -> None:
        """`x[index] = value`: of all channels or, by a mask, of each for itself; anything else freezes them."""
        masks, values = ids_in(index), ids_in(value)
        if isinstance(x, Ids) and not values:
            if not masks and self.takes_all_channels(x, index):
                return
            if masks and index is masks[0] and (index.shape, index.dim) == (x.shape, x.dim):  # as torch.where
                self.notes.tie(x.channels, index.channels)
                return
        for ids in (*ids_in(x), *values, *masks):
            self.notes.freeze(ids, f"is assigned to, or assigned, channel by channel in {self.node.name}")

    @staticmethod
    def takes_all_channels(x: Ids, index: Any) -> bool:
        """Return whether an index of slices and numbers keeps the whole channel axis."""
        picks = list(index) if isinstance(index, tuple) else [index]
        if any(not isinstance(i, slice | int | type(Ellipsis)) for i in picks):
            return False
        if Ellipsis in picks:
            at = picks.index(Ellipsis)
            picks[at : at + 1] = [slice(None)] * (len(x.shape) - len(picks) + 1)
        return x.dim >= len(picks) or picks[x.dim] == slice(None)

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
        shape = tuple(apply(self.node, on_meta(args), on_meta(kwargs)).shape)
        dim = kwargs.get("dim", args[1] if len(args) > 1 else _STACKED.get(operation(self.node), 0)) % len(shape)
        tensors = [x for x in tensors if 0 not in x.shape] or tensors[:1]
        if any(len(x.shape) != len(shape) for x in tensors):  # of which hstack or dstack make others first
            return self.unknown("cat of other axes", lambda: torch.empty(shape, device="meta"), (tensors,), {})
        batch = next((x.batch for x in tensors if not x.of_weight), 0)
        if dim != batch and self.side_by_side(tensors, dim):  # channel i of each goes together
            for x in tensors[1:]:
                self.notes.tie(tensors[0].channels, x.channels)
            return Ids(tensors[0].channels, tensors[0].dim, shape)
        tensors = [self.as_one_channel(x, dim) for x in tensors]
        parts = [x.at(dim) for x in tensors]
        if all(p is not None for p in parts) and dim != batch:
            return Ids(np.concatenate([p for p in parts if p is not None]), dim, shape)
        if dim != tensors[0].dim and all(
            np.array_equal(x.channels, tensors[0].channels) and x.dim == tensors[0].dim for x in tensors
        ):
            return Ids(tensors[0].channels, tensors[0].dim, shape)
        return self.unknown("cat of unlike channels", lambda: torch.empty(shape, device="meta"), (tensors,), {})

    def stack(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Tensors side by side along a new axis: channel i of each goes together."""
        tensors = list(args[0] if args else kwargs["tensors"])
        if any(not isinstance(x, Ids) or x.shape != tensors[0].shape or x.of_weight for x in tensors):
            return self.shape_operation("stack", args, kwargs)
        shape = tuple(apply(self.node, on_meta(args), on_meta(kwargs)).shape)
        dim = kwargs.get("dim", args[1] if len(args) > 1 else 0) % len(shape)
        first = tensors[0]
        if any(x.dim != first.dim or not self.is_width(x, x.dim) for x in tensors):
            return self.shape_operation("stack", args, kwargs)
        for x in tensors[1:]:
            self.notes.tie(first.channels, x.channels)
        return replace(first, dim=first.dim + (dim <= first.dim), shape=shape)

    def side_by_side(self, tensors: list[Ids], dim: int) -> bool:
        """Return whether all tensors have as many channels of layers along the same axis, another than `dim`."""
        first = tensors[0]
        alike = all(x.dim == first.dim != dim and len(x.channels) == len(first.channels) for x in tensors)
        return alike and all(self.is_width(x, x.dim) for x in tensors)

    def as_one_channel(self, x: Ids, dim: int) -> Ids:
        """Return a map of pixels, such as coordinates or a mean over channels, as one channel along `dim`.

        What else it varies by is frozen, as most such maps are already.
        """
        if dim == x.batch or x.shape[dim] != 1 or x.at(dim) is not None:
            return x
        self.notes.freeze(x, f"is one channel of {self.node.name}")
        one = replace(x, channels=self.notes.fresh_frozen(1, "is a map of pixels"), dim=dim)
        for node in self.node.all_input_nodes:
            if self.values[node] is x:
                self.values[node] = one
        return one

    def shape_operation(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if name == "getitem" and not isinstance(args[0], Ids):
            return args[0][args[1]]
        picks = args[1] if name == "getitem" and isinstance(args[1], tuple) else args[1:2] if name == "getitem" else ()
        lists = [i for i in picks if isinstance(i, list)]
        plain = (slice, int, type(None), type(Ellipsis), list)
        if len(lists) > 1 or any(not isinstance(j, plain) for j in (*picks, *lists[:1])):
            return self.unknown(
                "indexing by a list or tensor", lambda: apply(self.node, on_meta(args), kwargs), args, kwargs
            )
        # ids are expanded tensors, which `view` may refuse where the real activation does not: reshape is the same here
        args = args if kwargs else batch_stays(name, args)
        flat = {"view": "reshape", "view_as": "reshape_as"}.get(name)
        run = (lambda x, *a, **k: getattr(x, flat)(*a, **k)) if flat else (lambda *a, **k: apply(self.node, a, k))
        return self.literal(run, args, kwargs, f"{name} ({self.node.name})")

    def literal(self, run: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], what: str) -> Any:
        """Execute a shape operation on the ids themselves; freeze what it splits over several axes."""
        sources = ids_in((args, kwargs))
        of_weight = all(x.of_weight for x in sources)
        tensors = pytree.tree_map(lambda v: v.literal() if is_ids(v) else v, (args, kwargs), is_leaf=is_ids)
        value = run(*tensors[0], **tensors[1])
        leaves, spec = pytree.tree_flatten(value)
        types = {x.dtype for x in sources}
        dtype = types.pop() if len(types) == 1 else None
        found = [compact(v, of_weight) if v.numel() else self.empty(tuple(v.shape), sources) for v in leaves]
        outputs = [ids and replace(ids, dtype=dtype) for ids in found]
        if any(ids is None for ids in outputs):
            outputs = [
                ids or self.split_over_axes(v, sources, of_weight, what) for ids, v in zip(outputs, leaves, strict=True)
            ]
        elif len(sources) == 1:
            self.separate(sources[0], [ids for ids in outputs if ids is not None and 0 not in ids.shape], what)
        return pytree.tree_unflatten(outputs, spec)

    def empty(self, shape: tuple[int, ...], sources: list[Ids]) -> Ids:
        """Return a part without values, `x[:, :, :0]`: as wide as `x` on its channel axis, or without channels."""
        x = sources[0]
        if len(sources) == 1 and len(shape) == len(x.shape) and shape[x.dim] in (0, len(x.channels)):
            return replace(x, channels=x.channels[: shape[x.dim]], shape=shape)
        return self.notes.opaque(shape, "is empty")

    def split_over_axes(self, literal: Tensor, sources: list[Ids], of_weight: bool, what: str) -> Ids:
        """Follow channels that are split over several axes, as by a channel shuffle, along the widest of them."""
        along = varying(literal)
        if literal.dim() == 0 or of_weight or 0 in along or self.picks(literal, sources):
            for x in sources:
                self.notes.freeze(x, f"is split over several axes by {what}")
            return self.notes.opaque(tuple(literal.shape), f"comes out of {what}")
        self.rearranged = True
        ids, (a, b) = widest(literal)
        self.notes.tie(a, b)
        return ids

    def picks(self, literal: Tensor, sources: list[Ids]) -> bool:
        """Return whether some channels of the sources are left out, so that the split is no mere view."""
        return not np.isin(np.concatenate([x.channels for x in sources]), literal.numpy()).all()

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
                self.notes.freeze(x, f"has single channels picked from it by {what}")
                return
            part[where] = i + 1
            if len(parts) == 1:
                part[where[-1] + 1 :] = 2
        self.notes.parts.append((x.channels, part))
