"""Schedules: how the strength s rises over a run. Progress of the run and ramp (0 to 1) in, strength out.

The abstracts that we know give none, so that all of them are our choice.
"""

from __future__ import annotations

from collections.abc import Callable


def progressive(progress: float, ramp: float) -> float:
    """s = min(1, progress/ramp)^3: gently at first, tied after `ramp` of the run."""
    return 1.0 if progress >= ramp else (progress / ramp) ** 3


def tied(progress: float, ramp: float) -> float:
    """s = 1: tied from the first step on."""
    return 1.0


SCHEDULES: dict[str, Callable[[float, float], float]] = {"progressive": progressive, "tied": tied, "soft": progressive}
