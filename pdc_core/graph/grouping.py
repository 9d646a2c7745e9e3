"""From notes to channel groups: which ids are tied, which of them share producers, paddings and splits.

Ids that are tied form a class, one channel of a group. Classes belong to one group when the same producers write them
and the same paddings and splits touch them: a partition that every note refines.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from pdc_core.graph.ids import WAY, IntArray, TraceRecord
from pdc_core.graph.structure import ChannelGroup, Slice
from pdc_core.graph.tensors import NORM_TENSORS

_MIXED = "its weights are used in another way, too"
_UNEVEN = "is read unevenly by one layer"


@dataclass(frozen=True, eq=False)
class Grouping:
    """The groups, and where every id went.

    Attributes
    ----------
    groups : tuple of ChannelGroup
        In the order of the forward pass.
    classes : int array
        The class of each id.
    group, position : int array
        For each class the index of its group (-1: none), and its place in that group.
    """

    groups: tuple[ChannelGroup, ...]
    classes: IntArray
    group: IntArray
    position: IntArray


def build_groups(notes: TraceRecord) -> Grouping:
    """Turn the record of a trace into channel groups."""
    _settle_tensors_(notes)
    classes = _classes(notes)
    count = int(classes.max()) + 1
    producers = [classes[ids] for ids in notes.producers.values()]
    reasons, reason = _reasons(notes, classes, count)

    partition = reason.copy()
    for written in producers:
        times = np.bincount(written, minlength=count)[written]
        _refine_(partition, written, times)
    for ids in notes.constants:
        _refine_(partition, np.unique(classes[ids]))
    for ids, part in notes.parts:
        _refine_(partition, *_marks(classes[ids], ids, part))

    first_producer, first_channel = np.full(count, -1), np.full(count, -1)
    for t in reversed(range(len(producers))):
        first_producer[producers[t][::-1]] = t
        first_channel[producers[t][::-1]] = np.arange(len(producers[t]))[::-1]
    group, position, sizes = _numbered(partition, first_producer, first_channel)

    written_by = _slices(notes.producers, classes, group, position, sizes)
    normed_by = _slices(notes.norms, classes, group, position, sizes)
    read_by = _slices(notes.readers, classes, group, position, sizes)
    blocks = _blocks(notes, classes, group, position, sizes)
    some_class = np.zeros(len(sizes), dtype=np.int64)
    some_class[group[group >= 0]] = np.flatnonzero(group >= 0)
    groups, taken, tensors = [], set(), notes.tensors
    for g, size in enumerate(sizes):
        block, uneven_block = blocks[g]
        uneven = _UNEVEN if any(slots is None for _, slots in read_by[g] + normed_by[g]) else None
        name = written_by[g][0][0]
        if name in taken:
            name = next(f"{name}.{i}" for i in range(2, 1000) if f"{name}.{i}" not in taken)
        taken.add(name)
        groups.append(
            ChannelGroup(
                name,
                int(size),
                producers=tuple(Slice(m, c, tensors.get(m)) for m, slots in written_by[g] for c in _columns(slots)),
                norms=tuple(Slice(m, c, tensors.get(m)) for m, slots in normed_by[g] for c in _columns(slots)),
                readers=tuple(Slice(m, slots, tensors.get(m)) for m, slots in read_by[g] if slots is not None),
                frozen=reasons[reason[some_class[g]]] or uneven or uneven_block,
                block=block,
            )
        )
    return Grouping(tuple(groups), classes, group, position)


def _classes(notes: TraceRecord) -> IntArray:
    """Return for every id the class of ids that it is tied to (connected components of the ties)."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    a = np.concatenate([np.zeros(0, np.int64), *(t[0] for t in notes.ties)])
    b = np.concatenate([np.zeros(0, np.int64), *(t[1] for t in notes.ties)])
    ties = coo_matrix((np.ones(len(a), np.int8), (a, b)), shape=(notes.size, notes.size))
    return connected_components(ties, directed=False)[1].astype(np.int64)


def _settle_tensors_(notes: TraceRecord) -> None:
    """Note parameters outside of layers as norms; freeze what uses a tensor in two ways that differ."""
    for path, ids in notes.rows.items():
        if path not in notes.consumed:
            notes.norms[path] = ids
    tables = (notes.producers, notes.norms, notes.readers)
    users: dict[str, set[str]] = defaultdict(set)  # tensor, or module, -> names of layers that use it
    for name in {name for table in tables for name in table}:
        tensors = notes.tensors.get(name)
        for path in [path for _, path in tensors.paths] if tensors else [f"{name}.{role}" for role in NORM_TENSORS]:
            users[notes.aliases.get(path, path)].add(name)
    mixed = {name for names in users.values() if len(names) > 1 for name in names}
    mixed |= {name for name in notes.tensors if name.endswith(WAY)}
    mixed |= {name.removesuffix(WAY) for name in mixed}
    mixed |= notes.computed & notes.readers.keys()  # once as it is, once computed with
    for table in tables:
        for name in mixed & table.keys():
            notes.freeze(table[name], _MIXED)


