"""What every command shares: the Typer app, common options, and how results are printed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from pdc_core.errors import PDCError
from pdc_core.models import weights_source
from pdc_core.models.load import NAMED
from pdc_core.seeds import MOST

FLOPS = "MACs: multiply-accumulates of conv and linear layers for one image, what the pruning literature calls FLOPs."
app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    help=f"Prune CNNs by clustering their filters, distilling, and folding the clusters away.\n\n{FLOPS}",
    epilog="Exit codes: 0 done, 1 wrong input, 2 mistyped command, 3 run stopped or paused, 130 interrupted.",
)

ModelName = Annotated[
    str,
    typer.Option(
        "--model",
        help="Network: resnet20 to resnet110 (add _b for projection shortcuts), a torchvision name, or timm:NAME.",
    ),
]
DataName = Annotated[
    str, typer.Option("--data", help="digits, clothing, cifar10, cifar100, fashion_mnist, npz:PATH or folder:PATH.")
]
Weights = Annotated[
    str | None,
    typer.Option(
        "--weights",
        help="shipped (those that come with PDC), random, published (ResNets for CIFAR-10), torchvision, timm or a "
        "checkpoint file. Left out: shipped; for teach: random.",
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only print what the run would do and how long it would take.")]
Seed = Annotated[int, typer.Option("--seed", min=0, max=MOST, help="Seed of clustering, batch order and augmentation.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout instead of text.")]
Out = Annotated[Path | None, typer.Option("--out", help="Run folder; left out: a new one under ./runs (or $PDC_RUNS).")]
Residual = Annotated[str, typer.Option("--residual", help="Residual sums: internal (left whole), shared or gather.")]
Inside = Annotated[
    str,
    typer.Option(
        "--inside",
        help="Cluster only this part of the network, such as backbone; the rest need not be traceable.",
    ),
]
Epochs = Annotated[int, typer.Option("--epochs", help="Passes over the training images.")]

Images = Annotated[
    int | None,
    typer.Option("--images", help="Training images to use, stratified by class, chosen by --seed; left out: all."),
]
Budget = Annotated[
    str | None,
    typer.Option(
        "--budget",
        help="Time for the whole run on this machine, such as 30s, 2min or 1h. It sets images (at most --images) and "
        "epochs (at least 2, in place of --epochs) from timed steps when the run begins.",
    ),
]


def count(text: str) -> tuple[str, int]:
    """Return the group and the number of clusters of one --set.

    Parameters
    ----------
    text : str
        GROUP=K.

    Raises
    ------
    PDCError
        It is written otherwise.
    """
    group, _, k = text.partition("=")
    if not group or not k.isdigit():
        raise PDCError(f"--set {text}: expected GROUP=K with a whole number K, for example --set layer1.0.conv1=4.")
    return group, int(k)


def absolute(weights: str | None, default: str) -> str:
    """Return where weights come from as run files write it, a checkpoint by its absolute path.

    Parameters
    ----------
    weights : str, optional
        What --weights says.
    default : str
        Used if nothing was given.
    """
    source = weights_source(weights or default)
    return source if source in NAMED else str(Path(source).resolve())


def stdout() -> Console:
    """Return a console for results; lines that another program reads are not wrapped."""
    return Console(soft_wrap=not sys.stdout.isatty())


def print_json(content: Any) -> None:
    """Print one JSON document on stdout."""
    print(json.dumps(content, indent=2))
