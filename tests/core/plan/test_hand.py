"""Clusters by hand and their history: partitions are what was asked for, pins hold, undo gives back every plan."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import pdc_core as pdc
from pdc_core.plan import History, difference, merge, move, pin, set_clusters, split, unpin
from tests.networks import chain, lively_

NET = lively_(chain())
GRAPH = pdc.trace(NET, torch.zeros(1, 2, 6, 6))
PLAN = pdc.Plan.uniform(GRAPH, 0.5)
N = 12  # filters of group "3"
LABELS = [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]


def parts(labels: object) -> set[frozenset[int]]:
    """The clusters as sets of filters: what labels mean, whatever their numbers."""
    a = np.asarray(labels)
    return {frozenset(np.flatnonzero(a == c).tolist()) for c in set(a.tolist())}


@settings(max_examples=50)
@given(filters=st.sets(st.integers(0, N - 1), min_size=1), to=st.integers(0, 5))
def test_moved_filters_join_the_cluster_and_all_others_stay(filters: set[int], to: int) -> None:
    moved = move(PLAN, "3", LABELS, filters, to)
    clusters = parts(moved.hand["3"])
    home = {i for i in range(N) if LABELS[i] == to} | filters
    rest = {frozenset(part - filters) for part in parts(LABELS) if not part & (home - filters)} - {frozenset()}
    assert clusters == rest | {frozenset(home)}
    assert moved.counts["3"] == len(clusters)
    assert {name: k for name, k in moved.counts.items() if name != "3"} == {"0": 3, "8": 4}


@settings(max_examples=50)
@given(clusters=st.sets(st.integers(0, 5), min_size=2))
def test_merged_clusters_are_one_and_a_split_undoes_them(clusters: set[int]) -> None:
    merged = merge(PLAN, "3", LABELS, clusters)
    members = frozenset(i for i in range(N) if LABELS[i] in clusters)
    assert members in parts(merged.hand["3"])
    assert merged.counts["3"] == 6 - len(clusters) + 1
    plan, labels = merged, merged.hand["3"]
    for c in list(clusters)[1:]:
        plan = split(plan, "3", labels, [i for i in range(N) if LABELS[i] == c])
        labels = plan.hand["3"]
    assert parts(labels) == parts(LABELS)


def test_assign_honours_clusters_by_hand_for_every_seed_and_leaves_other_groups_alone() -> None:
    plan = set_clusters(PLAN, "3", [0, 1] * 6)
    for seed in (0, 1):
        labels = pdc.assign(NET, GRAPH, plan, seed=seed)
        assert labels["3"].tolist() == [0, 1] * 6
        assert all(np.array_equal(labels[n], pdc.assign(NET, GRAPH, PLAN, seed=seed)[n]) for n in ("0", "8"))


def test_clusters_by_hand_survive_a_change_elsewhere_and_end_with_a_change_of_their_own_count() -> None:
    plan = set_clusters(PLAN, "3", [0, 1] * 6)
    assert plan.replace({"0": 1}).hand == plan.hand
    assert plan.replace({"0": 1, "3": 2}).hand == plan.hand
    assert plan.replace({"3": 5}).hand == {}
    assert np.array_equal(
        pdc.assign(NET, GRAPH, plan.replace({"3": 5}))["3"], pdc.assign(NET, GRAPH, PLAN.replace({"3": 5}))["3"]
    )


@settings(max_examples=25, deadline=None)
@given(pins=st.sets(st.integers(0, N - 1), max_size=11), k=st.integers(1, N))
def test_pinned_filters_are_alone_at_every_count_that_is_allowed(pins: set[int], k: int) -> None:
    base = PLAN.replace({"3": N})
    plan = pin(base, "3", pins) if pins else base
    if k < len(pins) + (len(pins) < N):
        with pytest.raises(pdc.PDCError, match=f"{len(pins) + 1} or more are allowed"):
            plan.replace({"3": k})
        return
    labels = pdc.assign(NET, GRAPH, plan.replace({"3": k}))["3"]
    assert len(set(labels.tolist())) == k
    assert all({i} in parts(labels) for i in pins)


def test_a_pin_splits_clusters_by_hand_and_is_refused_a_companion_until_unpinned() -> None:
    plan = pin(set_clusters(PLAN, "3", [0, 1] * 6), "3", [4])
    assert plan.counts["3"] == 3
    assert parts(plan.hand["3"]) == {frozenset({4}), frozenset(range(0, N, 2)) - {4}, frozenset(range(1, N, 2))}
    with pytest.raises(pdc.PDCError, match="filter 4 of group '3' is pinned"):
        merge(plan, "3", plan.hand["3"], [0, 1, 2])
    assert merge(unpin(plan, "3"), "3", plan.hand["3"], [0, 1, 2]).counts["3"] == 1


def test_pins_hold_in_every_block_of_a_grouped_convolution() -> None:
    net = lively_(nn.Sequential(nn.Conv2d(2, 8, 1), nn.Conv2d(8, 8, 3, groups=2), nn.Conv2d(8, 3, 1)))
    graph = pdc.trace(net, torch.zeros(1, 2, 6, 6))
    plan = pin(pdc.Plan.uniform(graph, 0.5), "0", [1])
    assert plan.check(graph).allowed(graph.group("0")) == [4, 6, 8]
    labels = pdc.assign(net, graph, plan)["0"]
    assert {1} in parts(labels)
    assert [len(set(labels[:4])), len(set(labels[4:]))] == [2, 2]
    with pytest.raises(pdc.PDCError, match="6 or more are allowed \\(pinned filters: 2"):
        pin(plan, "0", [2]).check(graph)
    across = set_clusters(plan, "0", [0, 1, 0, 0, 0, 2, 3, 3])
    with pytest.raises(pdc.PDCError, match="do not fit its 2 convolution groups"):
        pdc.assign(net, graph, across)


def test_hand_and_pins_survive_json_yaml_and_a_file(tmp_path) -> None:
    plan = pin(set_clusters(PLAN.constrain(GRAPH, min=2), "3", LABELS), "8", [7])
    assert pdc.Plan.from_json(plan.to_json()) == plan
    assert pdc.Plan.from_json(plan.to_yaml()) == plan
    for name in ("plan.json", "plan.yaml"):
        plan.save(tmp_path / name)
        assert pdc.Plan.load(tmp_path / name) == plan


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda: move(PLAN, "3", LABELS, [1], 9), "has no cluster 9"),
        (lambda: move(PLAN, "3", LABELS, [], 1), "No filter of group '3' is selected"),
        (lambda: move(PLAN, "3", LABELS, [12], 1), "has filters 0 to 11"),
        (lambda: move(PLAN, "3", LABELS, [-1], 1), "has filters 0 to 11"),
        (lambda: merge(PLAN, "3", LABELS, [1]), "takes two or more"),
        (lambda: merge(PLAN, "3", LABELS, [1, 7]), "has no cluster 7"),
        (lambda: split(PLAN, "3", LABELS, [0, 1]), "a cluster of their own already"),
        (lambda: set_clusters(PLAN, "3", [0, 1]), "give 12 labels"),
        (lambda: pin(PLAN, "3", [12]), "give each once, 0 to 11"),
        (lambda: pin(PLAN, "3", range(6)), "7 or more are allowed \\(pinned filters: 6"),
        (lambda: pdc.Plan.from_json('{"counts": {"3": 2}, "hand": {"3": [0, 1, 2]}}'), "are 3, but its count is 2"),
        (lambda: merge(PLAN.constrain(GRAPH, round_to=2), "3", LABELS, [0, 1]), "allows multiples of 2"),
        (lambda: pdc.Plan(counts={"3": 2}, hand={"3": (0, 1)}).check(GRAPH), "the clusters by hand have 2"),
    ],
)
def test_edits_that_cannot_be_say_why(change, said: str) -> None:
    with pytest.raises(pdc.PDCError, match=said):
        change()


@given(round_to=st.integers(1, 8), minimum=st.integers(1, 20))
def test_new_constraints_move_every_count_to_the_nearest_allowed(round_to: int, minimum: int) -> None:
    plan = PLAN.constrain(GRAPH, round_to=round_to, min=minimum)
    for group in GRAPH.clusterable:
        allowed = [k for k in range(1, group.size + 1) if k == group.size or (k % round_to == 0 and k >= minimum)]
        best = min(abs(k - PLAN.counts[group.name]) for k in allowed)
        assert plan.counts[group.name] in allowed
        assert abs(plan.counts[group.name] - PLAN.counts[group.name]) == best


@given(steps=st.lists(st.tuples(st.sampled_from(["0", "3", "8"]), st.integers(1, 6)), max_size=8))
def test_undo_and_redo_walk_through_every_plan_there_was(steps: list[tuple[str, int]]) -> None:
    history, plans = History(PLAN), [PLAN]
    for name, k in steps:
        history = history.do(history.present.replace({name: k}), f"{name}: {k}")
        if history.present != plans[-1]:
            plans.append(history.present)
    for plan in reversed(plans):
        assert history.present == plan
        history = history.undo()
    assert history.undo() is history
    for plan in plans[1:]:
        history = history.redo()
        assert history.present == plan
    assert history.redo() is history


def test_a_new_step_forgets_what_was_undone_and_old_steps_are_dropped() -> None:
    history = History(PLAN).do(PLAN.replace({"0": 1}), "first").undo().do(PLAN.replace({"0": 2}), "second")
    assert history.redo() is history
    assert [what for what, _ in history.past] == ["second"]
    for i in range(250):
        history = history.do(PLAN.replace({"3": 1 + i % 12}), str(i))
    assert len(history.past) == 100


def test_the_difference_names_every_line_that_differs_and_no_other() -> None:
    other = pin(set_clusters(PLAN.replace({"0": 1}), "3", LABELS), "8", [7]).constrain(GRAPH, round_to=1, min=1)
    assert [(c.what, c.before, c.after) for c in difference(PLAN, other)] == [
        ("0", "3", "1"),
        ("3", "6", "6, by hand"),
        ("8", "4", "4, pinned 7"),
    ]
    assert difference(PLAN, PLAN) == ()
    (line,) = difference(PLAN, PLAN.model_copy(update={"frozen": ("0",), "bounds": {"0": (1, 3)}}))
    assert (line.what, line.before, line.after) == ("0", "3", "3, frozen, 1 to 3")
    again = set_clusters(other, "3", [*LABELS[::-1][1:], 0])
    assert [c.what for c in difference(other, again)] == ["3"]


def test_assign_compares_and_groups_as_the_plan_says() -> None:
    plan = PLAN.model_copy(update={"vectors": "scaled", "algorithm": "ward"})
    labels = pdc.assign(NET, GRAPH, plan)
    expected = pdc.assign(NET, GRAPH, PLAN, vectors="scaled", algorithm="ward")
    assert all(np.array_equal(labels[name], expected[name]) for name in labels)
    with pytest.raises(pdc.PDCError, match="no clustering algorithm 'birch'"):
        pdc.assign(NET, GRAPH, PLAN.model_copy(update={"algorithm": "birch"}))
