"""Tying in the course of a training: which filters are pulled together at which step, with gradients and momentum.

One class per kind of schedule. Whoever trains calls `begin` once, `before_step` when the gradients are there and
`after_step` when the optimiser has used them: the tasks of `train` do so, and `Pruner` in anybody's loop.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from pdc_core.clustering import IntArray, Labels, channel_covariances, check_labels
from pdc_core.errors import PDCError
from pdc_core.graph import ChannelGraph, ChannelGroup
from pdc_core.graph.tensors import output_axes
from pdc_core.reconstruct.gradients import SummedGradients, summed_gradients
from pdc_core.reconstruct.optimizers import optimizer_slots, per_weight_state
from pdc_core.reconstruct.projection import GroupProjection, Weights, deviation, deviation_of_bound, tie
from pdc_core.reconstruct.representatives import merge_filters_
from pdc_core.reconstruct.schedules import progressive, tied


class TyingSettings(Protocol):
    """The settings that tying reads; `train.Training` has them, and says what each means."""

    @property
    def tied_after(self) -> float: ...
    @property
    def recluster_until(self) -> float: ...
    @property
    def merges(self) -> int: ...
    @property
    def merge_decay(self) -> float: ...
    @property
    def centroid(self) -> Weights: ...
    @property
    def tied_gradients(self) -> str: ...


@contextmanager
def evaluating(model: nn.Module) -> Iterator[nn.Module]:
    """Put a network into eval mode for a while; every module is then in the mode in which it was.

    Parameters
    ----------
    model : Module
        Parts that are in eval mode already, such as frozen norms, stay so.
    """
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield model
    finally:
        for module in training:
            module.training = True


class Tying:
    """Pull every filter towards its cluster's centroid, with a strength that rises to 1 as a cube.

    Parameters
    ----------
    model : Module
        The network that is trained. It is changed in place.
    graph : ChannelGraph
        Its trace.
    labels : dict of str to int array (n,)
        The clusters, by the name of their group.
    settings : TyingSettings
        How filters become identical, and when.

    Attributes
    ----------
    optimizers : sequence of Optimizer
        Those that train the network; what they keep per weight is tied along. Set before `begin`.
    strength, progress : float, 0 to 1
        s, and how far the run is.
    labels : dict of str to int array (n,)
        The clusters of the end.
    """

    def __init__(
        self, model: nn.Module, graph: ChannelGraph, labels: Mapping[str, IntArray], settings: TyingSettings
    ) -> None:
        self.model, self.graph, self.settings = model, graph, settings
        self.labels: Labels = dict(labels)
        self.optimizers: Sequence[torch.optim.Optimizer] = ()
        self.strength = self.progress = 0.0
        self.ties: list[GroupProjection] = []
        self.gradients: list[SummedGradients] = []
        self._homes: list[tuple[Any, str, Tensor]] = []  # where every tied tensor lives, its name there, and itself
        self._addresses: list[int] = []

    @property
    def tied(self) -> Labels:
        """The clusters that are pulled together now."""
        return self.labels

    @property
    def gradient_strength(self) -> float:
        """How much of the gradients is summed up, 0 to 1."""
        return self.strength

    @property
    def may_change(self) -> bool:
        """Whether the clusters may still become others."""
        return False

    @property
    def settled(self) -> bool:
        """Whether the filters share the clusters of the end and are tied."""
        return self.strength >= 1

    def strength_at(self, progress: float) -> float:
        """Return the strength s, 0 to 1, at a progress of the run.

        Parameters
        ----------
        progress : float, 0 to 1
            How far the run is.
        """
        return progressive(progress, self.settings.tied_after)

    def begin(self) -> None:
        """Bind network and optimisers, before the first step or where a run goes on."""
        self.bind()

    def relabel(self, labels: Mapping[str, IntArray]) -> None:
        """Go on with other clusters.

        Parameters
        ----------
        labels : dict of str to int array (n,)
            The clusters, by the name of their group.
        """
        self.labels = dict(labels)
        self.bind()

    def release(self) -> None:
        """Tie nothing any more, since the network was folded."""
        self.ties, self.gradients, self._homes, self._addresses = [], [], [], []

    def before_step(self, of: Collection[Tensor] | None = None) -> None:
        """Sum up the gradients of tied filters, where the settings say so. In place.

        Parameters
        ----------
        of : set of Parameter, optional
            Only the gradients of these, where several optimisers step one after another; by default all.
        """
        self._follow()
        for each in self.gradients:
            each.apply_(self.gradient_strength, of)

    def after_step(self, progress: float) -> None:
        """Pull the filters, and what the optimisers keep of them, towards their centroids. In place.

        Parameters
        ----------
        progress : float, above 0 to 1
            How far the run is after this step.
        """
        self.progress = progress
        self.strength = self.strength_at(progress)
        self._tie_(self.strength)

    def settle_(self) -> None:
        """Tie the filters to the clusters of the end, whatever is missing. In place."""
        for each in tie(self.model, self.graph, self.labels, self.settings.centroid):
            each.apply_(1.0)

    def deviation(self) -> float:
        """Return how far the filters are from being tied: 0 tied, 1 where the centroids are all zero."""
        return deviation_of_bound(self.ties)

    def state_dict(self) -> dict[str, Any]:
        """Return labels as tensors, strength and progress; weights and momentum are kept by their owners."""
        return {"labels": _as_tensors(self.labels), "strength": self.strength, "progress": self.progress}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state; `begin` or `relabel` binds the network to it.

        Parameters
        ----------
        state : dict
            What `state_dict` returned.
        """
        self.labels = _as_arrays(state["labels"])
        self.strength, self.progress = float(state["strength"]), float(state["progress"])

    def _tie_(self, strength: float) -> None:
        self._follow()
        for each in self.ties:
            each.apply_(strength)

    def bind(self) -> None:
        """Look up every tensor of the clusters as they are now, in the network and in the optimisers."""
        self.ties = tie(self.model, self.graph, self.tied, self.settings.centroid)
        summed = self.settings.tied_gradients == "summed"
        self.gradients = summed_gradients(self.model, self.graph, self.tied) if summed else []
        self._homes = []
        for each in self.ties:
            for part in (*each.group.producers, *each.group.norms):
                module = self.model.get_submodule(part.module)
                for name in output_axes(module):
                    home = module._parameters if module._parameters.get(name) is not None else module._buffers
                    self._homes.append((home, name, getattr(module, name)))
            each.extend(optimizer_slots(self.model, each.group, self.optimizers))
        self._addresses = self._lie_at()

    def _lie_at(self) -> list[int]:
        """Return the addresses of every tied tensor and of what the optimisers keep of it."""
        found = []
        for home, name, _ in self._homes:
            p = home[name]
            found.append(p.data_ptr())
            for optimizer in self.optimizers:
                if (kept := optimizer.state.get(p)) is not None:
                    found += [t.data_ptr() for t in per_weight_state(kept, p).values()]
        return found

    def _follow(self) -> None:
        """Bind anew where a tensor is another one than before: moved to a device, loaded, or made by the first step."""
        replaced = any(home[name] is not known for home, name, known in self._homes)
        if replaced or self._lie_at() != self._addresses:
            self.bind()


