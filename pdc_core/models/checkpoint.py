"""Checkpoints, read without trusting them: only tensors, no code is run, values finite, shapes checked.

Stands between a file that a user brings and a network of `zoo`.
"""

from __future__ import annotations

import argparse
import pathlib
import pickle
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from pdc_core.errors import PDCError

# Keys under which scripts save the weights, and prefixes that wrappers put before each name.
_CONTAINERS = ("state_dict", "model", "model_state_dict", "net", "state_dict_ema", "ema")
_PREFIXES = ("module.", "_orig_mod.", "model.", "net.")
# What scripts save beside the weights, for their settings: making one of these runs nothing of the file's.
_INERT: list[Any] = [argparse.Namespace, pathlib.PosixPath, pathlib.PurePosixPath]
_STATE = 'saved["state_dict"] if isinstance(saved, dict) else saved.state_dict()'
_SHOWN = 3
_SMALL = 2**20  # bytes up to which the values of a tensor may repeat, as `expand` makes them
_allowing = threading.Lock()


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint into memory (CPU), by name.

    A file ending in .safetensors is read as that; everything else as a file of torch.save, with
    ``weights_only=True``, so that nothing in it is executed; an argparse.Namespace and paths beside the weights are
    let through. Weights are found under the keys `state_dict` (also Lightning's), `model`, `model_state_dict`, `net`,
    `state_dict_ema` and `ema`, the first of these that is there, also one inside another. Prefixes before every name
    are dropped: `module.` (DataParallel), `_orig_mod.` (compile), `model.` and `net.` (Lightning).

    Parameters
    ----------
    path : str or Path
        The file.

    Returns
    -------
    dict of str to Tensor
        By name.

    Raises
    ------
    PDCError
        If there is no such file, it is damaged, holds Python objects instead of tensors, or values that are not finite.
    """
    return inspect_checkpoint(path).tensors


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint's tensors, and how its names were changed.

    Attributes
    ----------
    tensors : dict of str to Tensor
        By name.
    prefix : str
        The prefix that was dropped from every name, "" for none.
    """

    tensors: dict[str, Tensor]
    prefix: str


def inspect_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint as `read_checkpoint` does, and also return the prefix that its names had.

    Parameters
    ----------
    path : str or Path
        The file.

    Returns
    -------
    Checkpoint
        Tensors and prefix.

    Raises
    ------
    PDCError
        As `read_checkpoint`.
    """
    path = Path(path)
    if not path.is_file():
        raise PDCError(f"there is no checkpoint at {path}")
    try:
        content = load_file(path) if path.suffix == ".safetensors" else _read_torch(path)
    except SafetensorError as error:
        raise PDCError(f"{path} is not a complete safetensors file: {error}") from error
    except OSError as error:
        raise PDCError(f"{path} could not be read: {error}") from error
    found = _find_tensors(content, path)
    for name, tensor in found.tensors.items():
        narrow = tensor.is_floating_point() and tensor.itemsize == 1  # float8 has no isfinite
        known = tensor.float() if narrow else tensor
        if (known.is_floating_point() or known.is_complex()) and not bool(torch.isfinite(known).all()):
            raise PDCError(f"{name} in {path} holds values that are not finite (NaN or infinity)")
    return found


@dataclass(frozen=True)
class StateDictMatch:
    """How a checkpoint's tensors match a network's, name by name.

    Attributes
    ----------
    fits : tuple of str
        Names with the same shape in both.
    missing : tuple of str
        The network's names that the checkpoint lacks, except batch counters, which may be absent.
    unexpected : tuple of str
        The checkpoint's names that the network does not have.
    misshapen : tuple of (str, tuple of int, tuple of int)
        Name, shape given, shape needed.
    """

    fits: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    misshapen: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]

    @property
    def whole(self) -> bool:
        """Whether every tensor matches."""
        return not (self.missing or self.unexpected or self.misshapen)


def compare_state(model: nn.Module, tensors: Mapping[str, Tensor]) -> StateDictMatch:
    """Compare a checkpoint with a network, without changing either.

    Parameters
    ----------
    model : nn.Module
        The network.
    tensors : mapping of str to Tensor
        By name, as `read_checkpoint` returns them.

    Returns
    -------
    StateDictMatch
        Which names and shapes match.

    Examples
    --------
    >>> fit = compare_state(nn.Linear(3, 2), {"weight": torch.zeros(2, 4), "scale": torch.ones(2)})
    >>> fit.missing, fit.unexpected, fit.misshapen
    (('bias',), ('scale',), (('weight', (2, 4), (2, 3)),))
    """
    own = model.state_dict()
    tensors = _named_as(own, tensors)
    shared = [name for name in own if name in tensors]
    return StateDictMatch(
        fits=tuple(n for n in shared if tensors[n].shape == own[n].shape),
        missing=tuple(n for n in own if n not in tensors and not n.endswith("num_batches_tracked")),
        unexpected=tuple(n for n in tensors if n not in own),
        misshapen=tuple(
            (n, tuple(tensors[n].shape), tuple(own[n].shape)) for n in shared if tensors[n].shape != own[n].shape
        ),
    )


def load_state_(model: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Copy `tensors` into `model`, all or none of them.

    Batch counters (`num_batches_tracked`), which older checkpoints do not have, may be missing. Everything else has to
    match: the same names and shapes, and values that stay finite in the network's type.

    Parameters
    ----------
    model : nn.Module
        Changed in place.
    tensors : mapping of str to Tensor
        By name, as `read_checkpoint` returns them.
    source : str
        How messages name the checkpoint.

    Raises
    ------
    PDCError
        If a name is missing or unexpected, or a shape, type or value does not fit; the model is unchanged then.
    """
    own, fit = model.state_dict(), compare_state(model, tensors)
    tensors = _named_as(own, tensors)
    if fit.missing or fit.unexpected:
        faults = [
            f"{len(names)} {what} ({_first(names)})"
            for names, what in ((fit.missing, "of the network's tensors missing"), (fit.unexpected, "unexpected"))
            if names
        ]
        raise PDCError(f"{source} does not belong to this network: {' and '.join(faults)}")
    for name, given in tensors.items():
        if given.shape != own[name].shape:
            raise PDCError(
                f"{name} has shape {tuple(given.shape)} in {source}, this network needs "
                f"{tuple(own[name].shape)}: choose the network it was made for, "
                "and data with the same number of channels and classes"
            )
        if given.is_floating_point() != own[name].is_floating_point() or given.is_complex():
            raise PDCError(f"{name} has type {given.dtype} in {source}, this network needs {own[name].dtype}")
        if not bool(torch.isfinite(given.to(own[name].dtype)).all()):
            raise PDCError(f"{name} in {source} has values too large for {own[name].dtype}")
        if name.endswith("running_var") and bool((given < 0).any()):
            raise PDCError(f"{name} in {source} holds negative variances")
    model.load_state_dict({**own, **tensors})


def _read_torch(path: Path) -> object:
    try:
        with _allowing, torch.serialization.safe_globals(_INERT):  # the list is the process's, so one reader at a time
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "GLOBAL" in str(error).upper():
            raise PDCError(
                f"{path} holds Python objects, not only tensors, and was not opened: such a file can run any program "
                "when it is read. If you trust where it comes from, convert it once in Python, where its classes can "
                f"be imported:\n    import torch\n    saved = torch.load({str(path)!r}, weights_only=False)\n"
                f"    torch.save({_STATE}, {str(path.with_name(path.stem + '-weights.pt'))!r})\n"
                'Replace "state_dict" by the key that holds the weights, and give the new file'
            ) from error
        raise PDCError(f"{path} is not a checkpoint that torch.save wrote, or it is damaged") from error
    except Exception as error:  # its reader lets struct, index and many other errors of damaged bytes through
        reason = str(error).strip().partition("\n")[0]
        raise PDCError(f"{path} is not a checkpoint, or it is damaged: {reason}") from error


def _find_tensors(content: object, path: Path) -> Checkpoint:
    while isinstance(content, Mapping):
        inner = next((content[key] for key in _CONTAINERS if isinstance(content.get(key), Mapping)), None)
        if inner is None:
            break
        content = inner
    if not isinstance(content, Mapping) or not content:
        raise PDCError(f"{path} holds {type(content).__name__}, not the named tensors of a network")
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise PDCError(f"{path}: {name!r} is {type(value).__name__}, not a tensor; save model.state_dict() alone")
        if value.layout != torch.strided or value.is_nested or value.is_quantized or value.is_meta:
            raise PDCError(f"{path}: {name} is a sparse, nested, quantised or empty tensor; save dense weights")
        if value.numel() * value.itemsize > max(value.untyped_storage().nbytes(), _SMALL):
            raise PDCError(
                f"{path}: {name} has {value.numel():,} values, of which the file holds "
                f"{value.untyped_storage().nbytes() // value.itemsize:,} and says that they repeat; save it with "
                ".contiguous(), if it is a weight of your network"
            )
    dropped = _shared_prefix(content)
    return Checkpoint({name.removeprefix(dropped): value for name, value in content.items()}, dropped)


def _shared_prefix(names: Iterable[str]) -> str:
    """Return the wrappers' prefixes that every name begins with, one after another."""
    names, found = list(names), ""
    while names and (prefix := next((p for p in _PREFIXES if all(n.startswith(found + p) for n in names)), "")):
        found += prefix
    return found


def _named_as(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Put a dropped prefix back if it is the network's own: one that keeps all its layers in `self.model`."""
    prefix = _shared_prefix(own)
    if not prefix or any(name.startswith(prefix) for name in tensors):
        return tensors
    return {prefix + name: tensor for name, tensor in tensors.items()}


def _first(names: tuple[str, ...]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
