"""What the forward pass itself must change when channels go: literal sizes, and the index expansions of `gather`.

Where nothing has to change, the network's own forward pass is kept.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from pdc_core.errors import PDCError
from pdc_core.folding.again import still_computes
from pdc_core.graph import ChannelGraph
from pdc_core.graph.ids import Ids
from pdc_core.graph.narrowing import Survivors, changed_calls, stays_of


class Gather(nn.Module):
    """Expand unique channels to full width before a sum: channel i of the output is channel index[i] of the input.

    Parameters
    ----------
    index : Tensor, shape (n,), int64
        Which input channel each output channel is, 0 to k-1; saved with the weights.
    dim : int
        The axis of the channels.
    """

    index: Tensor

    def __init__(self, index: Tensor, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.register_buffer("index", index)

    def forward(self, x: Tensor) -> Tensor:
        return x.index_select(self.dim, self.index)

    def extra_repr(self) -> str:
        unique = int(self.index.max()) + 1 if self.index.device.type != "meta" else "?"
        return f"{unique} -> {len(self.index)}, dim={self.dim}"


class Rewritten(fx.GraphModule):
    """A rewritten forward pass, copied whole: torch.fx would copy no more than what the forward pass itself reads."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Rewritten:
        made = type(self).__new__(type(self))
        made.__class__.__name__ = type(self).__name__
        memo[id(self)] = made
        made.__dict__.update(copy.deepcopy(self.__dict__, memo))
        made.graph = made.__dict__["_graph"]
        return made


def rewrite(model: nn.Module, graph: ChannelGraph, survivors: Survivors) -> nn.Module:
    """Return the network itself, or a GraphModule of it where its forward pass has to change."""
    program = graph.program
    changes = changed_calls(program, survivors, _shapes(model) if program.functional else {})
    expansions = {
        (node, operand): index
        for node in program.graph.nodes
        if node in program.expanded
        for operand in node.all_input_nodes
        if (index := _expansion(program.values[operand], program.classes, survivors)) is not None
    }
    careful = program.functional or program.sizes is not None or _has_code_of_others(model)
    if not changes and not expansions and not careful:
        return model
    new = fx.Graph()
    copied: dict[fx.Node, fx.Node] = {}
    for node in program.graph.nodes:
        made = copied[node] = new.node_copy(node, copied.__getitem__)
        if node in changes:
            target, args, kwargs = changes[node]
            made.target = target
            made.args, made.kwargs = fx.node.map_arg((args, kwargs), copied.__getitem__)
    if careful and not expansions and still_computes(model, new, program, graph):
        return model
    if program.sizes is not None:
        _fix_size(model, new, program.sizes)
    earlier = sum(isinstance(m, Gather) for m in model.children())  # of a network that was folded before
    for number, ((node, operand), index) in enumerate(expansions.items(), start=earlier):
        name = f"gather_{number}"
        model.add_module(name, Gather(torch.as_tensor(index, device=_device(model)), program.values[operand].dim))
        with new.inserting_before(copied[node]):
            expanded = new.call_module(name, (copied[operand],))
        copied[node].replace_input_with(copied[operand], expanded)
    for name, value in program.constants.items():
        model.register_buffer(name, value, persistent=False)
    new.lint()
    rewritten = Rewritten(model, new, type(model).__name__)
    for name, child in model.named_children():  # also what this forward pass does not use, such as auxiliary heads
        rewritten.add_module(name, child)
    for name, parameter in model.named_parameters(recurse=False):
        rewritten.register_parameter(name, parameter)
    for name, buffer in model.named_buffers(recurse=False):
        rewritten.register_buffer(name, buffer, persistent=name not in model._non_persistent_buffers_set)
    return rewritten.train(model.training)


class FixedSize(nn.Module):
    """Let inputs of one size pass: a forward pass that could only be traced at that size holds for no other.

    Parameters
    ----------
    sizes : tuple of int
        (c, h, w) of an input.
    """

    def __init__(self, sizes: tuple[int, ...]) -> None:
        super().__init__()
        self.sizes = sizes

    def forward(self, x: Tensor) -> Tensor:
        if tuple(x.shape[1:]) != self.sizes:
            raise PDCError(
                f"This folded network takes inputs of shape {self.sizes}, not {tuple(x.shape[1:])}: its forward pass "
                "depends on the size. Trace and fold it again at the other size."
            )
        return x

    def extra_repr(self) -> str:
        return " x ".join(map(str, self.sizes))


def _has_code_of_others(model: nn.Module) -> bool:
    """Return whether a forward pass may compute with widths that it reads from its layers, as torch's own never do."""
    known = {"torch", "torchvision", "pdc_core"}
    return any("forward" in m.__dict__ or type(m).__module__.partition(".")[0] not in known for m in model.modules())


def _fix_size(model: nn.Module, program: fx.Graph, sizes: tuple[int, ...]) -> None:
    model.add_module("fixed_size", FixedSize(sizes))
    entry = next(node for node in program.nodes if node.op == "placeholder")
    with program.inserting_after(entry):
        checked = program.call_module("fixed_size", (entry,))
    entry.replace_all_uses_with(checked, delete_user_cb=lambda user: user is not checked)


def _shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """Return the shape of every parameter and buffer."""
    tensors = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    return {name: tuple(t.shape) for name, t in tensors}


def _device(model: nn.Module) -> torch.device:
    return next((p.device for p in model.parameters()), torch.device("cpu"))


def _expansion(ids: Any, classes: np.ndarray, survivors: Survivors) -> np.ndarray | None:
    """Return the index that expands an activation's unique channels to full width, None if all its channels stay."""
    if not isinstance(ids, Ids) or stays_of(ids, classes, survivors).all():
        return None
    own = classes[ids.channels]
    numbered = list(zip(own, _occurrence(own), strict=True))  # a class may occur several times, as in a concat
    stay = [each for each in numbered if survivors.stays[each[0]]]
    place = {each: i for i, each in enumerate(stay)}
    return np.array([place[survivors.stands_for[c], r] for c, r in numbered], dtype=np.int64)


def _occurrence(values: np.ndarray) -> np.ndarray:
    """Return for every entry how many equal ones stand before it."""
    order = np.argsort(values, kind="stable")
    _, starts, counts = np.unique(values[order], return_index=True, return_counts=True)
    result = np.empty(len(values), dtype=np.int64)
    result[order] = np.arange(len(values)) - np.repeat(starts, counts)
    return result
