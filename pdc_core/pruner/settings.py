"""The settings of a run that hold in anybody's loop."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from pdc_core.errors import PDCError, first_reason
from pdc_core.train.settings import Training

# Those of `Training` that hold for a loop of one's own: how filters are tied, and how the teacher guides.
SETTINGS = (
    "schedule", "tied_after", "recluster_until", "merges", "merge_decay", "tied_gradients", "centroid",
    "alpha", "temperature", "matching", "attention", "feature_decay", "teacher_precision",
)  # fmt: skip


def pruner_settings(given: dict[str, Any], steps: int | None = None) -> Training:
    """Return the settings of a pruner, checked; how many merges there are follows the length of the loop.

    Parameters
    ----------
    given : dict
        Settings by name, of those in SETTINGS.
    steps : int, optional
        Steps of the loop, if they are known.

    Raises
    ------
    PDCError
        A name is unknown or a value out of range.
    """
    if unknown := [name for name in given if name not in SETTINGS]:
        raise PDCError(f"Pruner has no setting {unknown[0]!r}; choose among {', '.join(SETTINGS)}.")
    try:
        return Training(**{"merges": None, **given}).for_steps(steps)
    except ValidationError as error:
        where, said = first_reason(error)
        raise PDCError(f"{where + ': ' if where else ''}{said}.") from error
