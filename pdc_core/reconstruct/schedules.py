"""Schedules: how the strength s rises over a run. Progress of the run and tied_after (0 to 1) in, strength out.

The abstracts that we know give none, so that all of them are our choice.
"""

from __future__ import annotations

from typing import Any

from pdc_core.registry import Variant

# By which rule filters become identical during a run. The file that holds a `Tying` enters it here, under each name
# that settings may give, so that a new schedule is one file; called with a `TyingInput`.
SCHEDULES: dict[str, Variant[..., Any]] = {}


def progressive(progress: float, tied_after: float) -> float:
    """s = min(1, progress/tied_after)^3: gently at first, tied after `tied_after` of the run."""
    return 1.0 if progress >= tied_after else (progress / tied_after) ** 3


def tied(progress: float, tied_after: float) -> float:
    """s = 1: tied from the first step on."""
    return 1.0
