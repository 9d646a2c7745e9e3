"""What is called around every step of the optimisers: with closures, several optimisers, and never in low precision."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn

from pdc_core.errors import PDCError


@contextmanager
def full_precision(model: nn.Module) -> Iterator[None]:
    """Switch autocast off for a while, since merging, tying and folding in bfloat16 would be neither exact nor checked.

    Parameters
    ----------
    model : Module
        The network, on whose device autocast may be on, or which Accelerate gave a forward pass that switches it on.
    """
    wrapped = model.__dict__.get("forward") if "_original_forward" in model.__dict__ else None
    if wrapped is not None:
        setattr(model, "forward", model.__dict__["_original_forward"])  # noqa: B010
    try:
        with torch.autocast(next(model.parameters()).device.type, enabled=False):
            yield
    finally:
        if wrapped is not None:
            setattr(model, "forward", wrapped)  # noqa: B010


class StepHooks:
    """Call something before and after each step of some optimisers, until they are removed.

    Parameters
    ----------
    optimizers : sequence of Optimizer
        In the order in which they step.
    before : callable
        Called when the gradients of a step are there, with the parameters of that optimiser, or with None where there
        is one optimiser alone.
    made : callable
        Called after each optimiser's step.
    after : callable
        Called once the last optimiser has made its step.
    tied : frozenset of Parameter
        The weights that `after` changes.
    """

    def __init__(
        self,
        optimizers: Sequence[torch.optim.Optimizer],
        before: Callable[[Collection[Tensor] | None], None],
        made: Callable[[], None],
        after: Callable[[], None],
        tied: frozenset[nn.Parameter] = frozenset(),
    ) -> None:
        self.optimizers, self.tied = tuple(optimizers), tied
        self.before, self.made, self.after = before, made, after
        self._handles: list[Any] = []
        for each in self.optimizers:
            self._handles.append(each.register_step_pre_hook(self._before_step))
            self._handles.append(each.register_step_post_hook(self._after_step))

    def remove(self) -> None:
        """Leave the optimisers alone from now on."""
        for handle in self._handles:
            handle.remove()

    def _before_step(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> Any:
        if _within_a_step(optimizer, sys._getframe(1)):
            return None
        if torch._C._current_graph_task_id() != -1:  # torch has no public way to ask
            raise PDCError(
                f"{type(optimizer).__name__} steps inside the backward pass, which still needs the weights that a "
                "pruner ties after a step. Call optimizer.step() after loss.backward()."
            )
        own = {p for group in optimizer.param_groups for p in group["params"]} if len(self.optimizers) > 1 else None
        closure = kwargs.get("closure", args[1] if len(args) > 1 else None)
        if closure is None:
            self.before(own)
            return None

        def closed() -> Any:  # the gradients come from the closure, within the step
            loss = closure()
            self.before(own)
            return loss

        return ((*args[:1], closed, *args[2:]), kwargs) if len(args) > 1 else (args, {**kwargs, "closure": closed})

    def _after_step(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        if _within_a_step(optimizer, sys._getframe(1)):
            return
        self.made()
        skipped = getattr(optimizer, "found_inf", None)  # a fused one sees itself where a GradScaler found overflows
        if optimizer is self.optimizers[-1] and not (isinstance(skipped, Tensor) and bool(skipped)):
            self.after()


def _within_a_step(optimizer: torch.optim.Optimizer, caller: FrameType) -> bool:
    """Return whether hooks are called for `super().step()` in a step of the same optimiser, which torch hooks too."""
    frame = caller.f_back
    while frame is not None:
        if frame.f_code is caller.f_code and frame.f_locals.get("self") is optimizer:
            return True
        frame = frame.f_back
    return False


def hooks_of(optimizer: torch.optim.Optimizer) -> list[StepHooks]:
    """Return the hooks that pruners have on an optimiser.

    Parameters
    ----------
    optimizer : Optimizer
        Any.
    """
    found = [getattr(hook, "__self__", None) for hook in optimizer._optimizer_step_pre_hooks.values()]
    return [each for each in found if isinstance(each, StepHooks)]
