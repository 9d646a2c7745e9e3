"""What a pruner saves beside model and optimiser, and whether a state fits the pruner that loads it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from pdc_core.errors import PDCError
from pdc_core.pruner.checks import sum_of_weights
from pdc_core.reconstruct import StepwiseTying, Tying

FORMAT = 1


def state_of(
    model: nn.Module, tying: Tying, teacher: nn.Module | None, *, step: int, share: float, folded: bool
) -> dict[str, Any]:
    """Return tensors and plain values from which a pruner goes on.

    Parameters
    ----------
    model : Module
        The network that is trained; of its weights only the sum is kept.
    tying : Tying
        What is tied.
    teacher : Module or None
        The network whose weights are saved.
    step : int
        Steps made.
    share : float, 0 to 1
        What `progress` was told.
    folded : bool
        Whether `model` is the small network.
    """
    state = {
        "format": FORMAT,
        "step": step,
        "share": share,
        "folded": folded,
        "tying": tying.state_dict(),
        "weights": sum_of_weights(model),
    }
    if teacher is not None:
        state["teacher"] = {k: v.detach().clone() for k, v in teacher.state_dict().items()}
    return state


def check_state(state: Mapping[str, Any], tying: Tying) -> None:
    """Raise unless a state is that of a pruner with the same groups and kind of schedule.

    Parameters
    ----------
    state : dict
        What was loaded.
    tying : Tying
        That of the pruner.

    Raises
    ------
    PDCError
        It is of another version, network, plan or schedule.
    """
    known = state.get("format") if isinstance(state, Mapping) else type(state).__name__
    if known != FORMAT:
        raise PDCError(f"This is no state of a pruner in format {FORMAT}: it says {known!r}.")
    if missing := {"step", "share", "folded", "tying", "weights"} - state.keys():
        raise PDCError(f"This state of a pruner lacks {', '.join(sorted(missing))}; give what state_dict() returned.")
    sizes = {name: len(a) for name, a in state["tying"]["labels"].items()}
    own = {name: len(a) for name, a in tying.labels.items()}
    if sizes != own or ("now" in state["tying"]) != isinstance(tying, StepwiseTying):
        raise PDCError("This state is of another network, plan or schedule than the pruner's; make it with the same.")
