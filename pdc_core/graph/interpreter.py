"""What every operation does to channel ids: one small rule each, and the interpreter that dispatches to them.

A rule gets the operation's arguments with `Ids` in place of activations, and returns what comes out. An operation
without a rule freezes what enters it and names itself. Methods are named as those of `torch.fx.Interpreter`.
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

from pdc_core.graph.ids import WAY, Ids, TraceRecord, Weight, compact, in_order, varying, widest
from pdc_core.graph.layers import FUNCTIONS, LayerRules
from pdc_core.graph.operations import (
    ELEMENTWISE,
    MODULES_ELEMENTWISE,
    MODULES_SPATIAL,
    POOLING,
    PRODUCT,
    REDUCTIONS,
    SHAPE,
    SIZES,
    SUM,
    UNCHANGED,
    operation,
)
from pdc_core.graph.shapes import apply, counted, ids_in, is_ids, module_on_meta, on_meta, output_shape, wider


class ChannelInterpreter(LayerRules):
    """Runs a program on channel ids: dispatches nodes to rules and keeps the record.

    Parameters
    ----------
    root : nn.Module
        The network.
    residual : {"internal", "shared", "gather"}
        What happens where channels are summed.
    inputs : tuple of tensors
        One example, tensor by tensor; only shapes are used.
    """

    def __init__(self, root: nn.Module, residual: str, inputs: tuple[Any, ...]) -> None:
        self.root, self.residual, self.notes = root, residual, TraceRecord()
        self.inputs = list(inputs)
        self.modules = dict(root.named_modules())
        self.values: dict[fx.Node, Any] = {}
        self.sized: dict[fx.Node, Any] = {}  # nodes whose value derives from a size -> its value in a wider network
        self.expanded: set[fx.Node] = set()  # sums whose operands `gather` expands
        self.node: fx.Node = None  # type: ignore[assignment]
        self.functional = False
        self.row_ids = {}
        self.kernels = set()
        self.batch_sizes: set[fx.Node] = set()  # nodes whose value derives from the size of the batch
        self.constants: dict[str, Tensor] = {}
        self.shared_tensors = _shared_tensors(root)

    # -- dispatch ---------------------------------------------------------------------------------

    def run_node(self, node: fx.Node) -> Any:
        """Run one node, keep its value and return it."""
        self.node = node
        if any(n in self.batch_sizes for n in node.all_input_nodes):
            self.batch_sizes.add(node)
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), self.values.__getitem__)
        self.values[node] = getattr(self, node.op)(node.target, args, kwargs)
        return self.values[node]

    def placeholder(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not self.inputs:
            return args[0] if args else None
        value = self.inputs.pop(0)
        if not isinstance(value, Tensor):
            return value
        if value.dim() < 2:
            return self.notes.opaque(tuple(value.shape), "is the network's input")
        return Ids(self.notes.fresh_frozen(value.shape[1], "is the network's input"), 1, tuple(value.shape))

    def get_attr(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        owner, _, name = str(target).rpartition(".")
        module = self.modules.get(owner)
        held = {**module._parameters, **module._buffers} if module is not None else {}
        tensor = held.get(name)
        if tensor is not None:
            return Weight(str(target), tuple(tensor.shape), tensor.dtype)
        value: Any = self.constants.get(str(target), self.root)
        for part in () if isinstance(value, Tensor) else str(target).split("."):
            value = getattr(value, part)
        if not isinstance(value, Tensor):
            return value
        if value.numel() == 1:
            return Ids(self.notes.fresh(1), 0, tuple(value.shape) or (1,), of_weight=True)
        return self.notes.opaque(tuple(value.shape), "meets a constant tensor")

    def output(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        for ids in ids_in(args):
            self.notes.freeze(ids, "is the network's output")
        return args

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if target in FUNCTIONS and isinstance((args[0] if args else kwargs.get("input")), Ids | Weight):
            return self.call_layer(target, args, kwargs)
        return self.operation(args, kwargs)

    def call_method(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self.operation(args, kwargs)

    def operation(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Dispatch a function or method that is no layer."""
        node, name = self.node, operation(self.node)
        if args and isinstance(args[0], Weight):
            if name in UNCHANGED or (name == "getattr" and args[1] == "data"):
                return args[0]
            if name in SIZES and not (name == "getattr" and args[1] not in ("shape", "ndim", "dtype", "device")):
                return self.size(args, kwargs)
        args, kwargs = pytree.tree_map(self.entries, (args, kwargs))
        entering = ids_in((args, kwargs))
        derived = any(n in self.sized for n in node.all_input_nodes)
        if not entering:  # arithmetic on sizes, tensors made from nothing
            value = self.without_ids(node, args, kwargs)
            if derived and not is_ids(value):
                self.sized[node] = self.wider_value(node)
            return value
        if name in SIZES:
            return self.size(args, kwargs)
        if derived and self.depends_on_width() and name not in SHAPE | {"pad"} | POOLING:
            for ids in entering:
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
        if name in {"softmax", "log_softmax", "softmin", "normalize"}:
            return self.softmax(name, args, kwargs)
        if name in {"cat", "concat", "concatenate"}:
            return self.cat(args, kwargs)
        if name in SHAPE:
            return self.shape_operation(name, args, kwargs)
        return self.unknown(name, lambda: apply(node, on_meta(args), on_meta(kwargs)), args, kwargs)

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        name, module = str(target), self.modules[str(target)]
        args, kwargs = pytree.tree_map(self.entries, (args, kwargs))
        run = lambda: module_on_meta(module, args, kwargs)  # noqa: E731
        if hasattr(module, "parametrizations"):
            how = " and ".join(
                sorted({type(p).__name__.lstrip("_") for each in module.parametrizations.values() for p in each})  # type: ignore[operator]
            )
            return self.unknown(name, run, args, kwargs, f"{type(module).__bases__[0].__name__} with {how}")
        if isinstance(module, MODULES_ELEMENTWISE) or (isinstance(module, nn.PReLU) and module.num_parameters == 1):
            return self.elementwise(args, kwargs)
        if isinstance(module, _ConvTransposeNd) and module.groups > 1:
            return self.unknown(name, run, args, kwargs, "a grouped transposed convolution")
        if isinstance(module, _ConvNd):
            self.claim_module(name)
            transposed = isinstance(module, _ConvTransposeNd)
            shape = tuple(run().shape) if transposed else output_shape(name, module, args[0])
            kind = "transposed" if transposed else "conv"
            widths = module.in_channels, module.out_channels
            return self.apply_layer(name, args[0], shape, kind, module.groups, *widths, tuple(module.kernel_size))
        if isinstance(module, nn.Linear):
            self.claim_module(name)
            x = args[0]
            if x.shape[-1] != module.in_features:
                raise ValueError(f"{name} reads {module.in_features} features, but {x.shape[-1]} arrive")
            shape = (*x.shape[:-1], module.out_features)
            return self.apply_layer(name, x, shape, "linear", 1, module.in_features, module.out_features, (1,))
        if isinstance(module, _BatchNorm | _InstanceNorm | nn.PReLU):
            self.claim_module(name)
            return self.norm(name, module, args[0])
        if isinstance(module, MODULES_SPATIAL):
            return self.spatial(name, run, args[0])
        if isinstance(module, nn.Flatten | nn.Unflatten):
            return self.literal(lambda x: module(x), args, kwargs, f"{type(module).__name__} ({name})")
        if isinstance(module, nn.LayerNorm | nn.GroupNorm):
            kind = "layer_norm" if isinstance(module, nn.LayerNorm) else "group_norm"
            held = {
                r: Weight(f"{name}.{r}", (), torch.float32)
                for r in ("weight", "bias")
                if getattr(module, r) is not None
            }
            given = {"normalized_shape": getattr(module, "normalized_shape", None)}
            run()
            return self.mixing_norm(kind, args[0], given, held)
        if isinstance(module, nn.Softmax | nn.LogSoftmax) and module.dim is not None:
            return self.softmax(name, (args[0], module.dim), {})
        why = "mixes channels" if isinstance(module, nn.LocalResponseNorm) else ""
        return self.unknown(name, run, args, kwargs, f"{type(module).__name__} {why}".strip())

    def claim_module(self, name: str) -> None:
        """Note that a layer's tensors are those of the module of its name."""
        if self.notes.tensors.setdefault(name, None) is not None:
            self.notes.tensors[name + WAY] = None

    def without_ids(self, node: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        value = apply(node, args, kwargs)
        return self.notes.opaque(tuple(value.shape), "is a constant tensor") if isinstance(value, Tensor) else value

    def place(self) -> str:
        return self.node.name

    def expanded_kernel(self) -> bool:
        """Return whether the present convolution's weight is one kernel, expanded to all channels."""
        kernel = self.node.args[1] if len(self.node.args) > 1 else self.node.kwargs.get("weight")
        if not isinstance(kernel, fx.Node) or kernel.op != "call_method" or kernel.target != "expand":
            return False
        inner = self.values[kernel.args[0]]  # type: ignore[index]
        if not isinstance(inner, Weight) or inner.shape[0] != 1 or kernel.kwargs or len(kernel.users) > 1:
            return False
        self.kernels.add(kernel)
        self.notes.whole[inner.path] = "is one kernel for all channels"
        return True

    # -- sizes ------------------------------------------------------------------------------------

    def size(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A tensor's size, number of dims or type. What a wider network would give tells which sizes are widths."""
        value = apply(self.node, on_meta(args), kwargs)
        if isinstance(value, Tensor):  # x.T and the like
            return self.unknown(f"attribute {args[1]}", lambda: value, args, kwargs)
        try:
            self.sized[self.node] = apply(self.node, wider(args), kwargs)
        except (RuntimeError, IndexError, TypeError):
            self.sized[self.node] = None
        return value

    def wider_value(self, node: fx.Node) -> Any:
        """Return what arithmetic on sizes would give in a wider network; None where that cannot be said."""
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda n: self.sized.get(n, self.values.get(n)))
        try:
            return apply(node, args, kwargs)
        except Exception:  # the sizes of no real network may not fit together
            return None

    def depends_on_width(self) -> bool:
        """Return whether the present node gets a size that a fold changes."""
        return any(n in self.sized and self.sized[n] != self.values[n] for n in self.node.all_input_nodes)

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
        of_weight = all(x.of_weight for x in operands)
        moved = [Ids(x.channels, x.dim + len(shape) - len(x.shape), shape, x.of_weight) for x in operands]
        if len(operands) == 1:
            return operands[0]
        wide = [m for m, x in zip(moved, operands, strict=True) if len(x.channels) > 1] or moved[:1]
        wide.sort(key=lambda m: m.of_weight)  # activations first
        for m, x in zip(moved, operands, strict=True):
            if m.dim != wide[0].dim or len(m.channels) != len(wide[0].channels):
                self.notes.freeze(x, f"is broadcast over other channels in {self.node.name}")
        if any(m.dim != wide[0].dim for m in wide):
            for x in operands:
                self.notes.freeze(x, f"meets other axes in {self.node.name}")
            return self.notes.opaque(shape, "comes out of a broadcast")
        result = Ids(wide[0].channels, wide[0].dim, shape, of_weight)
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
            self.notes.freeze(result, "its channels are added to others (a residual sum): `internal` leaves them whole")
        return result

    def reduce(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Means and the like over pixels keep channels apart; over channels they mix them."""
        x = args[0]
        value = apply(self.node, on_meta(args), on_meta(kwargs))
        position = 2 if name == "norm" else 1  # x.norm(p, dim)
        named = kwargs.get("dim", kwargs.get("axis", args[position] if len(args) > position else None))
        dims = range(len(x.shape)) if named is None else [named] if isinstance(named, int) else list(named)
        over = {d % len(x.shape) for d in dims}
        outputs = pytree.tree_leaves(value)
        if x.dim in over or (0 in over and not x.of_weight) or any(not isinstance(v, Tensor) for v in outputs):
            return self.unknown(f"{name} over channels", lambda: value, args, kwargs)

        def kept(v: Tensor) -> Ids:
            dim = x.dim if v.dim() == len(x.shape) else x.dim - sum(d < x.dim for d in over)
            return Ids(x.channels, dim, tuple(v.shape), x.of_weight)

        return pytree.tree_map(kept, value)

    def softmax(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Softmax over another axis than the channels' keeps channels apart."""
        x, position = args[0], 2 if name == "normalize" else 1
        dim = kwargs.get("dim", args[position] if len(args) > position else 1 if name == "normalize" else None)
        if isinstance(dim, int) and dim % len(x.shape) not in (x.dim, 0):
            return x
        return self.unknown(name, lambda: torch.empty(x.shape, device="meta"), args, kwargs)

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
        of_weight = all(x.of_weight for x in sources)
        tensors = pytree.tree_map(lambda v: v.literal() if is_ids(v) else v, (args, kwargs), is_leaf=is_ids)
        value = run(*tensors[0], **tensors[1])
        leaves, spec = pytree.tree_flatten(value)
        outputs = [compact(v, of_weight) for v in leaves]
        if any(ids is None for ids in outputs):
            outputs = [
                ids or self.split_over_axes(v, sources, of_weight, what) for ids, v in zip(outputs, leaves, strict=True)
            ]
        elif len(sources) == 1:
            self.separate(sources[0], [ids for ids in outputs if ids is not None], what)
        return pytree.tree_unflatten(outputs, spec)

    def split_over_axes(self, literal: Tensor, sources: list[Ids], of_weight: bool, what: str) -> Ids:
        """Follow channels that are split over several axes, as by a channel shuffle, along the widest of them."""
        along = varying(literal)
        if literal.dim() == 0 or of_weight or 0 in along or self.picks(literal, sources):
            for x in sources:
                self.notes.freeze(x, f"its channels are split over several axes by {what}")
            return self.notes.opaque(tuple(literal.shape), f"comes out of {what}")
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
                self.notes.freeze(x, f"single channels are picked from it by {what}")
                return
            part[where] = i + 1
            if len(parts) == 1:
                part[where[-1] + 1 :] = 2
        self.notes.parts.append((x.channels, part))

    # -- everything else ------------------------------------------------------------------------------

    def unknown(self, name: str, run: Callable[[], Any], args: Any, kwargs: Any, what: str = "") -> Any:
        """Freeze what enters an operation without a rule, and price what it multiplies."""
        reason = f"enters {name} ({what})" if what else f"enters {name}, which PDC cannot follow"
        for x in ids_in(pytree.tree_map(self.entries, (args, kwargs))):
            self.notes.freeze(x, reason)
        value, macs = counted(run)
        if self.node.op == "call_module" and any(True for _ in self.modules[str(self.node.target)].parameters()):
            self.notes.whole[str(self.node.target)] = reason
        shapes = [tuple(v.shape) for v in pytree.tree_leaves(value) if isinstance(v, Tensor)]
        if macs:
            label = str(self.node.target) if self.node.op == "call_module" else self.node.name
            before = self.notes.fixed.get(label, (0, ()))[0]
            self.notes.fixed[label] = before + macs, shapes[0]
        fresh = lambda v: self.notes.opaque(tuple(v.shape), f"comes out of {name}") if isinstance(v, Tensor) else v  # noqa: E731
        return pytree.tree_map(fresh, value)


def _shared_tensors(root: nn.Module) -> frozenset[str]:
    """Return the names of tensors that several modules hold."""
    names: dict[int, list[str]] = {}
    for name, t in [*root.named_parameters(remove_duplicate=False), *root.named_buffers(remove_duplicate=False)]:
        names.setdefault(id(t), []).append(name)
    return frozenset(name for several in names.values() if len(several) > 1 for name in several)
