"""Data of the page Compare: the stages of runs as points, and two networks compared image by image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from pdc_core.costs import latency
from pdc_core.data import Data, Split
from pdc_core.errors import PDCError
from pdc_core.export import load
from pdc_core.runs import Run
from pdc_core.train import evaluate
from ui.jobs import Job, request
from ui.network import CHUNK, Network, load_images, load_network, stamp_of

STAGES = ("before", "reconstructed", "folded")
BATCHES = (1, 8, 64, 256)
COSTS = {
    "MACs": ("macs", 1e-6, "of one image [millions]"),
    "Parameters": ("params", 1e-3, "[thousands]"),
    "Latency, 1 image": ("1", 1e3, "[ms, on the machine that trained]"),
    "Latency, 64 images": ("64", 1e3, "[ms, on the machine that trained]"),
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


def stages(runs: dict[str, Run], cost: str) -> pd.DataFrame:
    """Return one row per run and stage: columns run, stage, cost, accuracy."""
    key, scale, _ = COSTS[cost]
    rows = []
    for name, run in runs.items():
        for stage in STAGES if run.spec.method == "pdc" else ("before", "folded"):
            at = (run.report or {})[stage]
            value = at.get(key, at.get("latency", {}).get(key))
            if value is not None:
                rows.append({"run": name, "stage": stage, "cost": scale * value, "accuracy": at["test_accuracy"]})
    return pd.DataFrame(rows, columns=["run", "stage", "cost", "accuracy"])


def count_test_images(run: Run) -> int | None:
    """Return how many test images a run's accuracy was measured on; None where its data is not here to count them."""
    written = (run.report or {}).get("test_images")
    if written is not None:
        return int(written)
    try:  # runs of earlier versions do not say it
        return len(load_images(run.spec.data, stamp_of(run.spec.data.partition(":")[2])).test) or None
    except (PDCError, OSError):
        return None


def all_runs(runs: dict[str, Run], baseline: dict[str, Any]) -> pd.DataFrame:
    """Return one row per finished run, with its differences from a baseline {test_accuracy, macs, params}."""
    rows = []
    for name, run in runs.items():
        report, spec = run.report or {}, run.spec
        folded = report["folded"]
        rows.append(
            {
                "run": name,
                "method": spec.method,
                "network": spec.model,
                "epochs": spec.training.epochs,
                "seed": spec.seed,
                "sums": report.get("residual", ""),
                "accuracy": 100 * folded["test_accuracy"],
                "points": 100 * (folded["test_accuracy"] - baseline["test_accuracy"]),
                "MACs": folded["macs"],
                "MACs change": 100 * (folded["macs"] / baseline["macs"] - 1),
                "parameters": folded["params"],
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
    folded, data = load(run.folder / "folded.safetensors"), network.data
    outputs: tuple[list[torch.Tensor], list[torch.Tensor]] = ([], [])
    for start in range(0, len(data.test), CHUNK):
        part = Split(data.test.images[start : start + CHUNK], data.test.labels[start : start + CHUNK])
        for model, predicted in zip((network.module, folded), outputs, strict=True):
            predicted.append(evaluate(model, data, part).predictions)
        job.progress(start + len(part), len(data.test))
    return Pair(data, torch.cat(outputs[0]).numpy(), torch.cat(outputs[1]).numpy())


def _latencies(run: Run, network: Network, job: Job[dict[int, tuple[float, float]]]) -> dict[int, tuple[float, float]]:
    folded, macs = load(run.folder / "folded.safetensors"), (run.report or {})["before"]["macs"]
    batches = [batch for batch in BATCHES if batch == 1 or batch * macs <= MOST_MACS]
    found = {}
    for i, batch in enumerate(batches):
        before, after = (latency(m, network.example, (batch,), repeats=7)[batch] for m in (network.module, folded))
        found[batch] = before, after
        job.progress(i + 1, len(batches), dict(found))
    return found
