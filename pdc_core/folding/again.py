"""Does a folded network's own forward pass still compute the program that the fold asks for?

A forward pass that calls layers as functions may name widths that no module of torch's holds (`groups=self.width`). So
it is traced again after the fold and compared with the rewritten program, operation by operation.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx, nn

from pdc_core.errors import PDCError
from pdc_core.graph import ChannelGraph
from pdc_core.graph.interpreter import ChannelInterpreter
from pdc_core.graph.program import trace_program
from pdc_core.graph.structure import Program


def still_computes(model: nn.Module, wanted: fx.Graph, program: Program, graph: ChannelGraph) -> bool:
    """Return whether the forward pass of a folded network is the wanted program, to the last number."""
    example = torch.empty(1, *graph.input_shape, device="meta")
    training = [module for module in model.modules() if module.training]
    model.eval()  # as it was when the program was traced
    try:
        found, walk, sized = trace_program(
            model, lambda: ChannelInterpreter(model, graph.residual, program.inputs), example
        )
    except PDCError:  # it refuses its new widths
        return False
    finally:
        for module in training:
            module.training = True
    if sized != (program.sizes is not None) or not _same(walk.constants, program.constants):
        return False
    return _plain(found) == _plain(wanted)


def _same(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> bool:
    """Return whether a forward pass makes the same tensors from nothing; those on the meta device have no values."""
    return found.keys() == wanted.keys() and all(
        t.device == wanted[name].device != torch.device("meta") and torch.equal(t, wanted[name])
        for name, t in found.items()
    )


def _plain(program: fx.Graph) -> list[Any]:
    """Return a program as plain values: operations and arguments, with nodes as their numbers."""
    number = {node: i for i, node in enumerate(program.nodes)}
    rows = []
    for node in program.nodes:
        call = fx.node.map_arg((node.args, dict(node.kwargs)), lambda n: ("node", number[n]))
        target = node.target if node.op != "placeholder" else ""
        rows.append((node.op, target, _as_tuples(call)))
    return rows


def _as_tuples(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return tuple(_as_tuples(each) for each in value)
    if isinstance(value, dict):
        return tuple(sorted((str(key), _as_tuples(each)) for key, each in value.items()))
    if isinstance(value, slice):
        return "slice", value.start, value.stop, value.step
    return value
