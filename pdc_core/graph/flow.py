"""What feeds what: the layers of a trace and the sums, products and concatenations between them.

Norms, activations, pooling and changes of shape pass on what they get, so they are no nodes here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import fx

from pdc_core.graph.ids import WAY, Weight
from pdc_core.graph.operations import PRODUCT, SUM, operation, plain
from pdc_core.graph.shapes import ids_in
from pdc_core.graph.structure import ChannelGraph

_CONCAT = {"cat", "concat", "concatenate"}


@dataclass(frozen=True)
class FlowNode:
    """One node of the flow.

    Attributes
    ----------
    key : str
        Its name in the traced program; unique.
    kind : {"input", "layer", "sum", "product", "concat", "join", "output"}
        "join" is any other operation on several activations.
    name : str
        The dotted name of a layer; of other nodes what they do, such as "add".
    path : str
        Dotted name of the module whose forward pass it is part of; "" for the network itself.
    layer : int or None
        For "layer", its index in `ChannelGraph.layers`.
    """

    key: str
    kind: str
    name: str
    path: str
    layer: int | None = None


@dataclass(frozen=True)
class Flow:
    """Nodes in the order of the forward pass, and who feeds whom.

    Attributes
    ----------
    nodes : tuple of FlowNode
        Every node comes after those that feed it.
    edges : tuple of (str, str)
        Keys of two nodes: the first feeds the second. No pair occurs twice.
    """

    nodes: tuple[FlowNode, ...]
    edges: tuple[tuple[str, str], ...]


def layer_flow(graph: ChannelGraph) -> Flow:
    """Return the layers, sums, products and concatenations of a network, and who feeds whom.

    A concatenation that begins with all operands of an earlier one is fed by that one and by the rest: it has the same
    channels, and a dense block has as many edges as layers and not their square.

    Parameters
    ----------
    graph : ChannelGraph
        The trace of the network.

    Examples
    --------
    >>> import torch, pdc_core as pdc
    >>> net = torch.nn.Sequential(torch.nn.Conv2d(1, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 4, 3)).eval()
    >>> flow = layer_flow(pdc.trace(net, torch.zeros(1, 1, 8, 8)))
    >>> [node.name for node in flow.nodes], len(flow.edges)
    (['input', '0', '2', 'output'], 3)
    """
    index = {layer.name: i for i, layer in enumerate(graph.layers)}
    nodes: list[FlowNode] = []
    edges: dict[tuple[str, str], None] = {}
    carried: dict[fx.Node, tuple[str, ...]] = {}  # the nodes of the flow whose output a node of the program is
    concats: dict[tuple[fx.Node, ...], str] = {}
    for node in graph.program.graph.nodes:
        feeding = _distinct(key for each in node.all_input_nodes for key in carried[each])
        i = _layer_index(node, graph, index)
        carried[node] = feeding
        if node.op != "output" and not ids_in(graph.program.values[node]):
            carried[node] = ()  # a size, or a parameter
            continue
        if i is not None:
            drawn = FlowNode(node.name, "layer", graph.layers[i].name, _parent(graph.layers[i].name), i)
        elif node.op in ("placeholder", "output"):
            kind = "output" if node.op == "output" else "input"
            drawn = FlowNode(node.name, kind, kind, "")
        elif len(feeding) > 1:
            drawn = FlowNode(node.name, _kind(node), operation(node), _path(node, graph.inside))
        else:
            continue
        if drawn.kind == "concat":
            operands = tuple(n for n in node.all_input_nodes if carried[n])
            first = next((n for n in range(len(operands) - 1, 1, -1) if operands[:n] in concats), 0)
            if first:
                rest = (key for each in operands[first:] for key in carried[each])
                feeding = _distinct((concats[operands[:first]], *rest))
            concats.setdefault(operands, drawn.key)
        nodes.append(drawn)
        carried[node] = (drawn.key,)
        edges |= dict.fromkeys((key, drawn.key) for key in feeding)
    return Flow(tuple(nodes), tuple(edges))


def _distinct(keys: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(keys))


def _kind(node: fx.Node) -> str:
    name = plain(operation(node))
    return "sum" if name in SUM else "product" if name in PRODUCT else "concat" if name in _CONCAT else "join"


def _layer_index(node: fx.Node, graph: ChannelGraph, index: dict[str, int]) -> int | None:
    """Return which layer a node of the program calls; None where it calls none."""
    names = [str(node.target)] if node.op == "call_module" else [node.name]
    for each in node.all_input_nodes if node.op == "call_function" else ():
        value = graph.program.values[each]
        if isinstance(value, Weight):
            names += [_parent(value.path), value.path]
    full = [f"{graph.inside}.{name}" if graph.inside else name for name in names if name]
    return next((index[name] for name in [*full, *(n + WAY for n in full)] if name in index), None)


def _parent(name: str) -> str:
    return name.rpartition(".")[0]


def _path(node: fx.Node, inside: str) -> str:
    """Return the module whose forward pass a node of the program belongs to."""
    stack = node.meta.get("nn_module_stack") or {}
    path = str(next(reversed(stack.values()))[0]) if stack else ""
    return ".".join(part for part in (inside, path) if part)
