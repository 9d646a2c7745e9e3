"""Where the boxes of a network go: ranks from left to right, and lanes for what runs side by side.

networkx does the graph theory: topological generations are the ranks, longest paths the lanes, and a greedy colouring
of intervals gives everything that overlaps a lane of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from pdc_core.charts.network.blocks import Block
from pdc_core.graph.flow import Flow, FlowNode

if TYPE_CHECKING:
    import networkx as nx

WIDEST = 44  # ranks of a network that is drawn with no block folded
_Key = TypeVar("_Key", bound=Hashable)


@dataclass(frozen=True)
class Box:
    """One box of the picture: a node of the flow, or a folded block.

    Attributes
    ----------
    key : str
        The node's key, or the block's.
    kind : str
        The node's kind, or "block".
    nodes : tuple of FlowNode
        What it stands for, in the order of the forward pass.
    rank : int
        Its column, 0 or more; whoever feeds it has a lower one.
    lane : int
        0 for the longest way through the network, 1 and more below it.
    block : Block or None
        The folded block.
    """

    key: str
    kind: str
    nodes: tuple[FlowNode, ...]
    rank: int
    lane: int
    block: Block | None = None


@dataclass(frozen=True)
class Wire:
    """One edge of the picture.

    Attributes
    ----------
    source, target : str
        Keys of two boxes.
    level : int or None
        For an edge that passes over boxes of its own lane: how high, 0 or more.
    """

    source: str
    target: str
    level: int | None


@dataclass(frozen=True)
class Arrangement:
    """A network as boxes in ranks and lanes.

    Attributes
    ----------
    boxes : tuple of Box
        In the order of the forward pass.
    wires : tuple of Wire
        Who feeds whom.
    folded : tuple of Block
        The blocks drawn as one box.
    """

    boxes: tuple[Box, ...]
    wires: tuple[Wire, ...]
    folded: tuple[Block, ...]


def stacked(intervals: Mapping[_Key, tuple[float, float]]) -> dict[_Key, int]:
    """Give intervals that overlap different rows, 0 and up, the shortest lowest; those that only touch may share one.

    Parameters
    ----------
    intervals : mapping of key to (float, float)
        Where each begins and ends.

    Examples
    --------
    >>> stacked({"a": (0, 9), "b": (1, 3), "c": (3, 5)})
    {'b': 0, 'c': 0, 'a': 1}
    """
    import networkx as nx

    graph = nx.Graph()
    order = sorted(intervals, key=lambda key: (intervals[key][1] - intervals[key][0], intervals[key][0]))
    graph.add_nodes_from(order)
    for i, one in enumerate(order):
        for other in order[:i]:
            if max(intervals[one][0], intervals[other][0]) < min(intervals[one][1], intervals[other][1]):
                graph.add_edge(one, other)
    return dict(nx.greedy_color(graph, strategy=lambda *_: order))


def automatic_folds(flow: Flow, blocks: Sequence[Block], widest: int = WIDEST) -> frozenset[str]:
    """Return the blocks to fold so that a deep network stays legible: none, or every run of alike modules.

    Parameters
    ----------
    flow : Flow
        What feeds what.
    blocks : sequence of Block
        The network's blocks.
    widest : int, default 44
        Ranks up to which nothing is folded.
    """
    import networkx as nx

    if len(list(nx.topological_generations(_digraph(flow.edges, flow.nodes)))) <= widest:
        return frozenset()
    return frozenset(block.key for block in blocks if block.run)


def arrange(flow: Flow, blocks: Sequence[Block], folded: Collection[str] = ()) -> Arrangement:
    """Place the boxes of a network.

    A block that could not be one box, since a way leads out of it and back into it, stays unfolded.

    Parameters
    ----------
    flow : Flow
        What feeds what.
    blocks : sequence of Block
        The network's blocks, outer ones first.
    folded : collection of str, default ()
        Keys of blocks that are drawn as one box; others are ignored.
    """
    import networkx as nx

    nodes = {node.key: node for node in flow.nodes}
    at = {key: key for key in nodes}  # node -> box
    done: list[Block] = []
    dag = _digraph(flow.edges, flow.nodes)
    for block in blocks:
        if block.key not in folded or any(block.nodes <= outer.nodes for outer in done):
            continue
        tried = {key: block.key if key in block.nodes else box for key, box in at.items()}
        contracted = _contracted(flow, tried)
        if nx.is_directed_acyclic_graph(contracted):
            at, dag = tried, contracted
            done.append(block)
    rank = {key: i for i, layer in enumerate(nx.topological_generations(dag)) for key in layer}
    lane = _lanes(dag, rank)
    stands: dict[str, list[FlowNode]] = {}
    for key, box in at.items():
        stands.setdefault(box, []).append(nodes[key])
    whole = {block.key: block for block in done}
    boxes = tuple(
        Box(key, "block" if key in whole else own[0].kind, tuple(own), rank[key], lane[key], whole.get(key))
        for key, own in stands.items()
    )
    return Arrangement(boxes, _wires(dag, rank, lane), tuple(done))


def _digraph(edges: Collection[tuple[str, str]], nodes: Sequence[FlowNode]) -> nx.DiGraph[Any]:
    import networkx as nx

    graph: nx.DiGraph[Any] = nx.DiGraph()
    graph.add_nodes_from(node.key for node in nodes)
    graph.add_edges_from(edges)
    return graph


def _contracted(flow: Flow, at: dict[str, str]) -> nx.DiGraph[Any]:
    import networkx as nx

    graph: nx.DiGraph[Any] = nx.DiGraph()
    graph.add_nodes_from(at.values())
    graph.add_edges_from((at[a], at[b]) for a, b in flow.edges if at[a] != at[b])
    return graph


def _lanes(dag: nx.DiGraph[Any], rank: dict[str, int]) -> dict[str, int]:
    """Return the lane of every box: the longest path is lane 0; what is left is split into paths in the same way."""
    import networkx as nx

    rest, paths = dag.copy(), []
    while len(rest):
        paths.append(nx.dag_longest_path(rest))
        rest.remove_nodes_from(paths[-1])
    if not paths:
        return {}
    intervals = {}
    for i, path in enumerate(paths[1:], start=1):
        before = min((float(rank[key]) for key in dag.predecessors(path[0])), default=rank[path[0]] - 0.5)
        after = max((float(rank[key]) for key in dag.successors(path[-1])), default=rank[path[-1]] + 0.5)
        intervals[i] = (before, after)
    row = stacked(intervals)
    return {key: 1 + row[i] if i else 0 for i, path in enumerate(paths) for key in path}


def _wires(dag: nx.DiGraph[Any], rank: dict[str, int], lane: dict[str, int]) -> tuple[Wire, ...]:
    standing = {(lane[key], rank[key]) for key in dag}
    over: dict[int, dict[tuple[str, str], tuple[float, float]]] = {}
    for a, b in dag.edges:
        own = lane[a]
        if own == lane[b] and any((own, r) in standing for r in range(rank[a] + 1, rank[b])):
            over.setdefault(own, {})[a, b] = (rank[a], rank[b])
    levels = {pair: row for pairs in over.values() for pair, row in stacked(pairs).items()}
    return tuple(Wire(a, b, levels.get((a, b))) for a, b in dag.edges)
