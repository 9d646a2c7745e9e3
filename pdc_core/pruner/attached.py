"""Tying attached to optimisers: what a pruner does around every step of somebody's loop, and how far the loop is."""

from __future__ import annotations

import warnings
from collections.abc import Collection
from typing import Any, Self

import torch
from torch import Tensor, nn

from pdc_core.errors import PDCError
from pdc_core.graph import ChannelGraph
from pdc_core.pruner.attachment import attachment_notes, check_attachment, checked_optimizers
from pdc_core.pruner.checks import check_weights
from pdc_core.pruner.hooks import StepHooks, full_precision
from pdc_core.reconstruct import Tying


class AttachedTying:
    """Filters that are pulled together, merged and tied at the steps of optimisers.

    Parameters
    ----------
    model : Module
        The network that is trained. It is changed in place.
    graph : ChannelGraph
        Its trace.
    tying : Tying
        The clusters and the schedule.
    steps : int or None
        Steps that the whole loop makes; None where `progress` is told.
    recluster_every : float
        Share of the run after which schedule "recluster" makes new clusters.
    """

    def __init__(
        self, model: nn.Module, graph: ChannelGraph, tying: Tying, steps: int | None, recluster_every: float
    ) -> None:
        self.model, self.graph, self.tying = model, graph, tying
        self.steps, self.recluster_every = steps, recluster_every
        self.optimizers: tuple[torch.optim.Optimizer, ...] = ()
        self.notes: tuple[str, ...] = ()
        self.done, self.share = 0, 0.0
        self.folded = False
        self._hooks: StepHooks | None = None
        self._expected: float | None = None  # what the weights add up to in the state that was loaded

    def attach(self, *optimizers: Any) -> Self:
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
        if self._hooks is not None:
            raise PDCError("This pruner is attached already; call detach() first.")
        found = checked_optimizers(optimizers)
        tied = check_attachment(self.model, self.graph, self.tying.labels, found)
        self.optimizers = self.tying.optimizers = found
        self._note()
        if not self.folded:
            with full_precision(self.model):
                self.tying.begin()
        self._hooks = StepHooks(found, self._before_step, self.tying.step_made, self._after_step, tied)
        return self

    def detach(self) -> None:
        """Leave the optimisers and the network alone from now on. Filters stay as they are; nothing guides any more."""
        if self._hooks is not None:
            self._hooks.remove()
        self._hooks, self.optimizers, self.tying.optimizers = None, (), ()

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

    @property
    def _settled(self) -> bool:
        self.tying.step_made()  # a step that was interrupted is over for whoever asks
        return self.folded or self.tying.settled

    def _before_step(self, own: Collection[Tensor] | None) -> None:
        self.check_loaded()
        with full_precision(self.model):
            self.tying.before_step(own)

    def check_loaded(self) -> None:
        """Raise where a state was loaded and the weights are not those of its step; the next step asks as well.

        Raises
        ------
        PDCError
            They are those of another step, or of another training.
        """
        if self._expected is not None:
            expected, self._expected = self._expected, None
            check_weights(self.model, expected)

    def _after_step(self) -> None:
        before, self.done = self.tying.progress, self.done + 1
        with full_precision(self.model):
            self.tying.after_step(self.now)
            rounds = [int(p / self.recluster_every + 1e-9) for p in (before, self.now)]
            if rounds[1] > rounds[0] and not self.folded:
                self.tying.recluster(self.now)
        if self.done == 1:  # what an optimiser keeps may only show after its first step
            self._note()

    def _note(self) -> None:
        """Warn of what the optimisers keep that cannot be tied, once each."""
        found = attachment_notes(self.model, self.graph, self.tying.labels, self.optimizers)
        for note in found:
            if note not in self.notes:
                warnings.warn(note, stacklevel=3)
        self.notes = found