class TiedTying(Tying):
    """Tie the filters from the first step on; parameters are those of `Tying`."""

    def strength_at(self, progress: float) -> float:
        return tied(progress, self.settings.tied_after)


class StepwiseTying(Tying):
    """Merge filters step by step: k falls from n to the plan's count, and readers are refitted after every merge.

    At a few moments until `tied_after`, in every cluster, the filters that the others replace best are merged into
    those (`merge_filters_`). Between two moments the filters that are merged stay tied.

    Parameters
    ----------
    model, graph, labels, settings
        As for `Tying`; `merges`, `tied_after` and `merge_decay` say how often, until when, and whether more of it early
        or late.
    images : Tensor, shape (b, c, h, w)
        Prepared images on which the channels are measured at every merge.

    Source: gradually more identical filters (PDC, doi 10.1016/j.imavis.2023.104743, abstract). Which filters merge
    when, and solving the readers, are our choice; so is the decay k_j = n (k/n)^((j/merges)^merge_decay).
    """

    def __init__(
        self,
        model: nn.Module,
        graph: ChannelGraph,
        labels: Mapping[str, IntArray],
        settings: TyingSettings,
        images: Tensor,
    ) -> None:
        super().__init__(model, graph, labels, settings)
        self.images = images
        self.final = {name: a for name, a in check_labels(graph, labels).items() if a.max() + 1 < len(a)}
        self.now: Labels = {name: np.arange(len(a)) for name, a in self.final.items()}
        self.merged = 0

    @property
    def tied(self) -> Labels:
        return self.now

    @property
    def gradient_strength(self) -> float:
        return 1.0

    def begin(self) -> None:
        super().begin()
        self._merge_until(0.0)

    def after_step(self, progress: float) -> None:
        self.progress = progress
        self._merge_until(progress)
        self._tie_(1.0)

    def settle_(self) -> None:
        if not self.settled:  # ended before the last merge: do it now, since averaging alone would lose far more
            self.merged = self.settings.merges
            self._merge_(1.0)
        super().settle_()

    def deviation(self) -> float:
        """Return how far the filters are from the clusters of the end."""
        return deviation(self.model, self.graph, self.labels, self.settings.centroid)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "now": _as_tensors(self.now), "merged": self.merged}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self.now = _as_arrays(state["now"])
        self.merged = int(state["merged"])
        self.final = {name: a for name, a in check_labels(self.graph, self.labels).items() if name in self.now}

    def _merge_until(self, progress: float) -> None:
        """Do the merges that are due: merge j of m at (j-1)/(m-1) of `tied_after`, the first before the first step."""
        m = self.settings.merges
        due = min(m, 1 + int(progress / self.settings.tied_after * (m - 1) + 1e-9))
        if due > self.merged:
            self.merged = due
            self._merge_((due / m) ** self.settings.merge_decay)

    @torch.no_grad()
    def _merge_(self, share: float) -> None:
        """Merge every group down to n (k/n)^share filters."""
        self.now = merge_(self.model, self.graph, self.final, self.now, self.images, share)
        self.strength = share  # of the way to the plan's counts; what is merged is tied whole
        self.bind()


