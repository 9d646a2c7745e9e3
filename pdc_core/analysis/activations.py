"""How filters respond to images: how often each is active, and its activation maps, as its first reader sees them.

That is after norm and activation function, where the filter's effect on the rest of the network begins.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pdc_core.batch_sizes import images_in_memory
from pdc_core.errors import PDCError
from pdc_core.graph import ChannelGraph, ChannelGroup
from pdc_core.graph.readers import reading

_BATCH = 100  # images at once


@torch.no_grad()
def activation_rates(model: nn.Module, graph: ChannelGraph, images: Tensor) -> dict[str, NDArray[np.float64]]:
    """Return the share of images and pixels at which each filter is active (above 0), for all groups in one pass.

    Parameters
    ----------
    model : nn.Module
        A network in eval mode.
    graph : ChannelGraph
        Its trace.
    images : Tensor, shape (b, c, h, w)
        Prepared images, at least one.

    Returns
    -------
    dict of str to array of float64, shape (n,)
        0 to 1, by the name of the group; groups that nothing reads are absent.
    """
    groups = [g for g in graph.clusterable if g.readers]
    active = {g.name: np.zeros(g.size) for g in groups}
    seen = dict.fromkeys(active, 0)

    def count(group: ChannelGroup, x: Tensor) -> None:
        values = x.flatten(1)  # (n, pixels of the batch)
        active[group.name] += (values > 0).sum(dim=1).cpu().numpy()
        seen[group.name] += values.shape[1]

    listen(model, groups, images, count)
    return {name: total / max(1, seen[name]) for name, total in active.items()}


@torch.no_grad()
def activation_maps(
    model: nn.Module, group: ChannelGroup, images: Tensor, filters: Sequence[int]
) -> NDArray[np.float32]:
    """Return the activation maps of some filters on some images.

    After a flatten, when the reader is a linear layer, a map that is not square is one row.

    Parameters
    ----------
    model : nn.Module
        A network in eval mode.
    group : ChannelGroup
        The group, of n filters.
    images : Tensor, shape (b, c, h, w)
        Prepared images, at least one.
    filters : sequence of int
        Filters, 0 to n - 1.

    Returns
    -------
    array of float32, shape (filters, b, h, w)
        One map per filter and image.

    Raises
    ------
    PDCError
        If nothing reads the group.
    """
    if not group.readers:
        raise PDCError(f"Nothing reads group {group.name!r}, so its filters have no effect to show.")
    parts: list[Tensor] = []
    rows = torch.as_tensor(list(filters))

    def keep(_: ChannelGroup, x: Tensor) -> None:
        chosen = x[rows.to(x.device)]  # (filters, m, b, ...)
        parts.append(chosen.movedim(1, 2).flatten(2) if chosen.dim() == 3 else chosen.movedim(1, 2).flatten(2, 3))

    listen(model, [group], images, keep)
    maps = torch.cat([part.cpu() for part in parts], dim=1).float()
    if maps.dim() == 3:
        side = round(maps.shape[2] ** 0.5)
        maps = maps.unflatten(2, (side, side) if side * side == maps.shape[2] else (1, maps.shape[2]))
    return maps.numpy()


def listen(
    model: nn.Module,
    groups: Sequence[ChannelGroup],
    images: Tensor,
    hear: Callable[[ChannelGroup, Tensor], None],
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Run images through a network, in batches that fit into memory, and hand on what each group's first reader gets.

    Parameters
    ----------
    model : nn.Module
        A network in eval mode.
    groups : sequence of ChannelGroup
        Groups that something reads.
    images : Tensor, shape (b, c, h, w)
        Prepared images, at least one.
    hear : callable
        Called for each group and batch with (group, activations), activations of shape (n, m, b, ...).
    progress : callable, optional
        Called after each batch with (images done, images in all); what it raises ends the work.
    """
    parts = [(group.readers[0], partial(hear, group)) for group in groups]
    done = 0
    with reading(model, parts):
        for batch in images.split(images_in_memory(images.shape[1:], _BATCH)):
            model(batch)
            done += len(batch)
            if progress is not None:
                progress(done, len(images))
