"""The interpreter that runs a program on channel ids: it dispatches every node to a rule.

The rules are in layers.py and tensor_rules.py. An operation without a rule freezes what enters it and names itself.
Methods are named as those of `torch.fx.Interpreter`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.utils import _pytree as pytree

from pdc_core.graph.ids import WAY, Ids, TraceRecord, Weight
from pdc_core.graph.layers import FUNCTIONS, LayerRules
from pdc_core.graph.operations import (
    ALONG,
    CLAMPED,
    CONDITIONS,
    ELEMENTWISE,
    MADE_LIKE,
    MODULES_ELEMENTWISE,
    MODULES_SPATIAL,
    POOLING,
    PRODUCT,
    REARRANGED,
    REDUCTIONS,
    SHAPE,
    SIZES,
    SIZES_OF_PIXELS,
    SUM,
    UNCHANGED,
    UNPOOLING,
    operation,
    plain,
    torchs_name,
)
from pdc_core.graph.shapes import apply, counted, ids_in, module_on_meta, on_meta, output_shape
from pdc_core.graph.tensor_rules import TensorRules
from pdc_core.graph.tensors import aliases


def is_depthwise(conv: _ConvNd) -> bool:
    """Return whether every filter of a convolution reads one channel and writes one."""
    return conv.groups == conv.in_channels == conv.out_channels


class ChannelInterpreter(LayerRules, TensorRules):
    """Runs a program on channel ids: dispatches nodes to rules and keeps the record.

    Parameters
    ----------
    root : nn.Module
        The network.
    residual : {"internal", "shared", "gather"}
        What happens where channels are summed.
    inputs : dict
        One example, argument by argument (`calls.bound`); of tensors only the shapes are used.
    """

    def __init__(self, root: nn.Module, residual: str, inputs: Mapping[str, Any]) -> None:
        self.root, self.residual, self.notes = root, residual, TraceRecord(aliases=aliases(root))
        self.inputs = inputs
        self.modules = dict(root.named_modules())
        self.values: dict[fx.Node, Any] = {}
        self.sized, self.grown = {}, {}
        self.expanded: set[fx.Node] = set()  # sums whose operands `gather` expands
        self.node: fx.Node = None  # type: ignore[assignment]
        self.functional = False
        self.row_ids = {}
        self.kernels = set()
        self.calculates = False
        self.rearranged = False  # whether channels were split over several axes, or put in another order
        self.batch_sizes: set[fx.Node] = set()  # nodes whose value derives from the size of the batch
        self.open_sizes: set[fx.Node] = set()  # or from another size that is to stay open
        self.constants: dict[str, Tensor] = {}
        self.shared_tensors = frozenset((*self.notes.aliases, *self.notes.aliases.values()))

    # -- dispatch ---------------------------------------------------------------------------------

    def run_node(self, node: fx.Node) -> Any:
        """Run one node, keep its value and return it."""
        self.node = node
        for sizes in (self.batch_sizes, self.open_sizes):
            if any(n in sizes for n in node.all_input_nodes):
                sizes.add(node)
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), self.values.__getitem__)
        self.values[node] = self.with_batch(getattr(self, node.op)(node.target, args, kwargs))
        return self.values[node]

    def placeholder(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        value = self.inputs[str(target)]
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
        return self.notes.opaque(tuple(value.shape), "meets a constant tensor", value.dtype)

    def output(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        for ids in ids_in(args):
            self.notes.freeze(ids, "is the network's output")
        return args

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if target in FUNCTIONS and isinstance((args[0] if args else kwargs.get("input")), Ids | Weight):
            self.freeze_measured(*self.own_widths(target, args, kwargs))
            return self.call_layer(target, args, kwargs)
        return self.operation(args, kwargs)

    def call_method(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self.operation(args, kwargs)

    def operation(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Dispatch a function or method that is no layer."""
        node, name = self.node, plain(operation(self.node))
        if args and isinstance(args[0], Weight):
            if name in UNCHANGED or (name == "getattr" and args[1] == "data"):
                return args[0]
            if name in SIZES and not (name == "getattr" and args[1] not in ("shape", "ndim", "dtype", "device")):
                return self.size(args, kwargs)
        args, kwargs = self.as_ids(args, kwargs)
        entering = ids_in((args, kwargs))
        if not entering:  # arithmetic on sizes, tensors made from nothing
            value = self.without_ids(node, args, kwargs)
            if ids_in(value):
                self.freeze_measured()
            elif any(n in self.sized for n in node.all_input_nodes):
                self.sized[node] = self.wider_value(node, value)
            if not ids_in(value):
                self.grow(value)
            return value
        if name in SIZES:
            return self.size(args, kwargs)
        if name in MADE_LIKE:
            self.freeze_measured()
            return self.without_ids(node, on_meta(args), kwargs)
        if name not in SHAPE | SIZES_OF_PIXELS | {"pad"}:
            self.freeze_measured()
        elif self.widths():  # whether its numbers can be narrowed is tried out
            self.rearranged = True
        if name == "setitem":
            return self.assign(*args)
        if name in CLAMPED and len(entering) > 1:
            return self.combine("maximum", args, kwargs)
        if name in ELEMENTWISE:
            return self.elementwise(args, kwargs)
        if name in {"max", "min"}:
            two = any(isinstance(v, Ids) for v in (*args[1:2], kwargs.get("other")))
            return self.combine("maximum", args, kwargs) if two else self.reduce(name, args, kwargs)
        if name in SUM or name in PRODUCT:
            return self.combine(name, args, kwargs)
        if name in CONDITIONS:
            return replace(self.combine(name, args, kwargs), dtype=torch.bool)
        if name in POOLING:
            return self.spatial(name, lambda: apply(node, on_meta(args), on_meta(kwargs)), args[0])
        if name in UNPOOLING and len(entering) > 1:
            return self.unpool(name, lambda: apply(node, on_meta(args), on_meta(kwargs)), *entering[:2])
        if name in {"grid_sample", "grid_sampler"} and isinstance(args[0], Ids):
            return self.sample(lambda: apply(node, on_meta(args), on_meta(kwargs)), args[0], (args[1:], kwargs))
        if name == "pad":
            return self.pad(*args, **kwargs)
        if name in REDUCTIONS:
            return self.reduce(name, args, kwargs)
        if name in {"softmax", "log_softmax", "softmin", "normalize"}:
            return self.softmax(name, args, kwargs)
        if name in ALONG:
            return self.along(name, args, kwargs)
        if name in {"tril", "triu", "tril_", "triu_"}:
            return self.triangle(name, args, kwargs)
        if name in {"cat", "concat", "concatenate", "hstack", "dstack"}:
            return self.cat(args, kwargs)
        if name == "stack":
            return self.stack(args, kwargs)
        if name == "glu":
            return self.glu(args, kwargs)
        if name == "unfold" and node.op == "call_method" and args[1] % len(args[0].shape) != args[0].dim:
            return self.shape_operation(name, args, kwargs)
        if name == "unfold" and node.op == "call_function" and args[0].dim == 1:
            return self.repeated(args, kwargs)
        if name in {"pixel_shuffle", "pixel_unshuffle", "channel_shuffle"} and args[0].dim == 1:
            return self.shuffle(name, args, kwargs)
        if name in SHAPE:
            self.rearranged |= name in REARRANGED
            return self.shape_operation(name, args, kwargs)
        return self.unknown(name, lambda: apply(node, on_meta(args), on_meta(kwargs)), args, kwargs)

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        name, module = str(target), self.modules[str(target)]
        args, kwargs = self.as_ids(args, kwargs)
        self.freeze_measured()
        run = lambda: module_on_meta(module, args, kwargs)  # noqa: E731
        if hasattr(module, "parametrizations"):
            how = " and ".join(
                sorted({type(p).__name__.lstrip("_") for each in module.parametrizations.values() for p in each})  # type: ignore[operator]
            )
            return self.frozen_layer(name, run, args, kwargs, f"{type(module).__bases__[0].__name__} with {how}")
        if isinstance(module, MODULES_ELEMENTWISE) or (isinstance(module, nn.PReLU) and module.num_parameters == 1):
            return self.elementwise(args, kwargs)
        if isinstance(module, _ConvTransposeNd) and module.groups > 1 and not is_depthwise(module):
            return self.frozen_layer(name, run, args, kwargs, "a grouped transposed convolution")
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
            return self.spatial(torchs_name(module), run, args[0])
        if isinstance(module, nn.Flatten):
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
        if isinstance(module, nn.MaxUnpool1d | nn.MaxUnpool2d | nn.MaxUnpool3d):
            return self.unpool(torchs_name(module), run, *args[:2])
        if isinstance(module, nn.Softmax | nn.LogSoftmax | nn.Softmin) and module.dim is not None:
            return self.softmax(name, (args[0], module.dim), {})
        why = "mixes channels" if isinstance(module, nn.LocalResponseNorm) else ""
        return self.unknown(name, run, args, kwargs, f"{type(module).__name__} {why}".strip())

    def frozen_layer(self, name: str, run: Callable[[], Any], args: Any, kwargs: Any, what: str) -> Any:
        """Freeze a layer on both sides; it is seen, with its filters, though none can be merged."""
        value = self.unknown(name, run, args, kwargs, what)
        if isinstance(value, Ids) and isinstance(self.modules[name], _ConvNd | nn.Linear):
            self.notes.once(self.notes.producers, name, value.channels)
        return value

    def as_ids(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return arguments with the ids of parameters in place of these."""
        if any(isinstance(self.values[n], Weight) for n in self.node.all_input_nodes):
            args, kwargs = pytree.tree_map(self.entries, (args, kwargs))
        return args, kwargs

    def claim_module(self, name: str) -> None:
        """Note that a layer's tensors are those of the module of its name."""
        if self.notes.tensors.setdefault(name, None) is not None:
            self.notes.tensors[name + WAY] = None

    def without_ids(self, node: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        value = apply(node, args, kwargs)
        return pytree.tree_map(lambda v: self.fresh(v, "is a constant tensor"), value)

    def fresh(self, value: Any, reason: str) -> Any:
        """Return new, frozen ids for a tensor; anything else as it is."""
        return self.notes.opaque(tuple(value.shape), reason, value.dtype) if isinstance(value, Tensor) else value

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
        out = f"comes out of {name} ({what})" if what else f"comes out of {name}"
        return pytree.tree_map(lambda v: self.fresh(v, out), value)
