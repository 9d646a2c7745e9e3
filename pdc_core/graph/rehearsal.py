"""A fold rehearsed on ids alone: what the forward pass cannot be narrowed at is found by `trace`, not by `fold`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import fx, nn

from pdc_core.graph.narrowing import CannotNarrow, changed_calls, survivors_of
from pdc_core.graph.operations import operation
from pdc_core.graph.structure import ChannelGroup, Program
from pdc_core.graph.tensors import input_axis, layer_of, output_axes, paths_of, tensor_at


def obstacle(model: nn.Module, program: Program, groups: Sequence[ChannelGroup]) -> tuple[fx.Node, str] | None:
    """Return the first call that cannot be narrowed, and why; None where every fold that was tried goes through.

    Tried: half of every group's filters, and one per block.
    """
    for keep in (0.5, 0.0):
        labels = {g.name: _labels(g, keep) for g in groups if g.frozen is None and g.size > g.blocks}
        survivors = survivors_of(program, groups, labels)
        try:
            changed_calls(program, survivors, _shapes(model, groups, labels))
        except CannotNarrow as error:
            return error.node, f"passes through {error.node.name} ({operation(error.node)}), which cannot be narrowed"
    return None


def _labels(group: ChannelGroup, keep: float) -> np.ndarray:
    """Return canonical labels: of each block the first filters stay, the others join the last of these."""
    k = max(1, round(keep * group.size / group.blocks))
    rank = np.zeros(group.size, dtype=np.int64)
    for b in range(group.blocks):
        members = np.flatnonzero(group.block == b)
        rank[members] = np.minimum(np.arange(len(members)), k - 1) + b * k
    _, first, a = np.unique(rank, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[a.reshape(-1)]


def _shapes(
    model: nn.Module, groups: Sequence[ChannelGroup], labels: dict[str, np.ndarray]
) -> dict[str, tuple[int, ...]]:
    """Return the shapes that the tensors of narrowed layers would have."""
    shapes: dict[str, list[int]] = {}
    for group in groups:
        if group.name not in labels:
            continue
        gone = group.size - int(labels[group.name].max()) - 1
        for part in (*group.producers, *group.norms):
            module = layer_of(model, part)
            paths = paths_of(module, part)
            for role, axis in output_axes(module).items():
                shapes.setdefault(paths[role], list(tensor_at(model, paths[role]).shape))[axis] -= gone
        for part in group.readers:
            module = layer_of(model, part)
            path = paths_of(module, part)["weight"]
            shape = shapes.setdefault(path, list(tensor_at(model, path).shape))
            shape[input_axis(module)] -= gone * part.channels.shape[1] // int(getattr(module, "groups", 1))
    return {path: tuple(shape) for path, shape in shapes.items()}
