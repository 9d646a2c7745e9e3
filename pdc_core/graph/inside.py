"""Tracing a part of a network: what enters a submodule, seen in one run, and names as the whole network has them.

A detector's head may loop over boxes and branch on values; its backbone is an ordinary network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from pdc_core.errors import PDCError
from pdc_core.graph.calls import bound, call
from pdc_core.graph.faults import first_line
from pdc_core.graph.shapes import counted
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
    module = submodule(model, inside)
    (calls, failed), whole = counted(lambda: _calls(model, {inside: module}, example))
    found = calls[inside]
    name = f"{type(model).__name__}.{inside}"
    if failed is not None and not found:
        what = f"{type(model).__name__} fails on the example before it reaches {inside}"
        raise PDCError(f"{what}: {first_line(failed)}.") from failed
    if len(found) != 1:
        times = "never called" if not found else f"called {len(found)} times"
        raise PDCError(f"{name} is {times} for one example; choose a part that is called once.")
    given = found[0]
    if not _plain(given):
        raise PDCError(f"{name} is given no plain tensors; choose a part that takes tensors.")
    _, own = counted(lambda: call(module.forward, given))
    return given, whole - own


def parts(model: nn.Module, example: Tensor) -> Iterator[tuple[str, nn.Module, dict[str, Any]]]:
    """Run a network once and yield the parts that may be traced alone, with their names and what each is given.

    Those with more layers come first, so what contains another comes before it. A part is called once, takes tensors,
    and has two layers or more, since filters are merged only where another layer reads them.
    """
    layers = {name: _layers_in(module) for name, module in model.named_modules() if name}
    named = {name: model.get_submodule(name) for name, count in layers.items() if count > 1}
    like = next(model.parameters(), example)  # only the example's shape counts for `trace`
    calls, _ = _calls(model, named, example.to(like.device, like.dtype))
    for name in sorted(named, key=lambda name: -layers[name]):
        if len(calls[name]) == 1 and _plain(calls[name][0]):
            yield name, named[name], calls[name][0]


def _layers_in(module: nn.Module) -> int:
    """Return how many modules within a module hold a weight of two axes or more."""
    return sum(any(p.dim() > 1 for p in each.parameters(recurse=False)) for each in module.modules())


def _calls(
    model: nn.Module, named: Mapping[str, nn.Module], example: Tensor
) -> tuple[dict[str, list[dict[str, Any]]], Exception | None]:
    """Run a network once and return what each of these parts is given, by name, and what the network raised, if it did.

    A head may need more than is here, such as an operator for boxes; what came before it has been seen.
    """
    calls: dict[str, list[dict[str, Any]]] = {name: [] for name in named}

    def noting(name: str) -> Callable[..., None]:
        def note(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            calls[name].append(bound(module.forward, args, kwargs))

        return note

    handles = [each.register_forward_pre_hook(noting(name), with_kwargs=True) for name, each in named.items()]
    failed: Exception | None = None
    try:
        with torch.no_grad():
            model(example)
    except Exception as error:
        failed = error
    finally:
        for handle in handles:
            handle.remove()
    return calls, failed


def _plain(given: Mapping[str, Any]) -> bool:
    """Return whether a part is given tensors, and none of them in a list or a table."""
    return any(isinstance(x, Tensor) for x in given.values()) and not any(map(_nested, given.values()))


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
