"""Every architecture, every residual treatment: trace, tie, fold, compare, count. Writes results/zoo.md and .csv.

    python benchmarks/zoo.py [NAME ...]

Random weights and norm statistics, random labels at keep ratio 0.5, float64, small inputs. A row is "exact" if the
logits of the tied and the folded network agree within 1e-9 of the largest and give the same classes, and if torch's own
counter finds exactly the MACs and parameters that the plan predicted. It "reloads" if the network that `save` and
`load` give back has the same logits bit for bit. The table of families in docs/networks.md is written too.
"""

from __future__ import annotations

import copy
import csv
import datetime
import platform
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import pdc_core as pdc
from pdc_core.graph import RESIDUALS

RESULTS = Path(__file__).parent / "results"
SMALL = ("resnet20", "resnet56", "resnet20_b", "vgg16_bn_small", "mobilenet_v2_small")  # the zoo, at 32x32
NAMES = (
    *SMALL, "alexnet", "vgg11", "vgg11_bn", "resnet18", "resnet34", "resnet50", "resnext50_32x4d", "wide_resnet50_2",
    "densenet121", "densenet169", "googlenet", "inception_v3", "squeezenet1_0", "squeezenet1_1", "mobilenet_v2",
    "mobilenet_v3_small", "mobilenet_v3_large", "mnasnet0_5", "mnasnet1_3", "shufflenet_v2_x0_5", "shufflenet_v2_x1_5",
    "efficientnet_b0", "efficientnet_b3", "efficientnet_v2_s", "regnet_x_400mf", "regnet_y_400mf", "regnet_y_1_6gf",
    "convnext_tiny",
)  # fmt: skip
FAMILIES: dict[str, tuple[str, ...]] = {
    "ResNet": ("resnet",), "ResNeXt, Wide ResNet": ("resnext", "wide_resnet"), "VGG": ("vgg",), "AlexNet": ("alexnet",),
    "DenseNet": ("densenet",), "GoogLeNet, Inception": ("googlenet", "inception"), "SqueezeNet": ("squeezenet",),
    "MobileNet": ("mobilenet",), "MNASNet": ("mnasnet",), "EfficientNet": ("efficientnet",), "RegNet": ("regnet",),
    "ShuffleNet": ("shufflenet",), "ConvNeXt": ("convnext",),
}  # fmt: skip
PAGE = RESULTS.parents[1] / "docs" / "networks.md"
BEGIN, END = "<!-- families: written by python benchmarks/zoo.py -->", "<!-- families end -->"


def main(names: tuple[str, ...]) -> None:
    """Measure, print and write the rows."""
    rows = []
    for name in names:
        for residual in RESIDUALS:
            rows.append(measure(name, residual))
            print({k: v for k, v in rows[-1].items() if k != "reasons"}, flush=True)
    if names == NAMES:
        write(rows)


