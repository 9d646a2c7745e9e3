"""What labels say of clusters: how many, which members come first, which groups merge; and labels dealt out in turn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import pdc_core as pdc
from pdc_core.clustering import canonical
from pdc_core.clustering.assignment import assign_group, deal_out
from pdc_core.clustering.labels import cluster_count, merged_groups
from pdc_core.graph.narrowing import first_members

LABELS = st.lists(st.integers(0, 9), min_size=1, max_size=40).map(lambda values: canonical(np.array(values)))


@given(LABELS)
def test_clusters_are_counted_and_their_first_members_found_as_a_loop_would(a: np.ndarray) -> None:
    members = a.tolist()
    assert cluster_count(a) == len(set(members))
    assert first_members(a).tolist() == [members.index(c) for c in range(len(set(members)))]
    shuffled = np.random.default_rng(0).permutation(cluster_count(a))[a]  # numbers in any order
    assert first_members(shuffled).tolist() == [shuffled.tolist().index(c) for c in range(cluster_count(a))]


@given(st.dictionaries(st.text(max_size=2), LABELS, max_size=5))
def test_merged_groups_are_those_with_fewer_clusters_than_filters(labels: dict[str, np.ndarray]) -> None:
    merged = merged_groups(labels)
    assert list(merged) == [name for name, a in labels.items() if len(set(a.tolist())) < len(a)]
    assert all(merged[name] is labels[name] for name in merged)


def test_labels_dealt_out_in_turn_have_the_plans_counts_in_every_block() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 8, 1), nn.Conv2d(8, 12, 3, groups=4), nn.Conv2d(12, 6, 1), nn.Flatten(), nn.Linear(6 * 36, 2)
    ).eval()
    graph = pdc.trace(net, torch.zeros(1, 3, 8, 8))
    plan = pdc.Plan.uniform(graph, keep=0.5)
    labels = deal_out(graph, plan)
    assert set(labels) == {g.name for g in graph.clusterable}
    for group in graph.clusterable:
        a = pdc.check_labels(graph, {group.name: labels[group.name]})[group.name]  # none reaches across blocks
        assert cluster_count(a) == plan.counts[group.name]
        sizes = np.bincount(a)
        assert sizes.max() - sizes.min() <= 1
    assert deal_out(graph, pdc.Plan())["0"].tolist() == list(range(8))
    with pytest.raises(pdc.PDCError, match="no group"):
        deal_out(graph, pdc.Plan(counts={"elsewhere": 2}))


def test_pinned_filters_stay_alone_and_take_from_the_count_of_their_own_block() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 12, 1), nn.Conv2d(12, 6, 3, groups=2), nn.Conv2d(6, 2, 1)).eval()
    group = pdc.trace(net, torch.zeros(1, 3, 8, 8)).group("0")
    pinned = (1, 3, 4, 8, 9)
    a = assign_group(net, group, 8, pinned=pinned)
    assert [a.tolist().count(a[i]) for i in pinned] == [1] * 5
    assert [len(set(a[own])) for own in (slice(0, 6), slice(6, 12))] == [4, 4]
    assert cluster_count(a) == 8
