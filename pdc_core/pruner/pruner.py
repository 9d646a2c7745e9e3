"""The pruner: PDC's one stage in anybody's training loop, in three lines."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from pdc_core.clustering import Labels, assign, check_labels
from pdc_core.costs import plan_cost
from pdc_core.errors import PDCError
from pdc_core.folding import fold, fold_unchecked_
from pdc_core.graph import ChannelGraph, trace
from pdc_core.losses import comparable_blocks
from pdc_core.norms import reestimate_norms_
from pdc_core.plan import Plan
from pdc_core.pruner.attachment import check_attachment, checked_optimizers
from pdc_core.pruner.checks import check_same, check_weights, sum_of_weights, untied
from pdc_core.pruner.folding import fold_optimizer_
from pdc_core.pruner.guidance import Guidance, Outputs
from pdc_core.pruner.settings import pruner_settings
from pdc_core.pruner.summary import GroupState, PrunerSummary
from pdc_core.pruner.wrappers import unwrapped
from pdc_core.reconstruct import (
    SCHEDULES,
    StepwiseTying,
    Tying,
    TyingInput,
    deviation,
    evaluating,
    merge_,
    reconstruct_,
)

TIED = 1e-4  # largest deviation of filters that count as tied: rounding leaves 1e-7, one step of SGD 1e-2
FORMAT = 1


class Pruner:
    """Clusters of filters that are pulled together, merged and tied while any loop trains the network.

    Parameters
    ----------
    model : Module
        The trained network, on its device. It is trained on by you and changed in place. It may be wrapped already
        (DistributedDataParallel, torch.compile).
    plan : Plan
        Clusters kept per group.
    example : Tensor, shape (1, c, h, w)
        One input; only its shape is used.
    steps : int, optional
        Steps of the optimiser that the whole loop makes, at least 1. Without it, tell `progress`.
    images : Tensor, shape (b, c, h, w), optional
        Inputs as the network gets them, about 512, on which channels are measured: schedule "merge" needs them, and
        `finish` refits with them the layers that read merged filters.
    teacher : Module or False, optional
        The network that guides; by default a copy of `model` as it is now. False: none, and `guidance` cannot be used.
    inside : str, optional
        Dotted name of the part whose filters are clustered, such as "backbone", where the whole cannot be traced; the
        example's values then count. By default what the plan says.
    graph : ChannelGraph, optional
        A trace of `model`, if you made one; by default it is made with the plan's residual treatment.
    labels : dict of str to int array (n,), optional
        Clusters of your own; by default `assign(model, graph, plan, seed, images=images)`.
    outputs : str, callable or dict, default "softmax"
        How the network's outputs are compared with the teacher's: "softmax" (logits of classes along axis 1),
        "sigmoid" (logits of labels), "matching" (other numbers), or a function of (student's, teacher's, temperature).
        A dict gives one per output, {"logits": "softmax", "aux.0": None}; those that it does not name are left out.
    seed : int, default 0
        Seed of the clustering.
    recluster_every : float, default 0.1
        Share of the run after which schedule "recluster" makes new clusters.
    settings : any
        Those of `Training` that concern tying (schedule, tied_after, recluster_until, merges, merge_decay,
        tied_gradients, centroid) and guidance (alpha, temperature, matching, attention, feature_decay,
        teacher_precision), with the same defaults.

    Raises
    ------
    PDCError
        The network cannot be traced, the plan does not fit it, a setting is unknown or out of range, or images are
        missing.

    Examples
    --------
    >>> import torch, pdc_core as pdc
    >>> net = torch.nn.Sequential(torch.nn.Conv2d(1, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 2, 6)).eval()
    >>> x, y = torch.randn(16, 1, 8, 8), torch.randn(16, 2, 1, 1)
    >>> plan = pdc.Plan.uniform(pdc.trace(net, x[:1]), keep=0.5)
    >>> pruner = Pruner(net, plan, x[:1], steps=10, images=x, outputs="matching")
    >>> optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    >>> _ = pruner.attach(optimizer)
    >>> for _ in range(10):
    ...     out = net(x)
    ...     loss = (out - y).square().mean() + pruner.guidance(x, out)
    ...     loss.backward(); optimizer.step(); optimizer.zero_grad()
    >>> pruner.fold()[0].out_channels
    4

    Source: PDC's single stage (doi 10.1016/j.imavis.2023.104743, abstract); what it leaves open is our choice, as in
    `distil`, which runs on the same code.
    """

    def __init__(
        self,
        model: nn.Module,
        plan: Plan,
        example: Tensor,
        *,
        steps: int | None = None,
        images: Tensor | None = None,
        teacher: nn.Module | Literal[False] | None = None,
        inside: str = "",
        graph: ChannelGraph | None = None,
        labels: Labels | None = None,
        outputs: Outputs = "softmax",
        seed: int = 0,
        recluster_every: float = 0.1,
        **settings: Any,
    ) -> None:
        if steps is not None and steps < 1:
            raise PDCError(f"steps={steps}: give the number of optimiser steps of the whole loop, at least 1, or None.")
        if not 0 < recluster_every <= 1:
            raise PDCError(f"recluster_every={recluster_every}: give a share of the run, above 0 and at most 1.")
        self.model, self.plan, self.steps, self.seed = unwrapped(model), plan, steps, seed
        self.settings, self.recluster_every = pruner_settings(settings), recluster_every
        weights = next(self.model.parameters())
        self.images = None if images is None else images.to(weights.dtype)
        with evaluating(self.model):
            self.graph = graph or trace(self.model, example, residual=plan.residual, inside=inside or plan.inside)
            plan.check(self.graph)
            if teacher is None:
                teacher = copy.deepcopy(self.model)
        given = TyingInput(self.model, self.graph, self.settings, self._cluster, self.images)
        if labels is not None:
            fixed = check_labels(self.graph, labels)
            given = TyingInput(self.model, self.graph, self.settings, lambda network: fixed, self.images)
        self.tying: Tying = SCHEDULES[self.settings.schedule](given)
        self.guide: Guidance | None = None
        if isinstance(teacher, nn.Module):
            guiding = copy.deepcopy(unwrapped(teacher)).eval().requires_grad_(False)
            blocks = comparable_blocks(self.model, self.graph, self.tying.labels)
            probe = torch.ones(2, *example.shape[1:], dtype=weights.dtype, device=weights.device)
            self.guide = Guidance(guiding, self.model, probe, blocks, self.settings, outputs)
        self.optimizers: tuple[torch.optim.Optimizer, ...] = ()
        self.notes: tuple[str, ...] = ()
        self.done, self.share = 0, 0.0
        self.folded = False
        self._handles: list[Any] = []
        self._expected: float | None = None  # what the weights add up to in the state that was loaded

    def attach(self, *optimizers: Any) -> Pruner:
        """Do PDC's part in every step of an optimiser from now on; the first filters are merged or tied right away.

        Before a step the gradients of tied filters are summed up, after it filters, norms and the optimiser's memory
        are pulled, merged and tied. Gradients are clipped by you before that.

        Parameters
        ----------
        optimizers : Optimizer
            All that train the network, in the order in which they step; a step is counted when the last has made its.

        Returns
        -------
        Pruner
            This one.

        Raises
        ------
        PDCError
            A weight that is to be tied is trained by none of them or shared with another module, or one of them is no
            torch optimiser. A memory that cannot be tied is a warning, and stands in `summary()`.
        """
        if self._handles:
            raise PDCError("This pruner is attached already; call detach() first.")
        found = checked_optimizers(optimizers)
        self.notes = check_attachment(self.model, self.graph, self.tying.labels, found)
        for note in self.notes:
            warnings.warn(note, stacklevel=2)
        self.optimizers = self.tying.optimizers = found
        if not self.folded:
            self.tying.begin()
        for each in found:
            self._handles.append(each.register_step_pre_hook(self._before_step))
            self._handles.append(each.register_step_post_hook(self._after_step))
        return self

    def detach(self) -> None:
        """Leave the optimisers alone from now on. Filters stay as they are."""
        for handle in self._handles:
            handle.remove()
        self._handles, self.optimizers, self.tying.optimizers = [], (), ()

    def guidance(self, x: Any, outputs: Any) -> Tensor:
        """Return the teacher's guidance for a batch, to be added to the loss: alpha KD and what blocks put out.

        Call it right after the forward pass it belongs to. With your loss times 1 - alpha, the sum is that of `distil`.

        Parameters
        ----------
        x : Tensor, tuple or dict
            What the network was called with: one argument, several, or named ones.
        outputs : Tensor, or tensors in tuples, lists and dicts
            What it returned.

        Returns
        -------
        Tensor, shape ()
            alpha times the distillation loss of every output, and the losses on residual blocks by their weights.

        Raises
        ------
        PDCError
            There is no teacher, or its outputs cannot be compared with the network's.
        """
        if self.guide is None:
            raise PDCError("This pruner has no teacher (teacher=False), so it cannot guide.")
        return self.guide.loss(x, outputs, self.now)

    @property
    def now(self) -> float:
        """How far the run is, 0 to 1."""
        return self.share if self.steps is None else min(1.0, self.done / self.steps)

    def progress(self, share: float) -> None:
        """Say how far the loop is, for loops that cannot count their steps beforehand; holds from the next step on.

        Parameters
        ----------
        share : float, 0 to 1
            For example the share of a time limit. Never less than before.

        Raises
        ------
        PDCError
            The pruner counts steps itself, or the share is out of range or falls.
        """
        if self.steps is not None:
            raise PDCError(
                f"This pruner counts its {self.steps} steps itself; make it without steps to use progress()."
            )
        if not self.share <= share <= 1:
            raise PDCError(f"progress({share}): give the share of the run that is done, from {self.share:g} to 1.")
        self.share = float(share)

    def fold(self, other: nn.Module | None = None) -> nn.Module:
        """Return the small network: the same function, checked; nothing else changes, and the loop may go on.

        Parameters
        ----------
        other : Module, optional
            A copy of the network with other weights, such as their moving average (torch's AveragedModel, timm's
            ModelEma); its filters are tied first, in a copy. By default the network itself.

        Returns
        -------
        Module
            In the same mode, on the same device.

        Raises
        ------
        PDCError
            Filters are not tied yet; the message says what to do.
        """
        self._check_settled()
        network = self.model if other is None else unwrapped(other, self.graph)
        if self.folded:
            return copy.deepcopy(network)
        with self._unwatched():
            tied = reconstruct_(copy.deepcopy(network), self.graph, self.tying.labels, 1.0, self.settings.centroid)
            away = deviation(network, self.graph, self.tying.labels, self.settings.centroid)
            if other is None and away > TIED:
                raise PDCError(
                    f"Filters that were tied have come apart (deviation {away:.1e}): their weights were changed behind "
                    "the optimiser, for example by load_state_dict. Make a step, or call pruner.finish()."
                )
            small = fold(tied, self.graph, self.tying.labels)
            check_same(network if other is None else tied, small, self.graph.input_shape, self.images)
        return small

    def finish(self) -> nn.Module:
        """Tie what is left, refit the layers that read it on `images` if there are any, and fold.

        Filters that are not tied yet are merged as schedule "merge" does, and norm statistics are measured on the
        images; without images, filters move to their centroids. Where all are tied, this is `fold`.

        Returns
        -------
        Module
            The small network; `model` computes the same at full width.
        """
        tying = self.tying
        if not self._settled:
            if self.images is not None and not isinstance(tying, StepwiseTying):
                final = {name: a for name, a in tying.labels.items() if a.max() + 1 < len(a)}
                alone: Labels = {name: torch.arange(len(a)).numpy() for name, a in final.items()}
                merge_(self.model, self.graph, final, alone, self.images)
            tying.settle_()
            tying.strength = 1.0
            tying.bind()
            if self.images is not None:
                device = next(self.model.parameters()).device
                with evaluating(self.model):
                    reestimate_norms_(self.model, self.images.to(device))
        return self.fold()

    def fold_now(self, *optimizers: Any) -> tuple[nn.Module, Any]:
        """Fold in the middle of the loop, and let the optimiser go on with the small network.

        Its groups, learning rate and memory carry over, so that it makes the steps that it would have made had it
        trained the small network since its filters were tied; schedules that hold it stay valid. From here on
        `pruner.model` is the small network, which guidance, `fold` and the state refer to.

        Parameters
        ----------
        optimizers : Optimizer
            Those that were attached; may be left out.

        Returns
        -------
        tuple of Module and Optimizer
            The small network, and the optimiser that was given or attached (a tuple, if there are several).

        Raises
        ------
        PDCError
            Filters are not tied yet, clusters may still change, or an optimiser's memory cannot be folded.
        """
        attached = checked_optimizers(optimizers or self.optimizers)
        if set(attached) != set(self.optimizers):
            raise PDCError(
                "fold_now folds the optimisers that are attached, all of them: call attach(optimizer) first."
            )
        if self.folded:
            raise PDCError("The network was folded already: pruner.model is the small one.")
        if self.tying.may_change:
            raise PDCError(f"Clusters may change until {self.settings.recluster_until:.0%} of the run; fold then.")
        small = self.fold()
        with self._unwatched():
            for each in attached:
                fold_optimizer_(each, self.model, small, self.graph, self.tying.labels)
        self._go_on_with(small)
        returned = optimizers or self.optimizers
        return small, returned[0] if len(returned) == 1 else returned

    def summary(self) -> PrunerSummary:
        """Return where the pruner stands; print it for a table of the groups, the deviation and MACs."""
        counts = {name: int(a.max()) + 1 for name, a in self.tying.labels.items()}
        now = {name: int(a.max()) + 1 for name, a in self.tying.tied.items()}
        if not (self._settled or isinstance(self.tying, StepwiseTying)):  # pulled together, but none is tied yet
            now = {name: self.graph.group(name).size for name in counts}
        rows = tuple(GroupState(name, self.graph.group(name).size, now.get(name, k), k) for name, k in counts.items())
        macs = [plan_cost(self.graph, each).macs for each in ({}, {**counts, **now}, counts)]
        away = 0.0 if self.folded else self.tying.deviation()
        return PrunerSummary(
            rows, self.done, self.now, self.tying.strength, away, self._settled, macs[0], macs[1], macs[2], self.notes
        )

    def state_dict(self, teacher: bool = True) -> dict[str, Any]:
        """Return tensors and plain values from which `load_state_dict` goes on, bit for bit.

        Parameters
        ----------
        teacher : bool, default True
            Whether the teacher's weights are in it; without them, make the next pruner from the same trained network.

        Returns
        -------
        dict
            Save it beside the model's and the optimiser's state of the same step.
        """
        state = {
            "format": FORMAT,
            "step": self.done,
            "share": self.share,
            "folded": self.folded,
            "tying": self.tying.state_dict(),
            "weights": sum_of_weights(self.model),
        }
        if teacher and self.guide is not None:
            state["teacher"] = {k: v.detach().clone() for k, v in self.guide.teacher.network.state_dict().items()}
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state. Load this first, then the state of `pruner.model` and that of the optimiser.

        Parameters
        ----------
        state : dict
            What `state_dict` returned, from a pruner with the same network, plan and settings.

        Raises
        ------
        PDCError
            The state is of another network, plan or version. Where the model's weights are not those of the same
            step, the next step of the optimiser raises.
        """
        if state.get("format") != FORMAT:
            raise PDCError(f"This is no state of a pruner in format {FORMAT}: it says {state.get('format')!r}.")
        sizes = {name: len(a) for name, a in state["tying"]["labels"].items()}
        own = {name: len(a) for name, a in self.tying.labels.items()}
        if sizes != own or ("now" in state["tying"]) != isinstance(self.tying, StepwiseTying):
            raise PDCError(
                "This state is of another network, plan or schedule than the pruner's; make it with the same."
            )
        self.done, self.share = int(state["step"]), float(state["share"])
        self.tying.load_state_dict(state["tying"])
        if self.guide is not None and "teacher" in state:
            self.guide.teacher.network.load_state_dict(state["teacher"])
        if state["folded"] and not self.folded:
            with self._unwatched():
                labels = check_labels(self.graph, self.tying.labels)
                small = fold_unchecked_(copy.deepcopy(self.model), self.graph, labels)
                for each in self.optimizers:
                    fold_optimizer_(each, self.model, small, self.graph, labels)
            self._go_on_with(small)
        elif self.optimizers and not self.folded:
            self.tying.bind()
        self._expected = float(state["weights"])

    def _cluster(self, network: nn.Module) -> Labels:
        images = None if self.images is None else self.images.to(next(network.parameters()).device)
        return assign(network, self.graph, self.plan, seed=self.seed, images=images)

    def _before_step(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> Any:
        self._check_resumed()
        own = {p for group in optimizer.param_groups for p in group["params"]} if len(self.optimizers) > 1 else None
        closure = kwargs.get("closure", args[1] if len(args) > 1 else None)
        if closure is None:
            self.tying.before_step(own)
            return None

        def closed() -> Any:  # the gradients come from the closure, within the step
            loss = closure()
            self.tying.before_step(own)
            return loss

        return ((*args[:1], closed, *args[2:]), kwargs) if len(args) > 1 else (args, {**kwargs, "closure": closed})

    def _after_step(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        if optimizer is not self.optimizers[-1]:
            return
        before, self.done = self.tying.progress, self.done + 1
        self.tying.after_step(self.now)
        if not self.folded:
            rounds = [int(p / self.recluster_every + 1e-9) for p in (before, self.now)]
            if rounds[1] > rounds[0]:
                self.tying.recluster(self.now)

    @property
    def _settled(self) -> bool:
        return self.folded or self.tying.settled

    def _check_settled(self) -> None:
        if not self._settled:
            begun = bool(self.optimizers) or self.done > 0
            raise untied(self.settings, self.now, self.tying.strength, begun, counts=self.steps is not None)

    def _go_on_with(self, small: nn.Module) -> None:
        self.model, self.folded = small, True
        self.tying.release()
        if self.guide is not None:
            self.guide.watch(small)

    @contextmanager
    def _unwatched(self) -> Iterator[None]:
        """Take the hooks of guidance off the network, so that a copy carries none."""
        if self.guide is None:
            yield
            return
        with self.guide.unwatched(self.model):
            yield

    def _check_resumed(self) -> None:
        """Compare the weights with those of the state that was loaded, once, before the first step."""
        if self._expected is not None:
            expected, self._expected = self._expected, None
            check_weights(self.model, expected)
