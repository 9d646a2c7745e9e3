"""Accuracy against cost over many runs: means over seeds, and the runs' Pareto front."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pdc_core.analysis.metrics import pareto_front

if TYPE_CHECKING:
    import pandas as pd

_SAME = ["method", "settings", "plan"]


def mean_over_seeds(points: pd.DataFrame) -> pd.DataFrame:
    """Return the mean and the spread of runs that differ in nothing but their seeds.

    Parameters
    ----------
    points : DataFrame
        One row per run: `method`, `settings` and `plan` (what is equal in all but the seed), `cost` and `accuracy`.

    Returns
    -------
    DataFrame
        One row per group of equal runs, the cheapest first: `method`, `settings`, `plan`, the means `cost` and
        `accuracy`, `spread` (the standard deviation with n - 1; NaN for a single run) and `runs`, their number n.

    Examples
    --------
    >>> import pandas as pd
    >>> runs = pd.DataFrame({"accuracy": [0.8, 0.9, 0.95], "cost": [1, 1, 4], "plan": ["a", "a", "b"]})
    >>> mean_over_seeds(runs.assign(method="pdc", settings=""))[["cost", "accuracy", "spread", "runs"]].round(3)
       cost  accuracy  spread  runs
    0   1.0      0.85   0.071     2
    1   4.0      0.95     NaN     1
    """
    found = points.groupby(_SAME, sort=False, dropna=False).agg(
        cost=("cost", "mean"), accuracy=("accuracy", "mean"), spread=("accuracy", "std"), runs=("accuracy", "size")
    )
    return found.reset_index().sort_values("cost", kind="stable", ignore_index=True)


def front_of_means(means: pd.DataFrame, before: tuple[float, float] | None = None) -> pd.DataFrame:
    """Return the Pareto front of means over seeds: a front of single runs would pick lucky seeds.

    Parameters
    ----------
    means : DataFrame
        Columns `cost` and `accuracy`, as `mean_over_seeds` returns them.
    before : (float, float), optional
        Cost and accuracy of the uncompressed network, which competes too.

    Returns
    -------
    DataFrame
        Columns `cost` and `accuracy` of the points that no other dominates, the cheapest first.

    Examples
    --------
    >>> import pandas as pd
    >>> means = pd.DataFrame({"cost": [1, 2, 3], "accuracy": [0.8, 0.7, 0.9]})
    >>> front_of_means(means, before=(4, 0.95)).values.tolist()
    [[1.0, 0.8], [3.0, 0.9], [4.0, 0.95]]
    """
    import pandas as pd

    found = means[["cost", "accuracy"]].astype(float)
    if before is not None:
        found = pd.concat([found, pd.DataFrame([before], columns=found.columns, dtype=float)], ignore_index=True)
    found = found.drop_duplicates()
    return found[pareto_front(found["cost"], found["accuracy"])].sort_values("cost", ignore_index=True)
