"""From the keep ratios of a sweep to plans, by its rule."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pdc_core.costs import plan_cost
from pdc_core.data import describe_data, load_data
from pdc_core.estimates import MEASURED, plan_from_rule, sensitivity
from pdc_core.graph import ChannelGraph, trace
from pdc_core.models import load_model
from pdc_core.models.load import RANDOM
from pdc_core.plan import Plan, check_mergeable
from pdc_core.runs.sweeps.spec import SweepSpec
from pdc_core.train import Stopped


def uniform_plans(spec: SweepSpec) -> tuple[ChannelGraph, dict[float | None, Plan]]:
    """Return the trace of a sweep's network, and the plan that keeps the same ratio everywhere for each keep ratio.

    Needs neither weights nor images.

    Parameters
    ----------
    spec : SweepSpec
        The sweep.

    Returns
    -------
    graph : ChannelGraph
        The trace of the network.
    plans : dict of float to Plan
        By keep ratio; under None the plan that keeps everything.

    Raises
    ------
    PDCError
        The network or its data is unknown, or nothing can be merged in it.
    """
    base = spec.base
    network = load_model(base.model, data=base.data, weights=RANDOM)
    graph = trace(network, describe_data(base.data).example, residual=base.residual, inside=base.inside)
    plans = {keep: Plan.uniform(graph, keep or 1.0, model=base.model) for keep in (*spec.keeps, None)}
    check_mergeable(plans[None], graph)
    return graph, plans


def sweep_plans(
    spec: SweepSpec,
    *,
    cache: str | Path | None = None,
    stop: Callable[[], bool] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[float | None, Plan]:
    """Return the plan of each keep ratio by the sweep's rule.

    Parameters
    ----------
    spec : SweepSpec
        The sweep.
    cache : str or Path, optional
        Folder in which a measured sensitivity is stored, so that it is measured once.
    stop : callable, optional
        Asked between measurements of a sensitivity; True ends them.
    progress : callable, optional
        Called after each measurement with (done, in all).

    Raises
    ------
    PDCError
        As for `uniform_plans`, or there are no weights, or no images for a rule that measures.
    Stopped
        `stop` said so.
    """
    graph, plans = uniform_plans(spec)
    if spec.rule == "uniform":
        return plans
    base = spec.base
    model = load_model(base.model, data=base.data, weights=base.weights)
    data, found = None, None
    if spec.rule in MEASURED:
        data = load_data(base.data)
        found = sensitivity(
            model,
            graph,
            data,
            stop=stop,
            cache=cache,
            progress=lambda done, in_all, _: progress(done, in_all) if progress else None,
        )
        if not found.complete:
            raise Stopped("Stopped while the sensitivity was measured; what was measured is kept.", "stopped")

    def ask(done: int, in_all: int) -> None:
        if stop is not None and stop():
            raise Stopped("Stopped while plans were measured; the sensitivity is kept.", "stopped")

    whole, start = plans[None], plans[None]
    macs = plan_cost(graph, whole).macs
    return {
        keep: plan_from_rule(
            model,
            graph,
            start,
            1 - plan_cost(graph, plan).macs / macs,
            by=spec.rule,
            data=data,
            sensitivity=found,
            progress=ask,
        )
        if keep is not None
        else whole
        for keep, plan in plans.items()
    }
