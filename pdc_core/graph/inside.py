"""Tracing a part of a network: what enters a submodule, seen in one run, and names as the whole network has them.

A detector's head may loop over boxes and branch on values; its backbone is an ordinary network.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from pdc_core.errors import PDCError
from pdc_core.graph.calls import bound, call
from pdc_core.graph.structure import ChannelGraph, ChannelGroup, Layer, LayerTensors, Slice


def submodule(model: nn.Module, inside: str) -> nn.Module:
    """Return a submodule by its dotted name, or raise with the names that exist."""
    try:
        return model.get_submodule(inside)
    except AttributeError as error:
        names = ", ".join(name for name, _ in model.named_children())
        raise PDCError(
            f"{type(model).__name__} has no submodule {inside!r}. Its parts: {names}; parts of these as backbone.body."
        ) from error


def inputs_of(model: nn.Module, inside: str, example: Tensor) -> tuple[dict[str, Any], int]:
    """Run a network once and return what a submodule of it is given, and the MACs of all that is outside of it.

    Raises
    ------
    PDCError
        The network fails before it reaches the submodule, never calls it, or calls it several times.
    """
    from torch.utils.flop_counter import FlopCounterMode

    module = submodule(model, inside)
    calls: list[dict[str, Any]] = []

    def note(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        calls.append(bound(module.forward, args, kwargs))

    handle = module.register_forward_pre_hook(note, with_kwargs=True)
    failed: Exception | None = None
    try:
        with FlopCounterMode(display=False) as whole, torch.no_grad():
            model(example)
    except Exception as error:  # a head may need more than is here, such as an operator for boxes
        failed = error
    finally:
        handle.remove()
    name = f"{type(model).__name__}.{inside}"
    if failed is not None and not calls:
        text = (str(failed).strip().splitlines() or [type(failed).__name__])[0][:200]
        raise PDCError(f"{type(model).__name__} fails on the example before it reaches {inside}: {text}.") from failed
    if len(calls) != 1:
        times = "never called" if not calls else f"called {len(calls)} times"
        raise PDCError(f"{name} is {times} for one example; choose a part that is called once.")
    given = calls[0]
    if not any(isinstance(x, Tensor) for x in given.values()) or any(map(_nested, given.values())):
        raise PDCError(f"{name} is given no plain tensors; choose a part that takes tensors.")
    with FlopCounterMode(display=False) as own, torch.no_grad():
        call(module.forward, given)
    return given, (whole.get_total_flops() - own.get_total_flops()) // 2


def _nested(value: Any) -> bool:
    """Return whether a value holds tensors without being one."""
    leaves = torch.utils._pytree.tree_leaves(value)
    return not isinstance(value, Tensor) and any(isinstance(leaf, Tensor) for leaf in leaves)


def renamed(graph: ChannelGraph, model: nn.Module, inside: str, example: Tensor, outside: int) -> ChannelGraph:
    """Return the graph of a submodule as one of the whole network: names, parameters, and the cost of the rest."""
    full = lambda name: f"{inside}.{name}" if name else inside  # noqa: E731

    def tensors(t: LayerTensors | None) -> LayerTensors | None:
        return None if t is None else replace(t, paths=tuple((role, full(path)) for role, path in t.paths))

    def slices(parts: tuple[Slice, ...]) -> tuple[Slice, ...]:
        return tuple(Slice(full(p.module), p.channels, tensors(p.tensors)) for p in parts)

    def group(g: ChannelGroup) -> ChannelGroup:
        producers, norms, readers = map(slices, (g.producers, g.norms, g.readers))
        return replace(g, name=full(g.name), producers=producers, norms=norms, readers=readers)

    layers = tuple(replace(layer, name=full(layer.name)) for layer in graph.layers)
    if outside > 0:
        layers += (Layer(f"(all but {inside})", "fixed", 1, 1, 1, (1,), outside, False, (1,), learned=False),)
    return replace(
        graph,
        groups=tuple(map(group, graph.groups)),
        layers=layers,
        params=sum(p.numel() for p in model.parameters()),
        input_shape=tuple(example.shape[1:]),
        whole={full(name): why for name, why in graph.whole.items()},
        inside=inside,
    )
