"""Measure accuracy against MACs of the first network, and write the table that comes with PDC.

    python benchmarks/sweep.py runs/clothing-sweep            # makes or continues the sweep, then writes the table
    python benchmarks/sweep.py runs/clothing-sweep --table    # writes the table of the seeds that are finished

The sweep is recipes/clothing_resnet20_sweep.yaml; it goes on where it was if it is stopped or killed. The table is
pdc_core/runs/measured.csv: a row for each run, with the versions and the date of the run. Latencies are left out: they
are those of the machine that trained, and mean nothing where other work ran beside it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pandas as pd

from pdc_core.data import load_data
from pdc_core.runs import COLUMNS, LATENCIES, Sweep, create_sweep, is_sweep, points_of, read_sweep, run_sweep
from pdc_core.runs.sweeps import read_sweep_spec

ROOT = Path(__file__).parents[1]
RECIPE = ROOT / "recipes" / "clothing_resnet20_sweep.yaml"
TABLE = ROOT / "pdc_core" / "runs" / "measured.csv"
_LATENCY = {f"{when}latency_{batch}" for batch in LATENCIES for when in ("", "before_")}


def version() -> str:
    """Return the version of PDC in this repository."""
    import tomllib

    return str(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"])


def table(sweep: Sweep) -> pd.DataFrame:
    """Return the seeds of a sweep that are finished as the table that comes with PDC: equally many runs everywhere."""
    training, done = sweep.spec.base.training, {run.folder.name for run in sweep.runs if run.state == "done"}
    open_seeds = {member.seed for member in sweep.spec.members if member.name not in done}
    layout = ", channels_last" if training.channels_last else ""
    note = f"{training.epochs} epochs, precision {training.precision}{layout}, otherwise the defaults of pdc distil"
    points = points_of(run for run in sweep.runs if run.spec.seed not in open_seeds)
    points = points.assign(
        images=points["images"].fillna(len(load_data(sweep.spec.base.data).train)).astype(int),
        versions=f"PDC {version()}, " + points["versions"],
        note=note,
    )
    order = ["method", "keep", "seed"]
    return points[[*(name for name in COLUMNS if name not in _LATENCY), "note"]].sort_values(order, ignore_index=True)


def main() -> int:
    """Run the sweep, write the table, and return the exit status: 1 if a run has no result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the sweep folder")
    parser.add_argument("--table", action="store_true", help="train nothing; write the table of finished seeds")
    parser.add_argument("--jobs", type=int, default=1, help="runs at the same time")
    arguments = parser.parse_args()
    if not arguments.table:
        if not is_sweep(arguments.folder):
            create_sweep(read_sweep_spec(RECIPE), folder=arguments.folder)
        run_sweep(arguments.folder, jobs=arguments.jobs, say=print)
    sweep = read_sweep(arguments.folder)
    found = table(sweep)
    found.to_csv(TABLE, index=False)
    print(f"{TABLE}: {len(found)} of {sweep.progress.total} runs, {TABLE.stat().st_size:,} bytes")
    print(found.groupby(["method", "keep"])["test_accuracy"].agg(["mean", "std", "size"]).to_string())
    return 0 if len(found) == sweep.progress.total else 1


if __name__ == "__main__":
    sys.exit(main())
