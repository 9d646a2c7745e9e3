"""What a sweep found: mean and spread over seeds, per method and keep ratio."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from pdc_core.runs.results import Report
from pdc_core.runs.sweeps.read import Sweep
from pdc_core.runs.sweeps.spec import Member


@dataclass(frozen=True)
class SeedMean:
    """The finished runs of a sweep that differ in their seeds alone.

    Attributes
    ----------
    method : str
        Their method.
    keep : float or None
        Their keep ratio; None for the method that keeps everything.
    runs : int
        How many are finished; without any there is no mean.
    of : int
        How many are planned.
    accuracy : float
        Mean test accuracy of the folded networks, 0 to 1.
    spread : float or None
        Its standard deviation over seeds (with n - 1); None for a single run.
    macs : float
        Mean MACs of one image of the folded networks.
    params : float
        Mean parameters of the folded networks.
    macs_cut : float
        Share of the MACs that was cut, 0 to below 1.
    """

    method: str
    keep: float | None
    runs: int
    of: int
    accuracy: float
    spread: float | None
    macs: float
    params: float
    macs_cut: float


def seed_means(sweep: Sweep) -> list[SeedMean]:
    """Return the means over seeds of a sweep, by method in the order of its plan, most filters first.

    Parameters
    ----------
    sweep : Sweep
        The sweep, finished or not.

    Returns
    -------
    list of SeedMean
        One for each method and keep ratio of which at least one run is finished.
    """
    reports = {run.folder.name: run.results for run in sweep.runs if run.state == "done" and run.results is not None}
    groups: dict[tuple[str, float | None], list[Member]] = {}
    for member in sweep.spec.members:
        groups.setdefault((member.method, member.keep), []).append(member)
    order = sorted(groups, key=lambda key: (sweep.spec.methods.index(key[0]), -(key[1] or 1.0)))
    found = []
    for method, keep in order:
        members = groups[method, keep]
        own = [reports[member.name] for member in members if member.name in reports]
        if own:
            found.append(_mean(method, keep, own, len(members)))
    return found


def _mean(method: str, keep: float | None, reports: list[Report], of: int) -> SeedMean:
    results = [report.result for report in reports]
    accuracies = [result.test_accuracy for result in results]
    macs = statistics.fmean(result.macs for result in results)
    return SeedMean(
        method=method,
        keep=keep,
        runs=len(reports),
        of=of,
        accuracy=statistics.fmean(accuracies),
        spread=statistics.stdev(accuracies) if len(accuracies) > 1 else None,
        macs=macs,
        params=statistics.fmean(result.params for result in results),
        macs_cut=1 - macs / reports[0].before.macs,
    )
