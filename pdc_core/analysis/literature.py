"""What papers report of filter pruning on CIFAR-10, as a table with sources: literature.csv."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def literature_results(network: str, data: str) -> pd.DataFrame:
    """Return published results of pruning a network, in the order of their years.

    Papers start from networks of their own, so `change` compares them better than accuracies do. Numbers that a paper
    does not give, or that could not be checked, are missing.

    Parameters
    ----------
    network, data : str
        Names as `load_model` takes them; there are results for "resnet56" and "resnet110" on "cifar10".

    Returns
    -------
    DataFrame
        Columns `network`, `data`, `method`, `paper`, `year`, `source` (arXiv id or DOI), `base_accuracy` and
        `pruned_accuracy` (0 to 1), `change` (their difference), `macs_cut` (0 to 1; what papers call FLOPs), `epochs`
        (of training after or while pruning), `distilled` and `fine_tuned` ("yes" or "no"), `repeats` ("one" run or the
        mean of "several"), `also_in` (where the same number was found a second time, if anywhere) and `note`. Without
        rows for other networks.

    Examples
    --------
    >>> found = literature_results("resnet110", "cifar10")
    >>> found[found["method"] == "PDC"][["change", "macs_cut"]].values.tolist()
    [[0.0014, 0.615]]
    >>> len(literature_results("resnet20", "digits"))
    0
    """
    table = _table()
    found = table[(table["network"] == network) & (table["data"] == data)]
    return found.sort_values("year", kind="stable").reset_index(drop=True)


def literature_networks() -> list[tuple[str, str]]:
    """Return the networks that there are published results for, as (network, data).

    Examples
    --------
    >>> literature_networks()
    [('resnet56', 'cifar10'), ('resnet110', 'cifar10')]
    """
    return list(dict.fromkeys(_table()[["network", "data"]].itertuples(index=False, name=None)))


@cache
def _table() -> pd.DataFrame:
    import pandas as pd

    with files("pdc_core.analysis").joinpath("literature.csv").open(encoding="utf-8") as file:
        table = pd.read_csv(file, dtype={"epochs": "Int64"})
    for column in ("base_accuracy", "pruned_accuracy", "change", "macs_cut"):
        table[column] = (table[column] / 100).round(6)
    table["change"] = table["change"].fillna((table["pruned_accuracy"] - table["base_accuracy"]).round(6))
    texts = ["distilled", "fine_tuned", "repeats", "also_in", "note"]
    table[texts] = table[texts].fillna("")
    return table
