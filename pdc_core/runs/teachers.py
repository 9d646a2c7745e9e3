"""The teacher that a run names: another network by its name and weights, a file, or a finished run."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from pdc_core.errors import PDCError
from pdc_core.export import header, load
from pdc_core.models import load_model
from pdc_core.models.load import NAMED, SHIPPED
from pdc_core.models.zoo import MODELS

RESULT = "folded.safetensors"  # the network of a finished run, also of one that pruned nothing


def written_teacher(source: str, root: Path) -> str:
    """Return how run.yaml names a teacher: files and runs by absolute paths, so that the run can be resumed anywhere.

    Parameters
    ----------
    source : str
        "NAME:WEIGHTS" as `load_model` takes both ("resnet56:published", "resnet56:PATH"), "NAME" for the weights that
        come with PDC, a file that PDC wrote, a checkpoint of the run's own network, or a finished run: its folder, or
        its name under the root.
    root : Path
        Folder of all runs.
    """
    for place in (Path(source).expanduser(), root / source):
        if place.is_dir() and (place / "run.yaml").is_file():
            return str(place.resolve())
    if Path(source).expanduser().is_file():
        return str(Path(source).expanduser().resolve())
    name, weights = _name_and_weights(source)
    return source if weights in NAMED else f"{name}:{Path(weights).resolve()}"


def load_teacher(source: str, model: str, data: str) -> nn.Module:
    """Load the teacher that a run names; `train.check_teacher` says whether it can teach there.

    Parameters
    ----------
    source : str
        As `written_teacher` takes it.
    model : str
        The run's own network, for a checkpoint that does not say what it is.
    data : str
        The run's data set.

    Returns
    -------
    Module
        In eval mode, on the CPU.

    Raises
    ------
    PDCError
        It is not found, the run has no network yet, or the weights do not fit.

    Examples
    --------
    >>> load_teacher("resnet56:nowhere.pt", "resnet20", "digits")
    Traceback (most recent call last):
    pdc_core.errors.PDCError: The teacher resnet56:nowhere.pt is not known: give NAME:WEIGHTS (resnet56:published), a \
file, or the folder of a finished run.
    """
    path = Path(source)
    if path.is_dir():
        if not (path / RESULT).is_file():
            raise PDCError(f"The run {path} has no network to teach with yet; wait until it is done, or finish it.")
        return load(path / RESULT)
    if path.is_file():
        return load(path) if _is_ours(path) else load_model(model, data=data, weights=path)
    name, weights = _name_and_weights(source)
    try:
        return load_model(name, data=data, weights=weights)
    except PDCError as error:
        if weights != SHIPPED or name in MODELS:
            raise
        raise PDCError(
            f"The teacher {source} is not known: give NAME:WEIGHTS (resnet56:published), a file, or the folder of a "
            "finished run."
        ) from error


def _name_and_weights(source: str) -> tuple[str, str]:
    """Split at the last colon, where weights or a file follow; else the whole is a name, of a network of PDC's."""
    name, _, weights = source.rpartition(":")
    return (name, weights) if name and (weights in NAMED or Path(weights).is_file()) else (source, SHIPPED)


def _is_ours(path: Path) -> bool:
    """Return whether PDC wrote a file, which then says what network it holds."""
    if path.suffix != ".safetensors":
        return False
    try:
        header(path)
    except PDCError:  # a checkpoint from elsewhere
        return False
    return True
