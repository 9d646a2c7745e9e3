"""`trace`: let channel ids flow through a network and gather what was noted into channel groups.

The last module of the folder: `ids` says what flows, `rules` what operations do to it, `structure` what comes out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from pdc_core.errors import PDCError, Untraceable
from pdc_core.graph.calls import bound
from pdc_core.graph.grouping import build_groups
from pdc_core.graph.ids import WAY
from pdc_core.graph.in_place import read_elsewhere, writes_in_place
from pdc_core.graph.inside import inputs_of, parts, renamed, submodule
from pdc_core.graph.interpreter import ChannelInterpreter
from pdc_core.graph.program import trace_program
from pdc_core.graph.rehearsal import obstacle
from pdc_core.graph.shapes import ids_in
from pdc_core.graph.structure import RESIDUALS, ChannelGraph, ChannelGroup, Layer, Program, Slice
from pdc_core.graph.tensors import layer_of, output_axes, owners


def trace(model: nn.Module, example: Tensor, residual: str = "internal", inside: str = "") -> ChannelGraph:
    """Find the channel groups of a network: which filters may be merged, who ties them, who reads them.

    The forward pass is traced symbolically and run on channel ids in place of activations, so it costs no arithmetic.
    What cannot be followed is frozen with its reason, never guessed.

    Parameters
    ----------
    model : nn.Module
        A network in eval mode, on any device, in any floating precision. It is not changed.
    example : Tensor, shape (1, c, h, w)
        One input; only its shape is used, unless `inside` is given.
    residual : {"internal", "shared", "gather"}, default "internal"
        What happens where channels are added. "internal" leaves every summed channel whole; "shared" gives all
        producers of a sum one labelling; "gather" merges each producer alone and expands it by an index before the sum.
    inside : str, default ""
        Dotted name of a submodule. Only channels within it are clustered; its inputs and outputs stay whole, and the
        rest of the network need not be traceable: the network is run once on the example to see what enters.

    Returns
    -------
    ChannelGraph
        The groups, and all that plan, cluster and fold need.

    Raises
    ------
    Untraceable
        The forward pass depends on values. The error names the part that can be traced, if there is one.
    PDCError
        A part of the network is in train mode or carries hooks, or it refuses the example.

    Examples
    --------
    >>> import torch, pdc_core as pdc
    >>> net = torch.nn.Sequential(torch.nn.Conv2d(1, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 4, 3)).eval()
    >>> [(g.name, g.size, g.frozen) for g in pdc.trace(net, torch.zeros(1, 1, 8, 8))]
    [('0', 8, None), ('2', 4, "is the network's output")]

    Source: our choice (DESIGN.md section 4).
    """
    _check(model, example, residual)
    if not inside:
        try:
            alone = bound(model.forward, (example,), {})
        except TypeError as error:
            name = type(model).__name__
            if "missing" in str(error):
                raise PDCError(f"{name} takes several inputs; PDC works on networks that take one.") from error
            raise PDCError(f"{name} does not take one input: {error}.") from error
        try:
            return trace_on(model, alone, residual)
        except Untraceable as error:
            raise Untraceable(error.why, traceable_part(model, example, residual)) from error
    given, outside = inputs_of(model, inside, example)
    return renamed(trace_on(submodule(model, inside), given, residual), model, inside, example, outside)


def traceable_part(model: nn.Module, example: Tensor, residual: str = "internal") -> str:
    """Return the dotted name of the part of a network with most layers that can be traced, or nothing.

    Parameters
    ----------
    model : nn.Module
        A network in eval mode that cannot be traced as a whole.
    example : Tensor, shape (1, c, h, w)
        One input; the network is run on it once.
    residual : {"internal", "shared", "gather"}, default "internal"
        The residual treatment, as in `trace`.
    """
    for name, part, given in parts(model, example):
        try:
            if trace_on(part, given, residual).clusterable:
                return name
        except PDCError:  # what is in it may still be followed
            continue
    return ""


def trace_on(model: nn.Module, inputs: Mapping[str, Any], residual: str) -> ChannelGraph:
    """Trace a checked network on what it is given, by name (`calls.bound`)."""
    example = next(x for x in inputs.values() if isinstance(x, Tensor))
    start = lambda: ChannelInterpreter(model, residual, inputs)  # noqa: E731
    program, walk, sized = trace_program(model, start, example)
    graph = _graph(model, program, walk, sized, example)
    if not walk.calculates or sized:
        return graph
    try:  # with widths that stay the numbers that they are, nothing is frozen since they are used as such
        program, walk, sized = trace_program(model, start, example, symbolic=False)
        other = _graph(model, program, walk, sized, example)
    except PDCError:
        return graph
    most = max(graph, other, key=lambda each: sum(group.size for group in each.clusterable))
    return graph if sized else most


def _graph(model: nn.Module, program: fx.Graph, walk: ChannelInterpreter, sized: bool, example: Tensor) -> ChannelGraph:
    """Return the channel graph of a program; what a fold of it could not narrow is frozen."""
    residual, inputs = walk.residual, walk.inputs
    careful = walk.functional or walk.rearranged or sized
    walk.notes.freeze_measured()
    for node in walk.expanded:  # into a tensor of its own, which a write in place would miss
        if writes_in_place(node) and read_elsewhere(node, model):
            for each in (node, *node.all_input_nodes):
                for ids in ids_in(walk.values[each]):
                    walk.notes.freeze(ids, f"is written to in place in {node.name}, and read under another name")
    met: set[Any] = set()
    while True:
        found = build_groups(walk.notes)
        made = Program(
            program,
            walk.values,
            found.classes,
            found.group,
            found.position,
            frozenset(walk.expanded),
            walk.functional,
            tuple(example.shape[1:]) if sized else None,
            walk.constants,
            {
                name: torch.empty(x.shape, dtype=x.dtype, device="meta") if isinstance(x, Tensor) else x
                for name, x in inputs.items()
            },
            walk.row_ids,
            frozenset(walk.kernels),
        )
        blocked = obstacle(model, made, found.groups) if careful else None
        if blocked is None:
            break
        node, why = blocked
        for each in (node, *node.all_input_nodes) if node not in met else walk.values:
            for ids in ids_in(walk.values[each]):
                walk.notes.freeze(ids, why)
        met.add(node)
    return ChannelGraph(
        groups=found.groups,
        residual=residual,
        layers=_layers(walk, found.groups),
        params=sum(p.numel() for p in model.parameters()),
        norm_params=_norm_params(model, found.groups),
        input_shape=tuple(example.shape[1:]),
        program=made,
        whole=_whole(walk, found.groups),
    )


def _whole(walk: ChannelInterpreter, groups: tuple[ChannelGroup, ...]) -> dict[str, str]:
    """Return what cannot be followed, with all parameters that meet no channel of any group."""
    seen = {part.module for g in groups for part in (*g.producers, *g.norms, *g.readers)}
    notes = walk.notes
    alone = {name for table in (notes.producers, notes.norms, notes.readers, notes.calls) for name in table} - seen
    return dict.fromkeys(sorted(alone), "meets no channels that can be followed") | notes.whole


def _check(model: nn.Module, example: Tensor, residual: str) -> None:
    if not isinstance(model, nn.Module):
        raise PDCError(f"The network is {type(model).__name__}; give a torch.nn.Module, for example from load_model.")
    _check_kind(model)
    if residual not in RESIDUALS:
        raise PDCError(f"residual={residual!r} is not a residual treatment; choose one of {', '.join(RESIDUALS)}.")
    if not isinstance(example, Tensor) or example.dim() < 2 or 0 in example.shape:
        shape = tuple(example.shape) if isinstance(example, Tensor) else type(example).__name__
        raise PDCError(
            f"The example is {shape}; give one input as a tensor, for images of shape (1, channels, height, width)."
        )
    for name, module in model.named_modules():
        where = name or type(module).__name__
        if isinstance(module, torch.jit.ScriptModule):
            raise PDCError(f"{where} is compiled by TorchScript; use the Python module that it was made from.")
        if module.training:
            raise PDCError(
                f"{where} is in train mode; call model.eval() first, so that dropout and norms act as when it is used."
            )
        if any(isinstance(p, nn.parameter.UninitializedParameter) for p in module.parameters(recurse=False)):
            raise PDCError(
                f"{where} is a lazy module without weights yet; run the network once on an example before tracing it."
            )
        if any(map(_acts, (*module._forward_hooks.values(), *module._forward_pre_hooks.values()))):
            raise PDCError(
                f"{where} has forward hooks, which may change what it computes; remove them before tracing (what "
                "torch.nn.utils.prune, weight_norm or spectral_norm put there, their remove functions make permanent)."
            )


def _acts(hook: Any) -> bool:
    """Return whether a hook may change what a module computes; a Pruner's and transformers' only collect outputs."""
    made = str(getattr(getattr(hook, "func", hook), "__module__", ""))
    return not made.startswith(("pdc_core.", "transformers.utils.output_capturing"))


def _check_kind(model: nn.Module) -> None:
    """Refuse what holds a network, or was made of one, and say what to give instead."""
    kind = type(model).__name__
    if "eval" in model.__dict__:  # which torch.export puts there
        raise PDCError(f"{kind} was made by torch.export; give the network that it was made from.")
    wrappers = (nn.DataParallel, nn.parallel.DistributedDataParallel, torch.optim.swa_utils.AveragedModel)
    if isinstance(getattr(model, "_orig_mod", None), nn.Module):
        raise PDCError(f"{kind} wraps the network (torch.compile); give the network inside, model._orig_mod.")
    if isinstance(model, wrappers):
        raise PDCError(f"{kind} wraps the network; give the network inside, model.module.")
    if any(p.is_complex() for p in model.parameters()):
        raise PDCError(f"{kind} has complex weights; PDC works on networks of real numbers.")


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
        kind, reads, writes, blocks, kernel = walk.notes.sizes[name]
        learned = [role for role, (owner, t) in _held(walk, name).items() if owner._parameters.get(t) is not None]
        narrowed = tuple(out[name]) if blocks > 1 and blocks == reads == writes else tuple(into[name])
        layers.append(
            Layer(
                name,
                "linear" if kind == "linear" else "conv",
                reads,
                writes,
                blocks,
                kernel,
                walk.notes.pixels[name],
                "bias" in learned,
                tuple(shapes[0][1:]),
                tuple(out[name]),
                narrowed,
                "weight" in learned,
            )
        )
    for name, (macs, shape) in walk.notes.fixed.items():
        width = shape[1] if len(shape) > 1 else 1
        layers.append(Layer(name, "fixed", width, width, 1, (1,), macs, False, tuple(shape[1:]), learned=False))
    return tuple(layers)


def _held(walk: ChannelInterpreter, name: str) -> dict[str, tuple[nn.Module, str]]:
    """Return the module that holds each tensor of a layer, and its name there."""
    part = Slice(name, np.zeros(0, dtype=np.int64), walk.notes.tensors.get(name))
    return {} if name.endswith(WAY) else owners(walk.root, part)


def _norm_params(model: nn.Module, groups: tuple[ChannelGroup, ...]) -> tuple[int, ...]:
    """Return for every group how many learnable norm parameters one of its channels carries."""
    known: dict[str, int] = {}  # a norm after a concat is part of many groups

    def carried(norm: Slice) -> int:
        if norm.module not in known:
            module = layer_of(model, norm)
            tensors = [(getattr(module, name), axis) for name, axis in output_axes(module).items()]
            learned = [t.numel() // t.shape[axis] for t, axis in tensors if isinstance(t, nn.Parameter)]
            known[norm.module] = sum(learned)
        return known[norm.module]

    return tuple(sum(carried(norm) for norm in g.norms if not norm.module.endswith(WAY)) for g in groups)
