"""The reference of a run: the same network, trained as long under the same losses, and not pruned."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pdc_core.baselines import WHOLE
from pdc_core.runs.read import Run
from pdc_core.runs.spec import RunSpec

# Settings that change how filters are tied, or how fast a machine is, and not what an unpruned network learns.
_NOT_READ = frozenset(
    (
        "schedule", "recluster_until", "merges", "merge_decay", "n_images", "tied_gradients", "tied_after", "centroid",
        "fold_when_tied", "accelerator", "devices", "channels_last", "compile", "workers", "checkpoint_seconds",
        "checkpoint_steps",
    )
)  # fmt: skip


def find_reference(run: Run, runs: Iterable[Run]) -> Run | None:
    """Return the finished run of the method "whole" that trained as a run did: one of its seed, else the first found.

    Parameters
    ----------
    run : Run
        A run of any method; one of "whole" has no other reference.
    runs : iterable of Run
        Where to look, such as `list_runs()`.

    Returns
    -------
    Run or None
        None if there is none with the same network, data, weights, losses, epochs and images that ran to its end.
    """
    if run.spec.method == WHOLE:
        return None
    asked = _trained_as(run.spec)
    found = [
        each
        for each in runs
        if each.spec.method == WHOLE
        and each.results is not None
        and each.results.ended_early is None
        and _trained_as(each.spec) == asked
    ]
    return min(found, key=lambda each: each.spec.seed != run.spec.seed, default=None)


def _trained_as(spec: RunSpec) -> dict[str, Any]:
    """Return what decides how the unpruned network of a run would be trained."""
    return {
        "training": spec.training.model_dump(exclude=set(_NOT_READ)),
        **spec.model_dump(include={"kind", "model", "data", "weights", "teacher", "images"}),
    }
