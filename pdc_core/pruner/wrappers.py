"""The network inside what training loops wrap around it."""

from __future__ import annotations

import torch
from torch import nn

from pdc_core.graph import ChannelGraph


def unwrapped(model: nn.Module, graph: ChannelGraph | None = None) -> nn.Module:
    """Return the network inside DistributedDataParallel, torch.compile, AveragedModel or another moving average.

    Parameters
    ----------
    model : Module
        The network, or a wrapper.
    graph : ChannelGraph, optional
        A trace that tells the network from a wrapper with a part called `module`.

    Returns
    -------
    Module
        The innermost network.
    """
    wrappers = (nn.parallel.DistributedDataParallel, nn.DataParallel, torch.optim.swa_utils.AveragedModel)
    while True:
        if isinstance(inner := getattr(model, "_orig_mod", None), nn.Module):
            model = inner
            continue
        inner = getattr(model, "module", None)
        foreign = graph is not None and not _has_layers(model, graph)
        if not isinstance(inner, nn.Module) or not (foreign or isinstance(model, wrappers)):
            return model
        model = inner


def _has_layers(model: nn.Module, graph: ChannelGraph) -> bool:
    names = {name for name, _ in model.named_parameters()}
    parts = [part for group in graph.groups for part in group.producers]
    paths = [dict(part.tensors.paths)["weight"] if part.tensors else f"{part.module}.weight" for part in parts]
    return names.issuperset(paths)
