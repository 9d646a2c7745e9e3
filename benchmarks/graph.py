"""Trace and fold against Torch-Pruning's graph build and prune, side by side. Writes benchmarks/results/graph.md.

    pip install torch-pruning && python benchmarks/graph.py

Half of the channels of every group are removed, at 224x224, float32, under `shared`, which is what Torch-Pruning does
at residual sums. Times: best of three alternating runs after a warm-up of both. Memory: peak of a fresh process for
each, minus what the loaded network takes. PDC's time is trace + fold with the labels given; the network is tied
beforehand, as it is after training. Below the table: the MACs of a plan without building it, and the labels for all of
ResNet-50.
"""

from __future__ import annotations

import copy
import datetime
import json
import platform
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

import pdc_core as pdc

RESULTS = Path(__file__).parent / "results"
NETWORKS = ("resnet50", "vgg16_bn", "densenet121", "mobilenet_v2")
EXAMPLE = torch.zeros(1, 3, 224, 224)


def network(name: str) -> nn.Module:
    """Return one of torchvision's networks with random weights."""
    return pdc.build_model(name, 3, 1000).eval()


def labels_of(graph: pdc.ChannelGraph) -> dict[str, np.ndarray]:
    """Return labels that pair channel 2i with 2i + 1."""
    return {g.name: np.arange(g.size) // 2 for g in graph.clusterable}


def ours(model: nn.Module, labels: dict[str, np.ndarray]) -> nn.Module:
    """Trace and fold."""
    return pdc.fold(model, pdc.trace(model, EXAMPLE, "shared"), labels)


def theirs(model: nn.Module) -> nn.Module:
    """Build Torch-Pruning's graph and remove half of the channels by L1 norm."""
    import torch_pruning as tp

    last = [m for m in model.modules() if isinstance(m, nn.Linear)][-1]
    importance = tp.importance.MagnitudeImportance(p=1)
    tp.pruner.MagnitudePruner(model, EXAMPLE, importance, pruning_ratio=0.5, ignored_layers=[last]).step()
    return model


def timed(name: str, runs: int = 3) -> tuple[float, float]:
    """Return the best seconds of both, alternating, after a warm-up of both."""
    model = network(name)
    graph = pdc.trace(model, EXAMPLE, "shared")
    labels = labels_of(graph)
    tied = pdc.reconstruct_(copy.deepcopy(model), graph, labels)
    best = [float("inf"), float("inf")]
    for run in range(runs + 1):
        fresh = copy.deepcopy(model)  # Torch-Pruning changes the network it is given; ours does not
        for which, work in enumerate((lambda: ours(tied, labels), lambda: theirs(fresh))):  # noqa: B023
            start = time.perf_counter()
            work()
            if run:
                best[which] = min(best[which], time.perf_counter() - start)
    return best[0], best[1]


def peak(name: str, which: str) -> float:
    """Return MiB that one of the two needs on top of the loaded network, in a process of its own."""
    command = [sys.executable, __file__, "--peak", name, which]
    return float(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)["mib"])


def peak_here(name: str, which: str) -> None:
    """Measure in this process and print the result."""
    warm = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)
    ).eval()
    if which == "theirs":
        theirs(warm)
    else:
        graph = pdc.trace(warm, EXAMPLE, "shared")
        ours(pdc.reconstruct_(warm, graph, labels_of(graph)), labels_of(graph))
    model = network(name)
    labels = labels_of(pdc.trace(model, EXAMPLE, "shared"))
    for p in model.parameters():
        p.data.fill_(0.1)  # tied for free: tying itself would raise the high-water mark
    Path("/proc/self/clear_refs").write_text("5")  # Linux: reset the high-water mark
    before = memory("VmRSS")
    ours(model, labels) if which == "ours" else theirs(model)
    print(json.dumps({"mib": memory("VmHWM") - before}))


def memory(field: str) -> float:
    """Return a field of this process's memory in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def main() -> None:
    """Measure, print and write."""
    import torch_pruning

    lines = [
        "# Trace and fold against Torch-Pruning",
        "",
        f"Written by `python benchmarks/graph.py` on {datetime.date.today()}, torch {torch.__version__}, torch-pruning "
        f"{torch_pruning.__version__}, Python {platform.python_version()}, {torch.get_num_threads()} threads.",
        "",
        "| network at 224x224 | PDC: trace + fold | Torch-Pruning (T-P) | ratio | PDC: peak | T-P: peak |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for name in NETWORKS:
        a, b = timed(name)
        memory = [peak(name, which) for which in ("ours", "theirs")]
        lines.append(f"| {name} | {a:.2f} s | {b:.2f} s | {b / a:.1f} | {memory[0]:.0f} MiB | {memory[1]:.0f} MiB |")
        print(lines[-1], flush=True)
    model = network("resnet50")
    graph = pdc.trace(model, EXAMPLE, "shared")
    plan = pdc.Plan.uniform(graph, 0.5)
    times = []
    for _ in range(20):
        start = time.perf_counter()
        pdc.plan_cost(graph, plan)
        times.append(time.perf_counter() - start)
    pdc.assign(model, graph, pdc.Plan.uniform(graph, 0.9))  # imports scikit-learn, which is not what is timed
    start = time.perf_counter()
    pdc.assign(model, graph, plan)
    seconds = time.perf_counter() - start
    lines += [
        "",
        f"A plan's MACs for ResNet-50 without building it: {1000 * sorted(times)[10]:.2f} ms (median of 20). "
        f"Labels for all of ResNet-50 at keep 0.5 by k-means: {seconds:.1f} s.",
    ]
    print(lines[-1])
    (RESULTS / "graph.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    peak_here(*sys.argv[2:]) if sys.argv[1:2] == ["--peak"] else main()
