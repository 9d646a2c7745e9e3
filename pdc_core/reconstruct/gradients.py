"""How fast tied filters learn: gradients averaged, as the projection implies, or summed, as in the folded network.

The folded filter w stands for m tied copies whose gradients add up; averaging them is a learning rate m times smaller.
The folded reader V' = V M is the sum of m columns that all receive the same gradient: a learning rate m times larger.
SGD undoes that with gradients divided by m. Other optimisers, such as Adam, divide the length of a gradient out again:
for the time of a step they get each column times m, which is what they would see of V', and it is divided afterwards.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from pdc_core.clustering import IntArray, check_labels
from pdc_core.clustering.labels import cluster_count, merged_groups
from pdc_core.graph import ChannelGraph, ChannelGroup
from pdc_core.graph.tensors import input_axis, layer_of, output_axes


class SummedGradients:
    """One group's parameters bound to its labels, so that tied filters move as those of the folded network would.

    With strength s, for filters, biases and norms: g <- (1-s) g + s M M^T g, and for the columns that read a cluster
    of m channels: g <- g ((1-s) + s/m). At s = 1 SGD, its momentum and its weight decay change V M and one filter per
    cluster as they would change the folded network. Columns that another optimiser trains are lifted instead: their
    gradients stay, and v <- v (1 + s (m-1)) until the step is made.

    Parameters
    ----------
    model : nn.Module
        The network; its gradients are changed by `apply_`.
    group : ChannelGroup
        The group, of n filters.
    labels : array of int, shape (n,)
        Labels 0..k-1; no cluster is empty.
    lifted : set of Parameter, optional
        Those that are not trained by SGD.
    """

    def __init__(
        self, model: nn.Module, group: ChannelGroup, labels: IntArray, lifted: Collection[Tensor] = frozenset()
    ) -> None:
        self.writers: list[tuple[Tensor, int, Tensor]] = []  # parameter, axis of channels, channels
        for part in (*group.producers, *group.norms):
            module = layer_of(model, part)
            for name, axis in output_axes(module).items():
                t = getattr(module, name)
                if isinstance(t, nn.Parameter):
                    self.writers.append((t, axis, torch.as_tensor(part.channels, device=t.device)))
        sizes = np.bincount(labels)[labels]  # m, for every channel
        self.readers: list[tuple[Tensor, Tensor]] = []  # weight, 1/m
        self.lifted: list[tuple[Tensor, Tensor]] = []  # weight, m
        for part in group.readers:
            module = layer_of(model, part)
            assert isinstance(module.weight, Tensor)
            scale = _scale(module, part.channels, sizes)
            if module.weight in lifted:
                self.lifted.append((module.weight, 1 / scale))
            else:
                self.readers.append((module.weight, scale))
        self.a = torch.as_tensor(labels, device=self.writers[0][0].device)
        self.k = cluster_count(labels)

    @torch.no_grad()
    def apply_(self, strength: float, of: Collection[Tensor] | None = None) -> None:
        """Change the gradients that the backward pass left, in place.

        Parameters
        ----------
        strength : float
            s, 0 to 1.
        of : set of Parameter, optional
            Only the gradients of these; by default all.
        """
        for t, axis, channels in self.writers:
            if t.grad is not None and (of is None or t in of):
                g = t.grad.index_select(axis, channels)
                sums = g.new_zeros(*g.shape[:axis], self.k, *g.shape[axis + 1 :]).index_add_(axis, self.a, g)
                t.grad.index_copy_(axis, channels, torch.lerp(g, sums.index_select(axis, self.a), strength))
        for weight, scale in self.readers:
            if weight.grad is not None and (of is None or weight in of):
                weight.grad.mul_(1 + strength * (scale - 1))

    @torch.no_grad()
    def lift_(self, strength: float, of: Collection[Tensor] | None = None) -> list[tuple[Tensor, Tensor]]:
        """Make columns as large as the folded one, in place, for the step of an optimiser that is not SGD.

        Parameters
        ----------
        strength : float
            s, 0 to 1.
        of : set of Parameter, optional
            Only these; by default all.

        Returns
        -------
        list of (Tensor, Tensor)
            Weights, and what to divide them by once the step is made.
        """
        done = []
        for weight, members in self.lifted:
            if weight.grad is not None and (of is None or weight in of):
                factor = 1 + strength * (members - 1)
                weight.mul_(factor)
                done.append((weight, factor))
        return done


def _scale(module: nn.Module, channels: IntArray, sizes: IntArray) -> Tensor:
    """Return 1/m for every weight that reads a channel of a cluster of m, and 1 elsewhere, to multiply a weight by."""
    weight, groups = module.weight, getattr(module, "groups", 1)
    assert isinstance(weight, Tensor)
    per_input = torch.ones(weight.shape[1] * groups if input_axis(module) else weight.shape[0], dtype=weight.dtype)
    flat = channels.reshape(len(channels), -1)
    per_input[torch.from_numpy(flat.reshape(-1))] = torch.from_numpy(1 / np.repeat(sizes, flat.shape[1])).to(weight)
    kernel = (1,) * (weight.dim() - 2)
    if not input_axis(module):  # a transposed convolution has its inputs first
        return per_input.view(-1, 1, *kernel).to(weight.device)
    rows = per_input.view(groups, 1, -1).expand(groups, weight.shape[0] // groups, -1)
    return rows.reshape(weight.shape[0], -1, *kernel).to(weight.device)


def summed_gradients(
    model: nn.Module, graph: ChannelGraph, labels: Mapping[str, IntArray], lifted: Collection[Tensor] = frozenset()
) -> list[SummedGradients]:
    """Bind labels to a network's gradients. Groups that merge nothing are left out.

    Parameters
    ----------
    model : nn.Module
        The network.
    graph : ChannelGraph
        Its trace.
    labels : mapping of str to array of int, shape (n,)
        By the name of the group.
    lifted : set of Parameter, optional
        Those that are not trained by SGD.

    Returns
    -------
    list of SummedGradients
        One per group.

    Raises
    ------
    PDCError
        If the labels do not fit the graph.
    """
    merged = merged_groups(check_labels(graph, labels))
    return [SummedGradients(model, graph.group(name), a, lifted) for name, a in merged.items()]
