"""How long a sweep would take: ten timed steps of one of its runs, and the MACs of the others."""

from __future__ import annotations

from dataclasses import dataclass

from pdc_core.baselines import WHOLE
from pdc_core.costs import plan_cost
from pdc_core.data import load_data, subset
from pdc_core.models import load_model
from pdc_core.runs.sweeps.plans import uniform_plans
from pdc_core.runs.sweeps.spec import Member, SweepSpec
from pdc_core.train import Forecast, Training, forecast


@dataclass(frozen=True)
class SweepForecast:
    """What a sweep would take.

    Attributes
    ----------
    run : Forecast
        Of one run that trains at full width.
    seconds : dict of str to float
        Of each planned run on this machine, by its name, without loading.
    macs : dict of str to int
        MACs of one image of each folded network, by the name of the run; those of the uniform plan.
    """

    run: Forecast
    seconds: dict[str, float]
    macs: dict[str, int]

    @property
    def total(self) -> float:
        """Seconds of all runs, one after the other."""
        return sum(self.seconds.values())


def forecast_sweep(spec: SweepSpec) -> SweepForecast:
    """Time ten steps at full width and estimate every run of a sweep. Nothing is written.

    Parameters
    ----------
    spec : SweepSpec
        The sweep.

    Raises
    ------
    PDCError
        The network, its weights or its data are not here, or nothing can be merged.
    """
    graph, plans = uniform_plans(spec)
    base, smallest = spec.base, plans[min(spec.keeps) if spec.keeps else None]
    model = load_model(base.model, data=base.data, weights=base.weights)
    data = load_data(base.data)
    if base.images is not None:
        data = subset(data, base.images, base.seed)
    wide = base.training.model_copy(update={"fold_when_tied": False})
    found = forecast(model, data, wide, smallest, base.seed)
    training = base.training.for_steps(found.steps)
    macs = {keep: plan_cost(graph, plan).macs for keep, plan in plans.items()}
    seconds = {
        member.name: found.seconds * relative_seconds(member, macs[member.keep] / macs[None], training)
        for member in spec.members
    }
    return SweepForecast(found, seconds, {member.name: macs[member.keep] for member in spec.members})


def relative_seconds(member: Member, macs_left: float, training: Training) -> float:
    """Return the time of a run relative to one that trains at full width.

    A step is the teacher's forward pass and the student's forward and backward passes, a backward one costing about
    two. The student of a method other than PDC is small from the start, that of PDC once it is folded.

    Parameters
    ----------
    member : Member
        The planned run.
    macs_left : float
        MACs of its folded network as a share of the network's, above 0 to 1.
    training : Training
        Its settings, with a number of merges (`Training.for_steps`).

    Examples
    --------
    >>> relative_seconds(Member("l1", 0.2, 0), 0.2, Training())
    0.4
    >>> relative_seconds(Member("pdc", 0.2, 0), 0.2, Training())
    1.0
    """
    small = (1 + 3 * macs_left) / 4
    if member.method == WHOLE:
        return 1.0
    if member.method != "pdc":
        return small
    return training.wide_share + (1 - training.wide_share) * small