def measure(name: str, residual: str) -> dict[str, Any]:
    """Fold one network under one treatment and return its row."""
    size = 32 if name in SMALL else 96 if name == "inception_v3" else 64
    model = lively_(pdc.build_model(name, 3, 10, size=size))
    x = torch.randn(2, 3, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    graph = pdc.trace(model, x[:1], residual)
    plan = pdc.Plan.uniform(graph, 0.5)
    labels = random_labels(graph, plan)
    tied = pdc.reconstruct_(copy.deepcopy(model), graph, labels)
    small = pdc.fold(tied, graph, labels)
    check = pdc.check_equal(tied, small, x)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        small(x[:1])
    priced = pdc.plan_cost(graph, plan)
    counted = (counter.get_total_flops() // 2, sum(p.numel() for p in small.parameters()))
    hidden = [g for g in graph.groups if g.frozen != "is the network's output"]
    free = sum(g.size for g in hidden if g.frozen is None)
    return {
        "network": name,
        "residual": residual,
        "groups": len(graph.clusterable),
        "channels": sum(g.size for g in hidden),
        "clusterable": free / sum(g.size for g in hidden),
        "macs_cut": 1 - priced.macs / pdc.plan_cost(graph, {}).macs,
        "relative_difference": check.relative,
        "exact": check.relative <= 1e-9 and check.same_predictions and counted == (priced.macs, priced.params),
        "reloads": reloads(small, name, x),
        "reasons": "; ".join(sorted({plain(g.frozen) for g in hidden if g.frozen})),
    }


def reloads(small: nn.Module, name: str, x: torch.Tensor) -> bool:
    """Return whether the network that comes back from its file, built from the header alone, gives the same logits."""
    classes, zeros, ones = tuple(map(str, range(10))), (0.0,) * 3, (1.0,) * 3
    small.card = pdc.ModelInfo(name, "images", tuple(x.shape[1:]), classes, zeros, ones)  # type: ignore[assignment]
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        pdc.save(small, Path(folder) / "small.safetensors")
        again = pdc.load(Path(folder) / "small.safetensors")
        return bool(torch.equal(again(x), small(x)))


def plain(reason: str) -> str:
    """Return a reason without the name of the node that it is about."""
    return reason.split(" (")[0].split(" by ")[0]


def lively_(model: nn.Module) -> nn.Module:
    """Give random norm statistics and affine parameters to a network in float64."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for module in model.double().eval().modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1, generator=generator)
                module.running_var.uniform_(0.5, 2, generator=generator)
                module.weight.uniform_(0.5, 1.5, generator=generator)
                module.bias.normal_(0, 0.1, generator=generator)
    return model


def random_labels(graph: pdc.ChannelGraph, plan: pdc.Plan) -> dict[str, np.ndarray]:
    """Return random labels with the plan's counts, block by block."""
    random, labels = np.random.default_rng(0), {}
    for group in graph.clusterable:
        k, a = plan.counts[group.name] // group.blocks, np.zeros(group.size, dtype=np.int64)
        for b in range(group.blocks):
            members = np.flatnonzero(group.block == b)
            a[members] = b * k + random.permutation(np.r_[np.arange(k), random.integers(0, k, len(members) - k)])
        labels[group.name] = a
    return labels


def write(rows: list[dict[str, Any]]) -> None:
    """Write the rows as CSV and as a Markdown table, one line per network."""
    with (RESULTS / "zoo.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, rows[0].keys())
        table.writeheader()
        table.writerows(rows)
    columns = " | ".join(f"{r}: share, cut" for r in RESIDUALS)
    lines = [
        "# Architectures and residual treatments",
        "",
        f"Written by `python benchmarks/zoo.py` on {datetime.date.today()}, torch {torch.__version__}, "
        f"Python {platform.python_version()}. Random weights and labels, keep ratio 0.5, float64.",
        "Share: hidden channels that can be clustered. Cut: MACs cut. Difference: largest of the three, relative "
        "to the largest logit. Exact: see above. Reloads: the file of the folded network gives the same logits to the "
        "last bit. The rest: why other hidden channels are frozen under `shared`.",
        "",
        f"| network | groups | hidden channels | {columns} | difference | exact | reloads | the rest |",
        "|---|--:|--:|--:|--:|--:|--:|---|---|---|",
    ]
    for name in dict.fromkeys(row["network"] for row in rows):
        own = {row["residual"]: row for row in rows if row["network"] == name}
        cells = [f"{own[r]['clusterable']:.1%}, {own[r]['macs_cut']:.1%}" for r in RESIDUALS]
        worst = max(row["relative_difference"] for row in own.values())
        exact, again = ("yes" if all(row[key] for row in own.values()) else "NO" for key in ("exact", "reloads"))
        rest = own["shared"]["reasons"] or "-"
        lines.append(
            f"| {name} | {own['shared']['groups']} | {own['shared']['channels']:,} | {' | '.join(cells)} | {worst:.0e} "
            f"| {exact} | {again} | {rest} |"
        )
    (RESULTS / "zoo.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    PAGE.write_text(before + BEGIN + "\n" + by_family(rows) + END + rest.partition(END)[2], encoding="utf-8")


def by_family(rows: list[dict[str, Any]]) -> str:
    """Return the table of docs/networks.md: one line per family, with the range over its networks."""
    lines = [
        "| family (networks measured) | groups (`shared`) | clusterable: internal | shared | gather | exact, reloads |",
        "|---|--:|--:|--:|--:|---|",
    ]
    for family, prefixes in FAMILIES.items():
        own = [row for row in rows if row["network"].startswith(prefixes)]
        networks = len({row["network"] for row in own})
        groups = span([row["groups"] for row in own if row["residual"] == "shared"], "d")
        shares = [span([row["clusterable"] for row in own if row["residual"] == r], ".0%") for r in RESIDUALS]
        fine = "yes" if all(row["exact"] and row["reloads"] for row in own) else "NO"
        lines.append(f"| {family} ({networks}) | {groups} | {' | '.join(shares)} | {fine} |")
    return "\n".join(lines) + "\n"


def span(values: list[Any], form: str) -> str:
    """Return the smallest and the largest value."""
    low, high = format(min(values), form), format(max(values), form)
    return low if low == high else f"{low} to {high}"


if __name__ == "__main__":
    main(tuple(sys.argv[1:]) or NAMES)