@torch.no_grad()
def merge_(
    model: nn.Module, graph: ChannelGraph, final: Labels, now: Labels, images: Tensor, share: float = 1.0
) -> Labels:
    """Merge every group down to n (k/n)^share filters, and refit the layers that read them. In place.

    Parameters
    ----------
    model : Module
        The network; filters that share a cluster of `now` are tied. It stays in the mode in which it is.
    graph : ChannelGraph
        Its trace.
    final, now : dict of str to int array (n,)
        The clusters of the end, and those that are tied already, of the same groups.
    images : Tensor, shape (b, c, h, w)
        Prepared images on which channels are measured.
    share : float, 0 to 1
        Of the way to the clusters of the end.

    Returns
    -------
    dict of str to int array (n,)
        The clusters that are tied now; the first process's, with its weights, where several train together.
    """
    groups, merged = [graph.group(name) for name in final], dict(now)
    with evaluating(model):
        measured = channel_covariances(model, groups, images)
    for group in groups:
        a = final[group.name]
        k = _count(group, int(a.max()) + 1, share)
        if k <= now[group.name].max():
            merged[group.name], _ = merge_filters_(model, group, measured[group.name], a, k, now[group.name])
    return share_(model, merged)


def _count(group: ChannelGroup, k: int, share: float) -> int:
    """Return n (k/n)^share, rounded to what the group's blocks allow; k itself at the end."""
    n, blocks = group.size, group.blocks
    return k if share >= 1 else max(k, blocks * round(n * (k / n) ** share / blocks))


