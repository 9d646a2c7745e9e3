"""`trace`: let channel ids flow through a network and gather what was noted into channel groups.

The last module of the folder: `ids` says what flows, `rules` what operations do to it, `structure` what comes out.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from torch import Tensor, fx, nn
from torch.nn.modules.conv import _ConvNd

from pdc_core.errors import PDCError
from pdc_core.graph.grouping import build_groups
from pdc_core.graph.ids import Ids
from pdc_core.graph.interpreter import ChannelInterpreter
from pdc_core.graph.shapes import ids_in
from pdc_core.graph.structure import RESIDUALS, ChannelGraph, ChannelGroup, Layer, Program

# While torch.fx traces, it replaces nn.Module.__call__ and __getattr__ for the whole process. One trace at a time, and
# the other threads of a server, which run networks meanwhile, are handed through to what they asked for.
_TRACING = threading.Lock()


class _Tracer(fx.Tracer):
    """Symbolic tracing with torch's own layers as leaves, also where a user subclassed them without changing them."""

    def __init__(self) -> None:
        super().__init__()
        self._thread = threading.get_ident()

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if threading.get_ident() != self._thread:
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, fx.Proxy]) -> Any:
        if threading.get_ident() != self._thread:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if isinstance(m, nn.Sequential | nn.ModuleList):
            return False
        kinds = [base for base in type(m).__mro__ if base.__module__.startswith("torch.nn")]
        own = kinds[0] if kinds else nn.Module
        if own is nn.Module:
            return False
        methods = ("forward", "_conv_forward")
        return all(getattr(type(m), name, None) is getattr(own, name, None) for name in methods)


def trace(model: nn.Module, example: Tensor, residual: str = "internal") -> ChannelGraph:
    """Find the channel groups of a network: which filters may be merged, who ties them, who reads them.

    The forward pass is traced symbolically and run on channel ids in place of activations, so it costs no arithmetic.
    What cannot be followed is frozen with its reason, never guessed.

    Parameters
    ----------
    model : a network in eval mode, on any device, in any floating precision. It is not changed.
    example : tensor (1, c, h, w); only its shape is used.
    residual : what happens where channels are added. "internal" leaves every summed channel whole; "shared" gives all
        producers of a sum one labelling; "gather" merges each producer alone and expands it by an index before the sum.

    Raises
    ------
    PDCError
        The network cannot be traced, or a part of it is in train mode, it carries hooks or
        parametrisations, or it refuses the example.

    Examples
    --------
    >>> import torch, pdc_core as pdc
    >>> net = torch.nn.Sequential(torch.nn.Conv2d(1, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 4, 3)).eval()
    >>> [(g.name, g.size, g.frozen) for g in pdc.trace(net, torch.zeros(1, 1, 8, 8))]
    [('0', 8, None), ('2', 4, "is the network's output")]

    Source: our choice (DESIGN.md section 4).
    """
    _check(model, example, residual)
    walk = ChannelInterpreter(model, residual)
    program, values = _walk(walk, model, example)
    found = build_groups(walk.notes)
    return ChannelGraph(
        groups=found.groups,
        residual=residual,
        layers=_layers(walk, found.groups),
        params=sum(p.numel() for p in model.parameters()),
        norm_params=tuple(_norm_params(walk.modules, g) for g in found.groups),
        input_shape=tuple(example.shape[1:]),
        program=Program(program, values, found.classes, found.group, found.position, frozenset(walk.expanded)),
    )


def _check(model: nn.Module, example: Tensor, residual: str) -> None:
    if not isinstance(model, nn.Module):
        raise PDCError(f"The network is {type(model).__name__}; give a torch.nn.Module, for example from load_model.")
    if residual not in RESIDUALS:
        raise PDCError(f"residual={residual!r} is not a residual treatment; choose one of {', '.join(RESIDUALS)}.")
    if not isinstance(example, Tensor) or example.dim() < 2 or 0 in example.shape:
        shape = tuple(example.shape) if isinstance(example, Tensor) else type(example).__name__
        raise PDCError(
            f"The example is {shape}; give one input as a tensor, for images of shape (1, channels, height, width)."
        )
    for name, module in model.named_modules():
        where = name or type(module).__name__
        if module.training:
            raise PDCError(
                f"{where} is in train mode; call model.eval() first, so that dropout and norms act as when it is used."
            )
        if any(isinstance(p, nn.parameter.UninitializedParameter) for p in module.parameters(recurse=False)):
            raise PDCError(
                f"{where} is a lazy module without weights yet; run the network once on an example before tracing it."
            )
        if hasattr(module, "parametrizations"):
            raise PDCError(
                f"{where} has parametrisations; make them permanent with "
                "torch.nn.utils.parametrize.remove_parametrizations."
            )
        if module._forward_hooks or module._forward_pre_hooks:
            raise PDCError(
                f"{where} has forward hooks, which may change what it computes; remove them before tracing (what "
                "torch.nn.utils.prune, weight_norm or spectral_norm put there, their remove functions make permanent)."
            )


