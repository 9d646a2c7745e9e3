"""Blocks of a network that fold into one box: modules with several layers, and runs of modules that are all alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pdc_core.graph.flow import Flow, FlowNode
from pdc_core.graph.structure import Layer

DEEPEST = 3  # blocks within blocks that are named
_WRAPPER = 0.6  # a module with a larger share of all layers is no block but a name for the whole network
Signature = tuple[tuple[object, ...], ...]


@dataclass(frozen=True)
class Block:
    """A part of the network that can be drawn as one box.

    Attributes
    ----------
    key : str
        The dotted name of a module; "first…last" for a run.
    label : str
        What people read: the name, or "17 more blocks".
    nodes : frozenset of str
        Keys of its nodes.
    parent : str
        Key of the block around it; "" if there is none.
    depth : int
        Blocks around it, 0 to `DEEPEST`.
    run : int
        Alike modules in it; 0 for a module.
    """

    key: str
    label: str
    nodes: frozenset[str]
    parent: str = ""
    depth: int = 0
    run: int = 0


def find_blocks(flow: Flow, layers: Sequence[Layer]) -> tuple[Block, ...]:
    """Return the blocks of a network, outer ones first, otherwise in the order of the forward pass.

    A run holds the modules that follow one of the same structure and width within the same parent.

    Parameters
    ----------
    flow : Flow
        What feeds what.
    layers : sequence of Layer
        The layers that the flow's nodes name.

    Examples
    --------
    >>> import torch, pdc_core as pdc
    >>> from pdc_core.graph.flow import layer_flow
    >>> graph = pdc.trace(pdc.build_model("resnet20", 1, 10).eval(), torch.zeros(1, 1, 8, 8))
    >>> [b.label for b in find_blocks(layer_flow(graph), graph.layers)][:5]
    ['layer1', 'layer2', 'layer3', 'layer1.0', '2 more blocks']
    """
    order = {node.key: i for i, node in enumerate(flow.nodes)}
    modules = _with_parents(_modules(flow), order)
    signatures = {block.key: _signature(block, flow, layers) for block in modules}
    blocks: list[Block] = []
    for parent in ("", *(block.key for block in modules)):
        siblings = [block for block in modules if block.parent == parent]
        for alike in _alike(siblings, signatures):
            rest = alike[1:]
            if len(rest) > 1:
                nodes = frozenset().union(*(block.nodes for block in rest))
                key = f"{rest[0].key}…{rest[-1].key}"
                blocks.append(Block(key, f"{len(rest)} more blocks", nodes, parent, run=len(rest)))
                rest = [replace(block, parent=key) for block in rest]
            blocks += [*alike[:1], *rest]
    parents = {block.key: block.parent for block in blocks}
    deep = [replace(block, depth=_depth(block.key, parents)) for block in blocks]
    kept = [block for block in deep if block.depth <= DEEPEST]
    return tuple(sorted(kept, key=lambda b: (b.depth, min(order[key] for key in b.nodes))))


def _depth(key: str, parents: dict[str, str]) -> int:
    depth = 0
    while parents[key]:
        key, depth = parents[key], depth + 1
    return depth


def _modules(flow: Flow) -> list[Block]:
    """Return modules with several nodes; of those with the same layers the outermost, which has all their joins."""
    members: dict[str, list[FlowNode]] = {}
    for node in flow.nodes:
        parts = node.path.split(".") if node.path else []
        for i in range(len(parts)):
            members.setdefault(".".join(parts[: i + 1]), []).append(node)
    total = sum(node.kind == "layer" for node in flow.nodes)
    found: dict[frozenset[str], Block] = {}
    for name in sorted(members, key=lambda n: n.count(".")):
        own = members[name]
        layers = frozenset(node.name for node in own if node.layer is not None)
        if len(own) > 1 and 0 < len(layers) <= _WRAPPER * total:
            found.setdefault(layers, Block(name, name, frozenset(node.key for node in own)))
    return list(found.values())


def _with_parents(blocks: list[Block], order: dict[str, int]) -> list[Block]:
    names = {block.key for block in blocks}

    def parent(name: str) -> str:
        parts = name.split(".")
        outer = (".".join(parts[:i]) for i in range(len(parts) - 1, 0, -1))
        return next((each for each in outer if each in names), "")

    placed = [replace(block, parent=parent(block.key)) for block in blocks]
    return sorted(placed, key=lambda block: min(order[key] for key in block.nodes))


def _signature(block: Block, flow: Flow, layers: Sequence[Layer]) -> Signature:
    """Return what two alike modules have in common: their nodes, kernels and widths."""
    own = [node for node in flow.nodes if node.key in block.nodes]
    found: list[tuple[object, ...]] = []
    for node in own:
        if node.layer is None:
            found.append((node.kind,))
            continue
        layer = layers[node.layer]
        inner = layer.name.removeprefix(block.key)
        found.append((inner, layer.kind, layer.kernel, layer.out_channels, layer.depthwise))
    return tuple(found)


def _alike(siblings: list[Block], signatures: dict[str, Signature]) -> list[list[Block]]:
    """Split siblings into stretches of the same signature."""
    stretches: list[list[Block]] = []
    for block in siblings:
        if stretches and signatures[stretches[-1][0].key] == signatures[block.key]:
            stretches[-1].append(block)
        else:
            stretches.append([block])
    return stretches
