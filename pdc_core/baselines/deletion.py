"""Deletion: filters are removed together with the columns that read them; nothing takes their place."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from pdc_core.baselines.selection import check_kept
from pdc_core.clustering import IntArray
from pdc_core.copies import twin
from pdc_core.folding import fold
from pdc_core.graph import ChannelGraph, ChannelGroup
from pdc_core.graph.tensors import input_axis, layer_of
from pdc_core.reconstruct import copy_filters_


def delete(model: nn.Module, graph: ChannelGraph, kept: Mapping[str, IntArray]) -> nn.Module:
    """Return a network without the other filters of each group; its readers keep their columns of those that stay.

    In the terms of folding: the columns that read a removed filter are set to zero, the filter itself becomes a copy of
    one that stays, and is folded into it, to which it adds nothing.

    Parameters
    ----------
    model : Module
        A network in eval mode; not changed.
    graph : ChannelGraph
        Its trace. Under "internal" only channels inside residual blocks are deleted, so the trunk stays.
    kept : mapping of str to int array, shape (k,)
        The filters that stay, by group; groups that are absent keep all.

    Raises
    ------
    PDCError
        The filters do not fit the graph.

    Source: Li et al., arXiv 1608.08710.
    """
    check_kept(graph, kept)
    work, labels = twin(model), {}
    for name, own in kept.items():
        group = graph.group(name)
        labels[name] = _labels(group, own)
        copy_filters_(work, group, own[labels[name]])
        _silence_(work, group, np.setdiff1d(np.arange(group.size), own))
    return fold(work, graph, labels)


def _labels(group: ChannelGroup, own: IntArray) -> IntArray:
    """Give every filter that stays a cluster; those that go join the first one of their block."""
    labels = np.zeros(group.size, dtype=np.int64)
    for b in range(group.blocks):
        inside = group.block == b
        labels[inside] = np.flatnonzero(inside[own])[0]
    labels[own] = np.arange(len(own))
    return labels


@torch.no_grad()
def _silence_(model: nn.Module, group: ChannelGroup, gone: IntArray) -> None:
    """Set the columns that read some channels to zero."""
    for part in group.readers:
        _silence_inputs_(layer_of(model, part), part.channels[gone].reshape(-1))


def _silence_inputs_(module: nn.Module, positions: IntArray) -> None:
    weight, groups = module.weight, getattr(module, "groups", 1)
    assert isinstance(weight, torch.Tensor)
    if groups == 1:
        weight.index_fill_(input_axis(module), torch.from_numpy(positions).to(weight.device), 0)
        return
    per, outputs = weight.shape[1], weight.shape[0] // groups
    for position in positions:  # each group of a grouped convolution reads its own inputs
        g = int(position) // per
        weight[g * outputs : (g + 1) * outputs, int(position) % per] = 0
