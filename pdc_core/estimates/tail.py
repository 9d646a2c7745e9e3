"""The part of a network that a change can reach, run many times on the same images; what is before it runs once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pdc_core.graph import ChannelGraph, ChannelGroup

KEPT_BYTES = 2**30  # of activations in front of the change; images beyond that run through the whole network
_BATCH = 250


class Tail:
    """A network from the first layer on that a change of one channel group can reach.

    Activations in front of that layer are computed once and kept, so that only what is behind it is computed for every
    change. Where the traced program cannot be run by itself (a part of a network, tensors made on the way, sizes that
    are written down), the whole network runs each time; the outputs are the same.

    Parameters
    ----------
    model : nn.Module
        The network, in eval mode. The caller changes its tensors in place.
    graph : ChannelGraph
        Its trace.
    images : Tensor, shape (n, c, h, w)
        Prepared images on the network's device.
    kept_bytes : int, default 1073741824
        The most that is kept, 0 or more.
    """

    def __init__(self, model: nn.Module, graph: ChannelGraph, images: Tensor, kept_bytes: int = KEPT_BYTES) -> None:
        self._model, self._batches, self._kept_bytes = model, images.split(_BATCH), kept_bytes
        program = graph.program
        self._nodes: list[fx.Node] = []
        inputs = [node for node in program.graph.nodes if node.op == "placeholder" and not node.args]
        if not (graph.inside or program.functional or program.constants or program.sizes) and len(inputs) == 1:
            self._nodes = list(program.graph.nodes)
        self._interpreter = fx.Interpreter(model, garbage_collect_values=False, graph=program.graph)
        place = {node: i for i, node in enumerate(self._nodes)}
        self._last_use = {node: max((place[user] for user in node.users), default=place[node]) for node in self._nodes}
        self._start = 0
        self._kept: list[dict[fx.Node, Any] | None] = [None] * len(self._batches)

    @torch.no_grad()
    def start_at(self, group: ChannelGroup) -> None:
        """Run from the first layer on that holds or reads channels of a group; to be called before they are changed.

        Parameters
        ----------
        group : ChannelGroup
            The group. Going from group to group in the order of the forward pass computes nothing twice.
        """
        touched = {part.module for part in (*group.producers, *group.norms, *group.readers)}
        start = next((i for i, node in enumerate(self._nodes) if _touches(node, touched)), 0)
        left = self._kept_bytes
        for i, batch in enumerate(self._batches if start else ()):
            env, since = self._kept[i], self._start
            if env is None or start < since:
                env, since = {}, 0
            for at in range(since, start):
                self._step(at, env, batch)
            left -= sum(_bytes(value) for value in env.values())
            self._kept[i] = env if left >= 0 else None
        if not start:
            self._kept = [None] * len(self._batches)
        self._start = start

    @torch.no_grad()
    def outputs(self) -> Iterator[Tensor]:
        """Yield the outputs for each batch of the images, as the network is now."""
        for batch, kept in zip(self._batches, self._kept, strict=True):
            if kept is None:
                yield self._model(batch)
                continue
            env = {node: _copy(value) for node, value in kept.items()}  # a layer may work in place
            for at in range(self._start, len(self._nodes)):
                found = self._step(at, env, batch)
            yield found

    def norms(self) -> list[_BatchNorm]:
        """Return the batch norms behind the change that have running statistics."""
        if not self._start:
            modules = list(self._model.modules())
        else:
            calls = [str(node.target) for node in self._nodes[self._start :] if node.op == "call_module"]
            modules = [module for call in dict.fromkeys(calls) for module in self._model.get_submodule(call).modules()]
        return [
            m for m in modules if isinstance(m, _BatchNorm) and m.track_running_stats and m.running_mean is not None
        ]

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


def _touches(node: fx.Node, modules: set[str]) -> bool:
    """Return whether a node calls one of the modules, or reads one of their tensors."""
    if node.op not in ("call_module", "get_attr"):
        return False
    name = str(node.target)
    return any(name == module or name.startswith(f"{module}.") for module in modules)


def _copy(value: Any) -> Any:
    return fx.node.map_aggregate(value, lambda each: each.clone() if isinstance(each, Tensor) else each)


def _bytes(value: Any) -> int:
    sizes: list[int] = []
    fx.node.map_aggregate(value, lambda each: sizes.append(each.nbytes) if isinstance(each, Tensor) else None)
    return sum(sizes)
