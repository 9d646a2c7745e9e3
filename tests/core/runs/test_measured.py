"""The measured sweep that comes with PDC: of the recipe that it names, at the costs of today's code."""

from __future__ import annotations

from pathlib import Path

import pdc_core as pdc
from pdc_core.runs import measured_sweep
from pdc_core.runs.sweeps import read_sweep_spec
from pdc_core.runs.sweeps.plans import uniform_plans

RECIPE = Path(__file__).parents[3] / "recipes" / "clothing_resnet20_sweep.yaml"


def test_the_measured_sweep_has_every_method_and_ratio_of_its_recipe_at_today_s_costs() -> None:
    table, spec = measured_sweep(), read_sweep_spec(RECIPE)
    graph, plans = uniform_plans(spec)
    macs = {keep: pdc.plan_cost(graph, plan).macs for keep, plan in plans.items()}
    planned = {(member.method, member.seed, macs[member.keep]) for member in spec.members}
    measured = set(table[["method", "seed", "macs"]].itertuples(index=False, name=None))
    assert measured <= planned
    assert {each[::2] for each in measured} == {each[::2] for each in planned}
    assert set(table["before_macs"]) == {macs[None]}
    assert (table["epochs"] == spec.base.training.epochs).all()
    assert set(table["network"]) == {"resnet20"}
    assert set(table["data"]) == {"clothing"}
    assert table["test_accuracy"].between(0.5, 1).all()
    assert table["versions"].str.startswith("PDC ").all()