def _walk(walk: ChannelInterpreter, model: nn.Module, example: Tensor) -> tuple[fx.Graph, dict[fx.Node, Any]]:
    """Trace the forward pass and let ids flow through it."""
    try:
        with _TRACING:
            program = _Tracer().trace(model)
    except Exception as error:  # a user's own forward may raise anything at all
        hint = "its forward pass branches on values, loops over them or calls code that torch.fx cannot follow"
        raise PDCError(
            f"{type(model).__name__} cannot be traced: {hint} ({type(error).__name__}: {_first_line(error)})."
        ) from error
    values: dict[fx.Node, Any] = {}
    for node in program.nodes:
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), values.__getitem__)
        try:
            values[node] = _value(walk, model, example, node, args, kwargs)
        except PDCError:
            raise
        except Exception as error:
            given = f"an example of shape {tuple(example.shape)}"
            raise PDCError(
                f"{type(model).__name__} does not accept {given}: {node.name} says «{_first_line(error)}»."
            ) from error
    return program, values


def _value(
    walk: ChannelInterpreter,
    model: nn.Module,
    example: Tensor,
    node: fx.Node,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    if node.op == "placeholder":
        if sum(n.op == "placeholder" for n in node.graph.nodes if not n.args) > 1:
            raise PDCError(f"{type(model).__name__} takes several inputs; PDC works on networks that take one.")
        if node.args:
            return node.args[0]
        return Ids(walk.notes.fresh_frozen(example.shape[1], "is the network's input"), 1, tuple(example.shape))
    if node.op == "get_attr":
        tensor: Any = model
        for part in str(node.target).split("."):
            tensor = getattr(tensor, part)
        return (
            walk.notes.opaque(tuple(tensor.shape), "meets a learned tensor outside any layer")
            if tensor.numel() > 1
            else 1.0
        )
    if node.op == "output":
        for ids in ids_in(args):
            walk.notes.freeze(ids, "is the network's output")
        return args
    return walk.run_node(node, args, kwargs)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _layers(walk: ChannelInterpreter, groups: tuple[ChannelGroup, ...]) -> tuple[Layer, ...]:
    out: dict[str, list[tuple[int, int]]] = defaultdict(list)
    into: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for g, channel_group in enumerate(groups):
        for p in channel_group.producers:
            out[p.module].append((g, 1))
        for r in channel_group.readers:
            into[r.module].append((g, r.channels.shape[1]))
    layers = []
    for name, shapes in walk.notes.calls.items():
        module = walk.modules[name]
        bias = module.bias is not None
        pixels = walk.notes.pixels[name]
        if isinstance(module, _ConvNd):
            row = (
                name,
                "conv",
                module.in_channels,
                module.out_channels,
                module.groups,
                tuple(module.kernel_size),
                pixels,
            )
        else:
            assert isinstance(module, nn.Linear)
            row = (name, "linear", module.in_features, module.out_features, 1, (1,), pixels)
        narrowed = tuple(into[name])
        if isinstance(module, _ConvNd) and module.groups == module.in_channels == module.out_channels > 1:
            narrowed = tuple(out[name])
        layers.append(Layer(*row, bias, tuple(shapes[0][1:]), tuple(out[name]), narrowed))
    return tuple(layers)


def _norm_params(modules: dict[str, nn.Module], group: ChannelGroup) -> int:
    """Return how many learnable norm parameters one channel of the group carries."""
    total = 0
    for norm in group.norms:
        module = modules[norm.module]
        total += sum(p.dim() == 1 for p in module.parameters(recurse=False))
    return total
