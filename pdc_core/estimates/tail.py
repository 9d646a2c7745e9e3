"""The part of a network that a change can reach, run many times on the same images; what is before it runs once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn

from pdc_core.batch_sizes import images_in_memory
from pdc_core.copies import twin
from pdc_core.graph import ChannelGraph
from pdc_core.graph.tensors import tensor_at

KEPT_BYTES = 2**28  # of activations in front of a change; images beyond that run through the whole network
_BATCH = 100  # images at once: few, so that their activations stay in the processor's cache


class Tail:
    """A network run on the same images again and again, each time with a few of its tensors replaced.

    Activations in front of the first layer that uses a replaced tensor are computed once and kept, so that only what
    is behind them is computed for every change. Where the traced program cannot be run by itself (a part of a network,
    tensors made on the way, sizes that are written down), the whole network runs each time; the outputs are the same.

    Parameters
    ----------
    model : nn.Module
        The network, in eval mode; copied, with its kernels in the memory layout "channels last", which is faster.
    graph : ChannelGraph
        Its trace.
    images : Tensor, shape (n, c, h, w)
        Prepared images on the network's device.
    kept_bytes : int, default 268435456
        The most that is kept, 0 or more. Images whose activations would exceed it run through the whole network.
    """

    def __init__(self, model: nn.Module, graph: ChannelGraph, images: Tensor, kept_bytes: int = KEPT_BYTES) -> None:
        self._model = twin(model).requires_grad_(False)
        for p in self._model.parameters():
            if p.dim() == 4:
                p.data = p.data.contiguous(memory_format=torch.channels_last)
        last = {"memory_format": torch.channels_last} if images.dim() == 4 else {}
        at_once = images_in_memory(images.shape[1:], _BATCH)
        self._batches = [part.contiguous(**last) for part in images.split(at_once)]
        self._kept_bytes = kept_bytes
        program = graph.program
        inputs = [node for node in program.graph.nodes if node.op == "placeholder" and not node.args]
        whole = bool(graph.inside or program.functional or program.constants or program.sizes) or len(inputs) != 1
        self._nodes: list[fx.Node] = [] if whole else list(program.graph.nodes)
        self._interpreter = fx.Interpreter(self._model, garbage_collect_values=False, graph=program.graph)
        place = {node: i for i, node in enumerate(self._nodes)}
        self._last_use = {node: max((place[user] for user in node.users), default=place[node]) for node in self._nodes}
        self._uses = [_tensors(self._model, node) for node in self._nodes]
        self._start = 0
        self._kept: list[dict[fx.Node, Any] | None] = [None] * len(self._batches)

    @torch.no_grad()
    def outputs(self, replaced: Mapping[str, Tensor] | None = None) -> Iterator[Tensor]:
        """Yield the network's outputs, batch by batch, while some of its tensors are others.

        Parameters
        ----------
        replaced : mapping of str to Tensor, optional
            By their dotted names. Going through the network from front to back computes nothing twice.
        """
        replaced = replaced or {}
        held = {name: tensor_at(self._model, name) for name in replaced}
        self._start_at({id(t) for t in held.values()})
        before = {name: t.clone() for name, t in held.items()}
        try:
            for name, t in held.items():
                t.copy_(replaced[name])
            for batch, kept in zip(self._batches, self._kept, strict=True):
                yield self._model(batch) if kept is None else self._rest(batch, kept)
        finally:
            for name, t in held.items():
                t.copy_(before[name])

    def _start_at(self, changed: set[int]) -> None:
        """Compute what every batch needs of the layers in front of the first that uses a changed tensor."""
        start = next((i for i, uses in enumerate(self._uses) if uses & changed), 0)
        left = self._kept_bytes if start else 0
        for i, batch in enumerate(self._batches):
            env, since = self._kept[i], self._start
            self._kept[i] = None
            if left <= 0:
                continue
            if env is None or start < since:
                env, since = {}, 0
            for at in range(since, start):
                self._step(at, env, batch)
            left -= sum(_bytes(value) for value in env.values())
            if left >= 0:
                self._kept[i] = env
        self._start = start

    def _rest(self, batch: Tensor, kept: Mapping[fx.Node, Any]) -> Tensor:
        env = {node: _copy(value) for node, value in kept.items()}  # a layer may work in place
        for at in range(self._start, len(self._nodes)):
            found = self._step(at, env, batch)
        result: Tensor = found
        return result

    def _step(self, at: int, env: dict[fx.Node, Any], batch: Tensor) -> Any:
        """Compute one node, and forget what no later one needs."""
        node = self._nodes[at]
        if node.op == "placeholder":
            found = node.args[0] if node.args else batch
        else:
            self._interpreter.env = env
            found = self._interpreter.run_node(node)
        env[node] = found
        for used in {node, *node.all_input_nodes}:
            if self._last_use[used] <= at:
                env.pop(used, None)
        return found


def _tensors(model: nn.Module, node: fx.Node) -> set[int]:
    """Return the identities of the parameters and buffers that a node computes with."""
    if node.op == "get_attr":
        return {id(tensor_at(model, str(node.target)))}
    if node.op != "call_module":
        return set()
    module = model.get_submodule(str(node.target))
    return {id(t) for t in (*module.parameters(), *module.buffers())}


def _copy(value: Any) -> Any:
    return fx.node.map_aggregate(value, lambda each: each.clone() if isinstance(each, Tensor) else each)


def _bytes(value: Any) -> int:
    sizes: list[int] = []
    fx.node.map_aggregate(value, lambda each: sizes.append(each.nbytes) if isinstance(each, Tensor) else None)
    return sum(sizes)
