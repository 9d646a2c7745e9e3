"""Every architecture, every residual treatment: trace, tie, fold, compare, count. Writes results/zoo.md and .csv.

    python benchmarks/zoo.py [NAME ...]
    python benchmarks/zoo.py --timm [NAME ...]

The second measures timm's networks under `shared`, one per family and block type, and writes results/zoo_timm.csv row
by row and results/zoo_timm.md at its end.

Random weights and norm statistics, random labels at keep ratio 0.5, float64, small inputs. A row is "exact" if the
logits of the tied and the folded network agree within 1e-9 of the largest and give the same classes, and if torch's own
counter finds exactly the MACs and parameters that the plan predicted. It "reloads" if the network that `save` and
`load` give back has the same logits bit for bit. The table of families in docs/networks.md is written too.
"""

from __future__ import annotations

import copy
import csv
import datetime
import multiprocessing
import platform
import queue
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import pdc_core as pdc
from pdc_core.graph import RESIDUALS

RESULTS = Path(__file__).parent / "results"
TORCH_PRUNING_SECONDS = 20
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
TIMM_BEGIN, TIMM_END = "<!-- timm: written by python benchmarks/zoo.py --timm -->", "<!-- timm end -->"


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
    put(BEGIN, by_family(rows), END)


def put(begin: str, table: str, end: str) -> None:
    """Put a table between two marks of docs/networks.md."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(begin)
    PAGE.write_text(before + begin + "\n" + table + end + rest.partition(end)[2], encoding="utf-8")


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


# -- timm ------------------------------------------------------------------------------------------------------

TIMM_COLUMNS = (
    "network", "family", "parameters", "size", "groups", "channels", "clusterable", "macs_cut", "relative_difference",
    "exact", "macs_equal", "class_kept", "seconds", "torch_pruning", "reasons", "error",
)  # fmt: skip


def timm_names() -> list[tuple[str, str]]:
    """Return (network, family) line by line from timm_names.txt: one per family and block type."""
    lines = Path(__file__).with_name("timm_names.txt").read_text(encoding="utf-8").splitlines()
    return [(name, family) for family, name in (line.split() for line in lines if line and line[0] != "#")]


def main_timm(names: list[str]) -> None:
    """Measure timm's networks one by one and write a row at once, so that a stopped run goes on where it stopped."""
    path = RESULTS / "zoo_timm.csv"
    known = dict(timm_names())
    done = set()
    if path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            done = {row["network"] for row in csv.DictReader(file)}
    for name in names or list(known):
        if name in done:
            continue
        row = measure_timm(name, known.get(name, name.split("_")[0]))
        new = not path.exists()
        with path.open("a", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, TIMM_COLUMNS)
            if new:
                table.writeheader()
            table.writerow(row)
        print({k: v for k, v in row.items() if k != "reasons"}, flush=True)
    write_timm(path)


def measure_timm(name: str, family: str) -> dict[str, Any]:
    """Fold one of timm's networks under `shared` and return its row; what goes wrong is its error."""
    pdc.torchvision()  # repaired if need be, before timm imports it
    import timm

    row: dict[str, Any] = dict.fromkeys(TIMM_COLUMNS, "") | {"network": name, "family": family}
    try:
        torch.manual_seed(0)
        model = lively_timm_(timm.create_model(name, pretrained=False, num_classes=10))
        row["parameters"] = sum(p.numel() for p in model.parameters())
        start = time.perf_counter()
        x, graph = traced_timm(model)
        plan = pdc.Plan.uniform(graph, 0.5)
        traced = time.perf_counter()
        labels = random_labels(graph, plan)
        tied = pdc.reconstruct_(copy.deepcopy(model), graph, labels)
        begun = time.perf_counter()
        small = pdc.fold(tied, graph, labels)
        seconds = time.perf_counter() - begun
        check = pdc.check_equal(tied, small, x)
        priced, whole = pdc.plan_cost(graph, plan), pdc.plan_cost(graph, {})
        reach = graph.reach()
        row |= {
            "size": x.shape[-1],
            "groups": len(graph.clusterable),
            "channels": sum(g.size for g in graph.groups if g.frozen != "is the network's output"),
            "clusterable": reach.filters,
            "macs_cut": 1 - priced.macs / whole.macs,
            "relative_difference": check.relative,
            "exact": check.relative <= 1e-9 and check.same_predictions,
            "macs_equal": (priced.macs, whole.macs) == (counted(small, x), counted(model, x))
            and priced.params == sum(p.numel() for p in small.parameters()),
            "class_kept": type(small) is type(model),
            "seconds": round(seconds + traced - start, 2),
            "reasons": "; ".join(f"{b.filters}: {plain(b.reason)}" for b in reach.blocked[:4]),
        }
        row["torch_pruning"] = torch_pruning(model, x)
    except Exception as error:  # one network's fault is its row; the table goes on
        row["error"] = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:240]
    return row


def traced_timm(model: nn.Module) -> tuple[torch.Tensor, pdc.ChannelGraph]:
    """Return two images and the trace, at 96 pixels where the network takes that, else at its own size."""
    own = model.default_cfg.get("test_input_size") or model.default_cfg["input_size"]  # type: ignore[operator, index]
    sizes = [own[-1]] if model.default_cfg.get("fixed_input_size") else [96, own[-1], 224]  # type: ignore[operator]
    generator = torch.Generator().manual_seed(0)
    for size in sizes:
        x = torch.randn(2, own[0], size, size, dtype=torch.float64, generator=generator)
        try:
            return x, pdc.trace(model, x[:1], "shared")
        except pdc.PDCError:
            if size == sizes[-1]:
                raise
    raise AssertionError


