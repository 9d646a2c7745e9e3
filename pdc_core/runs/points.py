"""Finished runs as a table with one row per run: what charts, CSV files and comparisons are made of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pdc_core.baselines import WHOLE
from pdc_core.errors import PDCError
from pdc_core.runs.read import Run

if TYPE_CHECKING:
    import pandas as pd

LATENCIES = ("1", "64")  # images in the batches whose latency is a column
COLUMNS = (
    "network", "data", "weights", "method", "keep", "seed", "epochs", "images", "macs", "params", "test_accuracy",
    "before_macs", "before_params", "before_accuracy", "n_test", "date", "versions", "run", "sweep", "settings", "plan",
    *(f"{when}latency_{batch}" for batch in LATENCIES for when in ("", "before_")),
)  # fmt: skip
# What may differ between runs of one curve: the seed, how much is kept, and what only describes the run.
_NOT_A_SETTING = {
    "seed", "keep", "plan", "method", "model", "data", "weights", "created", "versions", "format", "allow_weak_teacher",
    "budget", "budgeted",
}  # fmt: skip
_NEEDED = (
    "network", "data", "method", "macs", "params", "test_accuracy", "before_macs", "before_params", "before_accuracy"
)  # fmt: skip
_NOT_OF_THE_RULE = {"counts", "sizes", "model"}


def points_of(runs: Iterable[Run], sweep: str = "") -> pd.DataFrame:
    """Return one row per run that has a folded network.

    Parameters
    ----------
    runs : iterable of Run
        From `list_runs`; runs without a folded network are left out.
    sweep : str, default ""
        The sweep that they belong to, where their folders do not say it.

    Returns
    -------
    DataFrame
        The columns `COLUMNS`: `network`, `data` and `weights` as the run names them, `method`, `keep` (the
        share of the filters that the plan keeps), `seed`, `epochs`, `images` (None for all), `macs`, `params` and
        `test_accuracy` (0 to 1) of the folded network, the same of the network `before`, `n_test` test images, `date`
        (ISO 8601), `versions`, the ids `run` and `sweep`; `settings`, equal for runs that differ in method, seed and
        plan at most; `plan`, equal for equal plans; latencies in seconds for batches of 1 and 64.
    """
    import pandas as pd

    rows = [_row(run, sweep) for run in runs if run.results is not None and run.results.folded is not None]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def read_points(path: str | Path) -> pd.DataFrame:
    """Read a table of runs from a CSV file, as `points_of(...).to_csv(path, index=False)` writes it.

    Parameters
    ----------
    path : str or Path
        The file. `network`, `data`, `method`, `macs`, `params`, `test_accuracy`, `before_macs`, `before_params` and
        `before_accuracy` are needed; other columns may be absent.

    Returns
    -------
    DataFrame
        The columns `COLUMNS`. Where the file does not say which settings and plans are equal, those are whose epochs
        and images, and whose `keep` are equal.

    Raises
    ------
    PDCError
        The file cannot be read, or a column that is needed is not there.

    Examples
    --------
    >>> read_points("nowhere.csv")
    Traceback (most recent call last):
    pdc_core.errors.PDCError: nowhere.csv cannot be read as a table of runs: No such file or directory.
    """
    import pandas as pd

    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise PDCError(f"{path} cannot be read as a table of runs: {reason}.") from error
    missing = [name for name in _NEEDED if name not in table]
    if missing:
        raise PDCError(f"{path} is no table of runs: there is no column {' and no column '.join(missing)}.")
    if "settings" not in table:
        parts = [table[name].astype(str) for name in ("epochs", "images") if name in table]
        table["settings"] = parts[0].str.cat(parts[1:], " epochs ") if parts else ""
    if "plan" not in table:
        table["plan"] = table["keep"].astype(str) if "keep" in table else table["macs"].astype(str)
    defaults = {"weights": "shipped", "run": "", "sweep": "", "date": "", "versions": ""}
    for name, value in defaults.items():
        table[name] = table[name].fillna(value) if name in table else value
    return table.reindex(columns=list(COLUMNS))


def measured_sweep() -> pd.DataFrame:
    """Return the sweep of the first network that PDC comes with, measured by its authors.

    Returns
    -------
    DataFrame
        The columns `COLUMNS`; `versions` and `date` say by which version it was measured, and when. Without rows in a
        copy of PDC that has no such file.
    """
    import pandas as pd

    file = Path(str(files("pdc_core.runs").joinpath("measured.csv")))
    return read_points(file) if file.exists() else pd.DataFrame(columns=list(COLUMNS))


def _row(run: Run, sweep: str) -> dict[str, Any]:
    spec, report = run.spec, run.results
    assert report is not None
    assert report.folded is not None
    plan = {} if spec.plan is None or spec.method == WHOLE else spec.plan.model_dump(mode="json")
    settings = spec.model_dump(mode="json", exclude=_NOT_A_SETTING)
    rule = {name: value for name, value in plan.items() if name not in _NOT_OF_THE_RULE}
    row = {
        "network": spec.model, "data": spec.data, "weights": spec.weights, "method": spec.method,
        "keep": _keep_of(plan), "seed": spec.seed, "epochs": spec.training.epochs, "images": spec.images,
        "n_test": report.test_images, "date": spec.created or "",
        "versions": ", ".join(f"{name} {version}" for name, version in spec.versions.items()), "run": run.id,
        "sweep": sweep or run.sweep, "settings": _digest(settings), "plan": _digest([plan.get("counts"), rule]),
    }  # fmt: skip
    for prefix, network in (("", report.folded), ("before_", report.before)):
        row |= {f"{prefix}macs": network.macs, f"{prefix}params": network.params}
        row |= {f"{prefix}latency_{batch}": network.latency.get(batch) for batch in LATENCIES}
    return row | {"test_accuracy": report.folded.test_accuracy, "before_accuracy": report.before.test_accuracy}


def _keep_of(plan: dict[str, Any]) -> float:
    """Return the share of the filters of all groups that a plan keeps: its ratio, where that is the same everywhere."""
    counts, sizes = plan.get("counts", {}), plan.get("sizes", {})
    known = [name for name in counts if name in sizes]
    return round(sum(counts[name] for name in known) / sum(sizes[name] for name in known), 4) if known else 1.0


def _digest(content: Any) -> str:
    """Return a short name that is equal for equal contents."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]