class ReclusteredTying(Tying):
    """Pull filters together in clusters that may still change until `recluster_until`.

    Parameters
    ----------
    model, graph, labels, settings
        As for `Tying`.
    cluster : callable
        Makes labels from a network in eval mode.

    Source: in the manner of ASCP (arXiv 2206.08186, abstract: clusters that change while training goes on); our choice.
    """

    def __init__(
        self,
        model: nn.Module,
        graph: ChannelGraph,
        labels: Mapping[str, IntArray],
        settings: TyingSettings,
        cluster: Callable[[nn.Module], Labels],
    ) -> None:
        super().__init__(model, graph, labels, settings)
        self.cluster = cluster

    @property
    def may_change(self) -> bool:
        return self.progress < self.settings.recluster_until

    @torch.no_grad()
    def recluster(self, progress: float) -> None:
        """Cluster the network as it is now, unless the clusters are kept from here on.

        Parameters
        ----------
        progress : float, 0 to 1
            How far the run is.
        """
        if progress < self.settings.recluster_until:
            with evaluating(self.model):
                labels = self.cluster(self.model)
            self.relabel(share_(None, labels))


@dataclass(frozen=True)
class TyingInput:
    """What a schedule is given to make its `Tying`.

    Attributes
    ----------
    model : Module
        The network that is trained.
    graph : ChannelGraph
        Its trace.
    settings : TyingSettings
        How filters become identical, and when.
    cluster : callable
        Makes labels from a network in eval mode.
    images : Tensor, shape (b, c, h, w), or None
        Prepared images to measure channels on.
    """

    model: nn.Module
    graph: ChannelGraph
    settings: TyingSettings
    cluster: Callable[[nn.Module], Labels]
    images: Tensor | None

    def labels(self) -> Labels:
        """Return the clusters of the network as it is."""
        with torch.no_grad(), evaluating(self.model):
            return share_(None, self.cluster(self.model))


def _stepwise(given: TyingInput) -> StepwiseTying:
    if given.images is None:
        raise PDCError(
            "schedule 'merge' measures channels on images at every merge; give images, a tensor of prepared inputs "
            "(512 are enough), or choose schedule='progressive'."
        )
    return StepwiseTying(given.model, given.graph, given.labels(), given.settings, given.images)


TYING: dict[str, Callable[[TyingInput], Tying]] = {
    "merge": _stepwise,
    "progressive": lambda given: Tying(given.model, given.graph, given.labels(), given.settings),
    "recluster": lambda given: ReclusteredTying(
        given.model, given.graph, given.labels(), given.settings, given.cluster
    ),
    "tied": lambda given: TiedTying(given.model, given.graph, given.labels(), given.settings),
}


def share_(model: nn.Module | None, labels: Labels) -> Labels:
    """Give all processes of a distributed training the first one's labels and weights; return the labels.

    Parameters
    ----------
    model : Module or None
        Its parameters and buffers are overwritten in all processes but the first. None leaves weights alone.
    labels : dict of str to int array (n,)
        The clusters that this process found.

    Returns
    -------
    dict of str to int array (n,)
        The first process's; those given where there is one process.
    """
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return labels
    common = [labels]
    dist.broadcast_object_list(common, src=0)
    if model is not None:
        for t in (*model.parameters(), *model.buffers()):
            dist.broadcast(t.data, src=0)
    return common[0]


def _as_tensors(labels: Labels) -> dict[str, Tensor]:
    return {name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in labels.items()}


def _as_arrays(labels: Mapping[str, Tensor]) -> Labels:
    return {name: a.cpu().numpy() for name, a in labels.items()}
