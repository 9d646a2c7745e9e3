"""Sweeps: runs that differ in method, keep ratio and seed alone, planned together in one folder.

ROOT/SWEEP/sweep.yaml        the plan of the sweep       ROOT/SWEEP/status.json, request, worker.lock   as of a run
ROOT/SWEEP/METHOD-keepR-seedN/run.yaml                   the runs, made by the worker when it begins
"""

from pdc_core.runs.sweeps.forecast import SweepForecast, forecast_sweep, relative_seconds
from pdc_core.runs.sweeps.read import (
    Sweep,
    SweepProgress,
    is_sweep,
    is_sweep_recipe,
    list_sweeps,
    read_sweep,
    remove_sweep,
    unreadable_sweeps,
)
from pdc_core.runs.sweeps.spec import (
    SWEEP_RULES,
    Member,
    SweepSpec,
    create_sweep,
    parse_numbers,
    read_sweep_spec,
    validated_sweep,
)
from pdc_core.runs.sweeps.summary import SeedMean, seed_means
from pdc_core.runs.sweeps.worker import resume_sweep, run_sweep

__all__ = [
    "SWEEP_RULES",
    "Member",
    "SeedMean",
    "Sweep",
    "SweepForecast",
    "SweepProgress",
    "SweepSpec",
    "create_sweep",
    "forecast_sweep",
    "is_sweep",
    "is_sweep_recipe",
    "list_sweeps",
    "parse_numbers",
    "read_sweep",
    "read_sweep_spec",
    "relative_seconds",
    "remove_sweep",
    "resume_sweep",
    "run_sweep",
    "seed_means",
    "unreadable_sweeps",
    "validated_sweep",
]
