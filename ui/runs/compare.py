"""Data of the page Compare: the stages of runs as points, and two networks compared image by image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray
from torch import nn

from pdc_core.analysis.answers import compare_answers
from pdc_core.costs import latency
from pdc_core.data import Data, is_local
from pdc_core.errors import PDCError
from pdc_core.export import load
from pdc_core.runs import Report, Run, list_runs, points_of, run_names
from pdc_core.runs.files import SWEEP_FILE
from pdc_core.runs.results import NetworkReport
from pdc_core.runs.teachers import RESULT
from ui.choice import Choice
from ui.classroom import own_root
from ui.jobs import Job, request
from ui.network import Network, data_stamp, load_images, load_network

BATCHES = (1, 8, 64, 256)
BEFORE = "original network"
MOST_MACS = 100_000_000_000  # of the largest batch that is timed


@dataclass(frozen=True)
class Cost:
    """A cost that accuracy is drawn against: a column of the table of points, its scale and its unit."""

    name: str
    column: str
    scale: float
    unit: str

    def of(self, network: NetworkReport) -> float | None:
        """Return the cost of a network in its unit, or None where it was not measured."""
        batch = self.column.removeprefix("latency_")
        value = getattr(network, self.column) if batch == self.column else network.latency.get(batch)
        return None if value is None else self.scale * value


_COSTS = (
    Cost("MACs", "macs", 1e-6, "of one image [millions]"),
    Cost("Parameters", "params", 1e-3, "[thousands]"),
    Cost("Latency, 1 image", "latency_1", 1e3, "[ms, on the machine that trained]"),
    Cost("Latency, 64 images", "latency_64", 1e3, "[ms, on the machine that trained]"),
)
COSTS = {each.name: each for each in _COSTS}


@dataclass(frozen=True)
class Pair:
    """Two networks on the whole test split: classes (n,) before and after folding, and how far their answers differ."""

    data: Data
    before: NDArray[np.int64]
    folded: NDArray[np.int64]
    distance: NDArray[np.float64]

    @property
    def truth(self) -> NDArray[np.int64]:
        """The true classes, (n,)."""
        return np.asarray(self.data.test.labels.numpy())


def compared_runs() -> dict[str, Run]:
    """Return the finished runs that have a folded network, by id, newest first; those of sweeps too."""
    folders = [own_root(), *sorted(path.parent for path in own_root().glob(f"*/{SWEEP_FILE}"))]
    found = [run for folder in folders for run in list_runs(folder)]
    found.sort(key=lambda run: run.spec.created or "", reverse=True)
    return {run.id: run for run in found if run.results is not None and run.results.folded is not None}


def results_of(run: Run) -> tuple[Report, NetworkReport]:
    """Return the results of one of `compared_runs`, and those of its folded network."""
    assert run.results is not None
    assert run.results.folded is not None
    return run.results, run.results.folded


def stages(run: Run, cost: Cost) -> pd.DataFrame:
    """Return the networks of a run in the order in which they arose: columns stage, cost, accuracy."""
    rows = [
        {"stage": stage, "cost": cost.of(at), "accuracy": at.test_accuracy}
        for stage, at in results_of(run)[0].networks.items()
        if stage != "reconstructed" or run.spec.method == "pdc"
    ]
    return pd.DataFrame(rows, columns=["stage", "cost", "accuracy"]).dropna(subset=["cost"])


def label_of(network: str, data: str, weights: str) -> str:
    """Return what a person calls the network that runs started from."""
    return Choice(network, data, weights).label


def points_table(runs: dict[str, Run]) -> pd.DataFrame:
    """Return one row per run, newest first: the table of `points_of`, and `label`, what a person calls its network."""
    table = points_of(runs.values()).assign(sweep=[run.sweep for run in runs.values()])
    uncounted = table["n_test"].isna()
    for data in dict.fromkeys(table.loc[uncounted, "data"]):  # runs of earlier versions do not say it
        table.loc[uncounted & (table["data"] == data), "n_test"] = count_test_images(data)
    return labelled(table)


def labelled(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table of points with what a person calls the networks."""
    named = table[["network", "data", "weights"]].itertuples(index=False, name=None)
    return table.assign(label=[label_of(*each) for each in named])


def count_test_images(data: str) -> int | None:
    """Return how many test images a data set has; None where it is not here to count them."""
    try:
        return len(load_images(data, data_stamp(data)).test) or None if is_local(data) else None
    except (PDCError, OSError):
        return None


def all_runs(runs: dict[str, Run], baseline: NetworkReport) -> pd.DataFrame:
    """Return one row per finished run, with its differences from a baseline."""
    rows, names = [], run_names(runs.values())
    for name, run in runs.items():
        (report, folded), spec = results_of(run), run.spec
        rows.append(
            {
                "name": names[name],
                "method": spec.method,
                "network": spec.model,
                "epochs": spec.training.epochs,
                "seed": spec.seed,
                "sums": report.residual or "",
                "accuracy": 100 * folded.test_accuracy,
                "points": 100 * (folded.test_accuracy - baseline.test_accuracy),
                "MACs": folded.macs,
                "MACs change": 100 * (folded.macs / baseline.macs - 1),
                "parameters": folded.params,
                "from": run.status.get("host", ""),
                "run": name,
            }
        )
    return pd.DataFrame(rows)


def image_by_image(run: Run) -> Job[Pair]:
    """Classify the test images with the network before and the folded one, in the background.

    Raises
    ------
    PDCError
        The network before cannot be loaded here: its weights or its data are not on this machine.
    """
    network = before_of(run)
    return request(("pair", *_key(run)), lambda job: _classify(run, network, job))


def measured_here(run: Run) -> Job[dict[int, tuple[float, float]]]:
    """Measure the seconds per batch of both networks on this machine, in the background: {batch: (before, folded)}.

    Raises
    ------
    PDCError
        The network before cannot be loaded here.
    """
    network = before_of(run)
    return request(("latency", *_key(run)), lambda job: _latencies(run, network, job))


def before_of(run: Run) -> Network:
    """Return the network that a run started from."""
    traced = {"residual": run.spec.plan.residual, "inside": run.spec.plan.inside} if run.spec.plan else {}
    return load_network(run.spec.model, run.spec.data, run.spec.weights, **traced)


def folded_of(run: Run) -> nn.Module:
    """Return the folded network of a run, in eval mode; it is shared and never changed."""
    return _load_folded(*_key(run))


@st.cache_resource(show_spinner="Loading the folded network", max_entries=4)
def _load_folded(folder: str, stamp: str) -> nn.Module:
    return load(Path(folder) / RESULT)


def _key(run: Run) -> tuple[str, str]:
    return str(run.folder.resolve()), str((run.folder / RESULT).stat().st_mtime_ns)


def _classify(run: Run, network: Network, job: Job[Pair]) -> Pair:
    folded, data = load(run.folder / RESULT), network.data
    found = compare_answers(network.module, folded, data, data.test.images, job.progress)
    return Pair(data, found.first, found.second, found.distance)


def _latencies(run: Run, network: Network, job: Job[dict[int, tuple[float, float]]]) -> dict[int, tuple[float, float]]:
    folded, macs = load(run.folder / RESULT), results_of(run)[0].before.macs
    batches = [batch for batch in BATCHES if batch == 1 or batch * macs <= MOST_MACS]
    found = {}
    for i, batch in enumerate(batches):
        before, after = (latency(m, network.example, (batch,), repeats=7)[batch] for m in (network.module, folded))
        found[batch] = before, after
        job.progress(i + 1, len(batches), dict(found))
    return found
