"""Tying in the course of a training: which filters are pulled together at which step, with gradients and momentum.

One class per kind of schedule, entered in SCHEDULES by the file that holds it; here are "progressive" and "tied".
Whoever trains calls `begin` once, `before_step` when the gradients are there and `after_step` when the optimiser has
used them: `train.PDCTask` does so, and `Pruner` in anybody's loop.
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

from pdc_core.clustering import IntArray, Labels
from pdc_core.graph import ChannelGraph
from pdc_core.graph.tensors import owners
from pdc_core.reconstruct.gradients import SummedGradients, summed_gradients
from pdc_core.reconstruct.optimizers import optimizer_slots, parameters_of, per_weight_state, steps_are_linear
from pdc_core.reconstruct.projection import GroupProjection, Weights, deviation_of_bound, tie
from pdc_core.reconstruct.schedules import SCHEDULES, progressive, tied
from pdc_core.registry import Variant


class TyingSettings(Protocol):
    """The settings that tying reads; `train.Training` has them, and says what each means."""

    @property
    def tied_after(self) -> float: ...
    @property
    def recluster_until(self) -> float: ...
    @property
    def merges(self) -> int | None: ...
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
        self._lifted: list[tuple[Tensor, Tensor]] = []  # readers that an optimiser is stepping, and their factors
        self._guards: list[Any] = []  # hooks that take this back should the step be interrupted
        self._homes: list[tuple[Any, str, Tensor]] = []  # where every tied tensor lives, its name there, and itself
        self._addresses: list[int] = []
        self._trained = 0  # parameters in the optimisers

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
        self.step_made()  # where the last step was interrupted
        for each in self.gradients:
            each.apply_(self.gradient_strength, of)
            self._lifted += each.lift_(self.gradient_strength, of)
        if self._lifted:  # whoever uses the network before the step is made gets it as it was
            lower = lambda *_: self._lower_()  # noqa: E731
            self._guards.append(self.model.register_forward_pre_hook(lower))
            self._guards.append(self.model.register_state_dict_pre_hook(lower))

    def step_made(self) -> None:
        """Take back what `before_step` did for one optimiser's step. In place; more than once is no harm."""
        self._lower_()
        while self._guards:
            self._guards.pop().remove()

    @torch.no_grad()
    def _lower_(self) -> None:
        while self._lifted:
            weight, factor = self._lifted.pop()
            weight.div_(factor)

    def after_step(self, progress: float) -> None:
        """Pull the filters, and what the optimisers keep of them, towards their centroids. In place.

        Parameters
        ----------
        progress : float, above 0 to 1
            How far the run is after this step.
        """
        self.step_made()
        self.progress = progress
        self.strength = self.strength_at(progress)
        self._tie_(self.strength)

    def recluster(self, progress: float) -> None:
        """Make new clusters, under a schedule that does; whoever trains asks now and then, between two steps.

        Parameters
        ----------
        progress : float, 0 to 1
            How far the run is.
        """

    def settle_(self) -> None:
        """Tie the filters to the clusters of the end, whatever is missing. In place."""
        for each in tie(self.model, self.graph, self.labels, self.settings.centroid):
            each.apply_(1.0)

    def deviation(self) -> float:
        """Return how far the filters are from being tied: 0 tied, 1 where the centroids are all zero."""
        return deviation_of_bound(self.ties)

    def state_dict(self) -> dict[str, Any]:
        """Return labels as tensors, strength and progress; weights and momentum are kept by their owners."""
        return {"labels": labels_as_tensors(self.labels), "strength": self.strength, "progress": self.progress}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state; `begin` or `relabel` binds the network to it.

        Parameters
        ----------
        state : dict
            What `state_dict` returned.
        """
        self.labels = labels_as_arrays(state["labels"])
        self.strength, self.progress = float(state["strength"]), float(state["progress"])

    def _tie_(self, strength: float) -> None:
        self._follow()
        for each in self.ties:
            each.apply_(strength)

    def bind(self) -> None:
        """Look up every tensor of the clusters as they are now, in the network and in the optimisers."""
        self.ties = tie(self.model, self.graph, self.tied, self.settings.centroid)
        summed = self.settings.tied_gradients == "summed"
        lifted = {p for each in self.optimizers if not steps_are_linear(each) for p in parameters_of(each)}
        self.gradients = summed_gradients(self.model, self.graph, self.tied, lifted) if summed else []
        self._homes = []
        for each in self.ties:
            for part in (*each.group.producers, *each.group.norms):
                for module, name in owners(self.model, part).values():
                    home = module._parameters if module._parameters.get(name) is not None else module._buffers
                    self._homes.append((home, name, getattr(module, name)))
            each.extend(optimizer_slots(self.model, each.group, self.optimizers))
        self._addresses, self._trained = self._lie_at(), self._count()

    def _count(self) -> int:
        """Return how many parameters the optimisers train: more, once layers are unfrozen."""
        return sum(len(group["params"]) for each in self.optimizers for group in each.param_groups)

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
        """Bind again where a tensor was replaced (moved, loaded, made by the first step) or one is trained anew."""
        replaced = any(home[name] is not known for home, name, known in self._homes)
        if replaced or self._count() != self._trained or self._lie_at() != self._addresses:
            self.bind()


class TiedTying(Tying):
    """Tie the filters from the first step on; parameters are those of `Tying`."""

    def strength_at(self, progress: float) -> float:
        """Return the strength, which is 1.

        Parameters
        ----------
        progress : float, 0 to 1
            How far the run is.
        """
        return tied(progress, self.settings.tied_after)


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
    images: Tensor | None = None

    def labels(self) -> Labels:
        """Return the clusters of the network as it is, the same in all processes."""
        with torch.no_grad(), evaluating(self.model):
            return share_(None, self.cluster(self.model))


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


def labels_as_tensors(labels: Mapping[str, IntArray]) -> dict[str, Tensor]:
    """Return labels as tensors, for a checkpoint.

    Parameters
    ----------
    labels : dict of str to int array (n,)
        The clusters, by the name of their group.
    """
    return {name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in labels.items()}


def labels_as_arrays(labels: Mapping[str, Tensor]) -> Labels:
    """Return labels from a checkpoint.

    Parameters
    ----------
    labels : dict of str to int64 tensor (n,)
        The clusters, by the name of their group.
    """
    return {name: a.cpu().numpy() for name, a in labels.items()}


def _progressive(given: TyingInput) -> Tying:
    return Tying(given.model, given.graph, given.labels(), given.settings)


def _tied(given: TyingInput) -> TiedTying:
    return TiedTying(given.model, given.graph, given.labels(), given.settings)


SCHEDULES["progressive"] = Variant(_progressive, "pull filters together, gently at first, until they are tied")
SCHEDULES["tied"] = Variant(_tied, "filters are identical from the first step")
