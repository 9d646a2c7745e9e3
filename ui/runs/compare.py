"""Data of the page Compare: the stages of runs as points, and two networks compared image by image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pdc_core.baselines import WHOLE
from pdc_core.costs import latency
from pdc_core.data import Data
from pdc_core.errors import PDCError
from pdc_core.export import load
from pdc_core.runs import Report, Run, find_reference, list_runs
from pdc_core.runs.results import NetworkReport
from pdc_core.train import evaluate
from ui.drawing import percent
from ui.jobs import Job, request
from ui.network import CHUNK, Network, data_stamp, load_images, load_network

BATCHES = (1, 8, 64, 256)
COSTS: dict[str, tuple[Callable[[NetworkReport], float | None], float, str]] = {
    "MACs": (lambda at: at.macs, 1e-6, "of one image [millions]"),
    "Parameters": (lambda at: at.params, 1e-3, "[thousands]"),
    "Latency, 1 image": (lambda at: at.latency.get("1"), 1e3, "[ms, on the machine that trained]"),
    "Latency, 64 images": (lambda at: at.latency.get("64"), 1e3, "[ms, on the machine that trained]"),
}
MOST_MACS = 100_000_000_000  # of the largest batch that is timed
BEFORE = "original network"


@dataclass(frozen=True)
class Pair:
    """Two networks on the whole test split: the classes (n,) predicted before and after folding."""

    data: Data
    before: NDArray[np.int64]
    folded: NDArray[np.int64]

    @property
    def truth(self) -> NDArray[np.int64]:
        """The true classes, (n,)."""
        return np.asarray(self.data.test.labels.numpy())


def compared_runs() -> dict[str, Run]:
    """Return the finished runs that have a folded network, by id, newest first."""
    return {run.id: run for run in list_runs() if run.results is not None and run.results.folded is not None}


def results_of(run: Run) -> tuple[Report, NetworkReport]:
    """Return the results of one of `compared_runs`, and those of its folded network."""
    assert run.results is not None
    assert run.results.folded is not None
    return run.results, run.results.folded


def stages(runs: dict[str, Run], cost: str) -> pd.DataFrame:
    """Return one row per run and stage: columns run, stage, cost, accuracy."""
    cost_of, scale, _ = COSTS[cost]
    rows = []
    for name, run in runs.items():
        for stage, at in results_of(run)[0].networks.items():
            value = cost_of(at)
            if value is not None and (stage != "reconstructed" or run.spec.method == "pdc"):
                rows.append({"run": name, "stage": stage, "cost": scale * value, "accuracy": at.test_accuracy})
    return pd.DataFrame(rows, columns=["run", "stage", "cost", "accuracy"])


def training_alone(run: Run, runs: dict[str, Run]) -> str:
    """Return a sentence on what training without pruning gives: the reference of a run, or how to make one."""
    report, folded = results_of(run)
    before = f"the {percent(report.before.test_accuracy)} before"
    if run.spec.method == WHOLE:
        return f"Trained as long, not pruned: the change from {before} is training's alone."
    if reference := find_reference(run, runs.values()):
        whole = percent(results_of(reference)[1].test_accuracy)
        return f"Trained as long, not pruned: **{whole}** ({reference.id}). The rise over {before} is training's."
    if folded.test_accuracy > report.before.test_accuracy:
        return f"The rise over {before} is training's. A run of the method *whole* shows what training alone gives."
    return ""


def count_test_images(run: Run) -> int | None:
    """Return how many test images a run's accuracy was measured on; None where its data is not here to count them."""
    written = results_of(run)[0].test_images
    if written is not None:
        return written
    try:  # runs of earlier versions do not say it
        return len(load_images(run.spec.data, data_stamp(run.spec.data)).test) or None
    except (PDCError, OSError):
        return None


def all_runs(runs: dict[str, Run], baseline: NetworkReport) -> pd.DataFrame:
    """Return one row per finished run, with its differences from a baseline."""
    rows = []
    for name, run in runs.items():
        (report, folded), spec = results_of(run), run.spec
        rows.append(
            {
                "run": name,
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
    residual = run.spec.plan.residual if run.spec.plan else "internal"
    return load_network(run.spec.model, run.spec.data, run.spec.weights, residual)


def _key(run: Run) -> tuple[str, ...]:
    return str(run.folder.resolve()), str((run.folder / "folded.safetensors").stat().st_mtime_ns)


def _classify(run: Run, network: Network, job: Job[Pair]) -> Pair:
    folded, data, n = load(run.folder / "folded.safetensors"), network.data, len(network.data.test)
    before = evaluate(network.module, data, data.test, CHUNK, progress=lambda done, _: job.progress(done, 2 * n))
    after = evaluate(folded, data, data.test, CHUNK, progress=lambda done, _: job.progress(n + done, 2 * n))
    return Pair(data, before.predictions.numpy(), after.predictions.numpy())


def _latencies(run: Run, network: Network, job: Job[dict[int, tuple[float, float]]]) -> dict[int, tuple[float, float]]:
    folded, macs = load(run.folder / "folded.safetensors"), results_of(run)[0].before.macs
    batches = [batch for batch in BATCHES if batch == 1 or batch * macs <= MOST_MACS]
    found = {}
    for i, batch in enumerate(batches):
        before, after = (latency(m, network.example, (batch,), repeats=7)[batch] for m in (network.module, folded))
        found[batch] = before, after
        job.progress(i + 1, len(batches), dict(found))
    return found
