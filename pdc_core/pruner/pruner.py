"""The pruner: PDC's one stage in anybody's training loop, in three lines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from pdc_core.clustering import Labels, assign, check_labels
from pdc_core.copies import twin
from pdc_core.errors import PDCError
from pdc_core.folding import fold_unchecked_
from pdc_core.graph import ChannelGraph, trace
from pdc_core.losses import comparable_blocks
from pdc_core.plan import Plan, check_mergeable
from pdc_core.pruner.attached import AttachedTying
from pdc_core.pruner.attachment import checked_optimizers
from pdc_core.pruner.checks import check_finite, untied
from pdc_core.pruner.folding import TIED, fold_optimizer_, folded_copy, tie_what_is_left_
from pdc_core.pruner.guidance import Guidance, Outputs
from pdc_core.pruner.hooks import full_precision
from pdc_core.pruner.inputs import checked_images, checked_network, checked_plan, checked_steps
from pdc_core.pruner.settings import pruner_settings
from pdc_core.pruner.state import check_state, state_of
from pdc_core.pruner.summary import PrunerSummary, summary_of
from pdc_core.pruner.wrappers import unwrapped
from pdc_core.reconstruct import SCHEDULES, Tying, TyingInput, evaluating


class Pruner(AttachedTying):
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
        teacher_precision), with the same defaults but for `merges`: 1 in a loop of less than 350 steps or without
        `steps`, else 6.

    Raises
    ------
    PDCError
        The network cannot be traced, the plan does not fit it or can merge nothing, a setting is unknown or out of
        range, or images are missing.

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
        checked_network(model, example, teacher)
        if not isinstance(recluster_every, float | int) or not 0 < recluster_every <= 1:
            raise PDCError(f"recluster_every={recluster_every}: give a share of the run, above 0 and at most 1.")
        self.model, self.plan, self.seed = unwrapped(model), checked_plan(plan), seed
        self.settings = pruner_settings(settings, checked_steps(steps))
        weights = next(self.model.parameters())
        self.images = checked_images(images, example, weights.dtype)
        with evaluating(self.model), full_precision(self.model):
            self.graph = graph or trace(self.model, example, residual=plan.residual, inside=inside or plan.inside)
            plan.check(self.graph)
            if labels is None:
                check_mergeable(plan, self.graph)
            if teacher is None:
                teacher = twin(self.model)
        given = TyingInput(self.model, self.graph, self.settings, self._cluster, self.images)
        if labels is not None:
            fixed = check_labels(self.graph, labels)
            given = TyingInput(self.model, self.graph, self.settings, lambda network: fixed, self.images)
        tying: Tying = SCHEDULES[self.settings.schedule](given)
        super().__init__(self.model, self.graph, tying, checked_steps(steps), recluster_every)
        self.guide: Guidance | None = None
        if isinstance(teacher, nn.Module):
            guiding = twin(unwrapped(teacher)).eval().requires_grad_(False)
            blocks = comparable_blocks(self.model, self.graph, self.tying.labels)
            probe = torch.ones(2, *example.shape[1:], dtype=weights.dtype, device=weights.device)
            self.guide = Guidance(guiding, self.model, probe, blocks, self.settings, outputs)

    def attach(self, *optimizers: Any) -> Self:
        super().attach(*optimizers)
        if self.guide is not None:
            self.guide.watch(self.model)
        return self

    def detach(self) -> None:
        super().detach()
        if self.guide is not None:
            self.guide.ours.close()

    attach.__doc__, detach.__doc__ = AttachedTying.attach.__doc__, AttachedTying.detach.__doc__

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
        if not self._settled:
            begun = bool(self.optimizers) or self.done > 0
            raise untied(self.settings, self.now, self.tying.strength, begun, counts=self.steps is not None)
        if not isinstance(other, nn.Module | None):
            raise PDCError(
                f"fold was given {type(other).__name__}; give a copy of the network with the other weights, such as "
                "torch's AveragedModel. Weights alone are loaded into one by load_state_dict."
            )
        network = self.model if other is None else unwrapped(other, self.graph)
        check_finite(network)
        if self.folded and _same_shapes(network, self.model):
            return twin(network)
        with self._unwatched(), full_precision(network):
            return folded_copy(
                network, self.graph, self.tying.labels, self.settings, self.images, tie=other is not None
            )

    def finish(self) -> nn.Module:
        """Tie what is left, refit the layers that read it on `images` if there are any, and fold.

        Filters that are not tied, or have come apart since, are merged as schedule "merge" does, and norm statistics
        are measured on the images; without images, filters move to their centroids. Where all are tied, this is `fold`.

        Returns
        -------
        Module
            The small network; `model` computes the same at full width.
        """
        if not self.folded and not (self._settled and self.tying.deviation() <= TIED):
            check_finite(self.model)
            with full_precision(self.model):
                tie_what_is_left_(self.model, self.graph, self.tying, self.images)
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
        self.check_loaded()
        small = self.fold()
        with self._unwatched():
            for each in attached:
                fold_optimizer_(each, self.model, small, self.graph, self.tying.labels)
        self._go_on_with(small)
        returned = optimizers or self.optimizers
        return small, returned[0] if len(returned) == 1 else returned

    def summary(self) -> PrunerSummary:
        """Return where the pruner stands; print it for a table of the groups, the deviation and MACs."""
        away = 0.0 if self.folded else self.tying.deviation()
        return summary_of(
            self.graph, self.tying, self._settled, step=self.done, progress=self.now, deviation=away, notes=self.notes
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
        self.tying.step_made()
        network = self.guide.teacher.network if teacher and self.guide is not None else None
        return state_of(self.model, self.tying, network, step=self.done, share=self.share, folded=self.folded)

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
        check_state(state, self.tying)
        self.done, self.share = int(state["step"]), float(state["share"])
        self.tying.load_state_dict(state["tying"])
        if self.guide is not None and "teacher" in state:
            self.guide.teacher.network.load_state_dict(state["teacher"])
        if state["folded"] and not self.folded:
            with self._unwatched():
                labels = check_labels(self.graph, self.tying.labels)
                small = fold_unchecked_(twin(self.model), self.graph, labels)
                for each in self.optimizers:
                    fold_optimizer_(each, self.model, small, self.graph, labels)
            self._go_on_with(small)
        elif self.optimizers and not self.folded:
            self.tying.bind()
        self._expected = float(state["weights"])

    def _cluster(self, network: nn.Module) -> Labels:
        images = None if self.images is None else self.images.to(next(network.parameters()).device)
        return assign(network, self.graph, self.plan, seed=self.seed, images=images)

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


def _same_shapes(a: nn.Module, b: nn.Module) -> bool:
    """Return whether two networks have parameters of the same names and shapes."""
    shapes = [{name: p.shape for name, p in each.named_parameters()} for each in (a, b)]
    return shapes[0] == shapes[1]
