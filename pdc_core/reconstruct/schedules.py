"""Schedules: how the strength s rises over a run, from the progress of the run (0 to 1).

The abstracts that we know give no schedule; all of these are our choice.
"""

from __future__ import annotations

from typing import Any

from pdc_core.registry import Variant

# By which rule filters become identical during a run. The file that holds a `Tying` enters it here, under each name
# that settings may give, so that a new schedule is one file; called with a `TyingInput`.
SCHEDULES: dict[str, Variant[..., Any]] = {}


def progressive(progress: float, tied_after: float) -> float:
    """s = min(1, progress/tied_after)^3: gently at first, tied after `tied_after` of the run.

    Parameters
    ----------
    progress : float
        Share of the run that is done, 0 to 1.
    tied_after : float
        Share of the run after which filters are tied, above 0, at most 1.

    Returns
    -------
    float
        s, 0 to 1.
    """
    return 1.0 if progress >= tied_after else (progress / tied_after) ** 3


def tied(progress: float, tied_after: float) -> float:
    """s = 1: tied from the first step on.

    Parameters
    ----------
    progress, tied_after : float
        Not used; see `progressive`.

    Returns
    -------
    float
        1.
    """
    return 1.0