def counted(model: nn.Module, x: torch.Tensor) -> int:
    """Count MACs with torch's counter on the meta device, where it sees attention too."""
    frozen = copy.deepcopy(model).requires_grad_(False).to("meta")  # the counter fails on views of what learns
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        frozen(x[:1].to("meta"))
    return counter.get_total_flops() // 2


def lively_timm_(model: nn.Module) -> nn.Module:
    """Give every tensor of a network random values that matter, in float64: timm starts some of them at zero."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, t in [*model.double().eval().named_parameters(), *model.named_buffers()]:
            if not t.is_floating_point():
                continue
            if name.endswith("running_var"):
                t.uniform_(0.5, 2, generator=generator)
            elif t.dim() > 1:
                t.normal_(0, (2 / t[0].numel()) ** 0.5, generator=generator)
            else:
                t.normal_(1 if name.endswith("weight") else 0, 0.3, generator=generator)
    return model


def torch_pruning(model: nn.Module, x: torch.Tensor) -> str:
    """Return the share of MACs that Torch-Pruning cuts, if its network still runs; else its error.

    It works in a process of its own, which is ended after some time: on some networks it does not come to an end.
    """
    if find_spec("torch_pruning") is None:
        return "not installed"
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    process = context.Process(target=lambda: answers.put(pruned_by_it(model, x)), daemon=True)
    process.start()
    try:
        return str(answers.get(timeout=TORCH_PRUNING_SECONDS))
    except queue.Empty:
        return f"no end within {TORCH_PRUNING_SECONDS} s"
    finally:
        process.kill()
        process.join()


def pruned_by_it(model: nn.Module, x: torch.Tensor) -> str:
    """Prune half of the channels with Torch-Pruning, and return the share of MACs cut, or its error."""
    try:
        import torch_pruning as tp

        model, x = copy.deepcopy(model).float(), x.float()
        before = counted(model, x)
        last = [m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d)][-1]
        importance = tp.importance.MagnitudeImportance(p=1)
        tp.pruner.MagnitudePruner(model, x[:1], importance, pruning_ratio=0.5, ignored_layers=[last]).step()
        with torch.no_grad():
            model(x)
        return f"{1 - counted(model, x) / before:.3f}"
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:80]}"


def write_timm(path: Path) -> None:
    """Write the rows as a Markdown table, family by family."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    fine = [row for row in rows if not row["error"]]
    half = sum(float(row["clusterable"]) >= 0.5 for row in fine)
    lines = [
        "# timm's networks",
        "",
        f"Written by `python benchmarks/zoo.py --timm` on {datetime.date.today()}, torch {torch.__version__}, Python "
        f"{platform.python_version()}. Random weights and labels, keep ratio 0.5, `shared`, float64.",
        f"{len(rows)} of the {len(timm_names())} networks in timm_names.txt: {half} with at least half of their hidden "
        "channels clusterable, "
        f"{sum(row['exact'] == 'True' for row in rows)} exact, {sum(row['macs_equal'] == 'True' for row in rows)} with "
        f"the MACs and parameters foretold, {len(rows) - len(fine)} with an error.",
        "",
        "| family | network | hidden channels | clusterable | MACs cut | difference | exact | MACs equal "
        "| Torch-Pruning | the rest, or the error |",
        "|---|---|--:|--:|--:|--:|---|---|---|---|",
    ]
    for row in sorted(rows, key=lambda row: (row["family"], row["network"])):
        if row["error"]:
            lines.append(f"| {row['family']} | {row['network']} | | | | | | | | {row['error']} |")
            continue
        shares = f"{float(row['clusterable']):.0%} | {float(row['macs_cut']):.0%}"
        lines.append(
            f"| {row['family']} | {row['network']} | {int(row['channels']):,} | {shares} "
            f"| {float(row['relative_difference']):.0e} | {row['exact']} | {row['macs_equal']} "
            f"| {row['torch_pruning']} | {row['reasons'] or '-'} |"
        )
    (RESULTS / "zoo_timm.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    put(TIMM_BEGIN, timm_by_family(rows), TIMM_END)


def timm_by_family(rows: list[dict[str, Any]]) -> str:
    """Return the table of docs/networks.md: one line per family of timm, with the range over its networks."""
    lines = [
        "| family (networks measured) | clusterable | at least half | exact | pruned by Torch-Pruning |",
        "|---|--:|--:|--:|--:|",
    ]
    for family in sorted({row["family"] for row in rows}):
        own = [row for row in rows if row["family"] == family]
        fine = [row for row in own if not row["error"]]
        shares = span([float(row["clusterable"]) for row in fine], ".0%") if fine else "refused"
        half = sum(float(row["clusterable"]) >= 0.5 for row in fine)
        exact = sum(row["exact"] == row["macs_equal"] == "True" for row in fine)
        by_it = sum(row["torch_pruning"][:1].isdigit() for row in own)
        lines.append(f"| {family} ({len(own)}) | {shares} | {half} | {exact} | {by_it} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    if sys.argv[1:2] == ["--timm"]:
        main_timm(sys.argv[2:])
    else:
        main(tuple(sys.argv[1:]) or NAMES)