def _marks(c: IntArray, ids: IntArray, part: IntArray) -> tuple[IntArray, IntArray]:
    """Return classes and the part that each went to; where a class occurs several times, what parts these went to."""
    order = np.lexsort((ids, c))
    classes, starts, counts = np.unique(c[order], return_index=True, return_counts=True)
    if (counts == 1).all():
        return c, part
    several = [tuple(part[order][i : i + n]) for i, n in zip(starts, counts, strict=True)]
    numbers = {marks: number for number, marks in enumerate(dict.fromkeys(several))}
    return classes, np.array([numbers[marks] for marks in several], dtype=np.int64)


def _reasons(notes: TraceRecord, classes: IntArray, count: int) -> tuple[list[str | None], IntArray]:
    """Return the reasons why something is frozen, and for every class the index of its first one (0: none)."""
    reasons: list[str | None] = [None]
    numbers: dict[str, int] = {}
    reason = np.zeros(count, dtype=np.int64)
    for ids, why in notes.frozen:
        if why not in numbers:
            numbers[why] = len(reasons)
            reasons.append(why)
        some = classes[ids]
        reason[some[reason[some] == 0]] = numbers[why]
    return reasons, reason


def _refine_(partition: IntArray, some: IntArray, marks: IntArray | None = None) -> None:
    """Split the parts of a partition: some classes leave the others, those with different marks each other."""
    if not len(some):
        return
    old = partition[some]
    if marks is not None:
        marks = np.asarray(marks, dtype=np.int64)
        old = old * (int(marks.max()) + 1) + marks
    _, new = np.unique(old, return_inverse=True)
    partition[some] = int(partition.max()) + 1 + new.reshape(-1)


def _numbered(partition: IntArray, producer: IntArray, channel: IntArray) -> tuple[IntArray, IntArray, IntArray]:
    """Return class -> group, class -> position in it, and the groups' sizes; groups in the order of their producers."""
    known = np.flatnonzero(producer >= 0)
    _, lowest, part = np.unique(partition[known], return_index=True, return_inverse=True)
    leaders = known[lowest]
    order = np.lexsort((channel[leaders], producer[leaders]))
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    group = np.full(len(partition), -1, dtype=np.int64)
    group[known] = rank[part.reshape(-1)]
    sizes = np.bincount(group[known], minlength=len(order))
    position = np.zeros(len(partition), dtype=np.int64)
    in_order = known[np.lexsort((channel[known], group[known]))]
    position[in_order] = np.arange(len(known)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return group, position, sizes


def _columns(slots: IntArray | None) -> list[IntArray]:
    return [] if slots is None else [np.ascontiguousarray(column) for column in slots.T]


Slots = list[list[tuple[str, IntArray | None]]]


def _slices(
    table: dict[str, IntArray], classes: IntArray, group: IntArray, position: IntArray, sizes: IntArray
) -> Slots:
    """Return per group (module, positions (n, m)); None where the channels do not all occur equally often."""
    found: Slots = [[] for _ in sizes]
    for name, ids in table.items():
        c = classes[ids]
        of, at = group[c], position[c]
        for g, places in _by_group(of):
            occurrences = np.bincount(at[places], minlength=sizes[g])
            if (occurrences != occurrences[0]).any():
                found[g].append((name, None))
                continue
            slots = places[np.argsort(at[places], kind="stable")].reshape(sizes[g], -1)
            found[g].append((name, slots))
    return found


def _by_group(of: IntArray) -> list[tuple[int, IntArray]]:
    """Return (group, indices of its entries, ascending) for every group in `of`; -1 is no group."""
    if len(of) and (of == of[0]).all():
        return [(int(of[0]), np.arange(len(of)))] if of[0] >= 0 else []
    return [(int(g), np.flatnonzero(of == g)) for g in np.unique(of) if g >= 0]


def _blocks(
    notes: TraceRecord, classes: IntArray, group: IntArray, position: IntArray, sizes: IntArray
) -> list[tuple[IntArray, str | None]]:
    """Return per group the block of each channel, and a reason where blocks cannot stay equal."""
    keys: dict[int, list[IntArray]] = defaultdict(list)
    uneven: dict[int, str] = {}
    for name, ids, block in notes.blocks:
        c = classes[ids]
        for g, here in _by_group(group[c]):
            table = np.zeros((sizes[g], int(block.max()) + 1), dtype=np.int64)  # how often a channel is in a block
            np.add.at(table, (position[c[here]], block[here]), 1)
            if (table == table[0, 0]).all():
                continue  # every channel is equally often in every block, as behind a channel shuffle
            total = table.sum(axis=0)
            if (total != total[0]).any() or ((table > 0).sum(axis=1) != 1).any() or len(set(table.sum(axis=1))) != 1:
                uneven.setdefault(g, f"is spread unevenly over the groups of convolution {name}")
                continue
            keys[g].append(table.argmax(axis=1))
    result: list[tuple[IntArray, str | None]] = [
        (np.zeros(size, dtype=np.int64), uneven.get(g)) for g, size in enumerate(sizes)
    ]
    for g, marks in keys.items():
        if g in uneven:
            continue
        block = np.unique(np.stack(marks), axis=1, return_inverse=True)[1].reshape(-1).astype(np.int64)
        counts = np.bincount(block)
        if len(counts) > 1 and (counts != counts[0]).any():
            result[g] = result[g][0], "overlaps the groups of convolutions unevenly"
        elif len(counts) == sizes[g] > 1:
            result[g] = result[g][0], "every channel is a convolution group of its own"
        else:
            result[g] = block, None
    return result
