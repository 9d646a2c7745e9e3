"""Networks on disk: one safetensors file with the weights and, in its header, all that rebuilds the network. No pickle.

The header names the architecture and the clusters that were folded; `load` builds the architecture, traces it and
narrows it in the same way, and then loads the weights.
"""

from __future__ import annotations

import json
import math
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd

from pdc_core.clustering import check_labels
from pdc_core.clustering.labels import cluster_count
from pdc_core.errors import PDCError
from pdc_core.files import replacing, write_whole
from pdc_core.folding import Folding, fold_unchecked_
from pdc_core.folding.check import tensors_in
from pdc_core.graph import trace
from pdc_core.models import MODELS, ModelInfo, build_model, is_custom, model_info

FORMAT = 1
LARGEST_HEADER = 64 * 2**20
LAYERS = (_ConvNd, nn.Linear)


def save(model: nn.Module, path: str | Path) -> None:
    """Write a network, folded or not, as one safetensors file, whole or not at all.

    Parameters
    ----------
    model : nn.Module
        A network from `fold`, `distil`, `teach` or `load_model`, or one of your own class; the latter is read again
        with ``load(path, build=...)``.
    path : str or Path
        The file; its folder has to exist.

    Raises
    ------
    PDCError
        If the file cannot be written, or a weight is not finite.
    """
    from safetensors.torch import save as to_bytes

    tensors = {name: t.detach().cpu().contiguous().clone() for name, t in model.state_dict().items()}
    bad = [name for name, t in tensors.items() if t.is_floating_point() and not t.isfinite().all()]
    if bad:
        raise PDCError(f"{bad[0]} holds numbers that are not finite (NaN or infinity); such a network is not saved.")
    card = model_info(model)
    header = {
        "format": FORMAT,
        "card": asdict(card) if card else None,
        "class": type(model).__name__,
        "folds": [
            {
                "residual": f.residual,
                "input": list(f.input_shape),
                "inside": f.inside,
                "labels": {n: a.tolist() for n, a in f.labels.items()},
                "plan": {n: cluster_count(a) for n, a in f.labels.items()},
            }
            for f in folds_of(model)
        ],
        "widths": {name: list(m.weight.shape[:2]) for name, m in model.named_modules() if isinstance(m, LAYERS)},
        "torch": torch.__version__,
    }
    write_whole(path, to_bytes(tensors, metadata={"pdc": json.dumps(header)}), durable=True)


def folds_of(model: nn.Module) -> tuple[Folding, ...]:
    """Return every folding that a network went through.

    Parameters
    ----------
    model : nn.Module
        Any network.

    Returns
    -------
    tuple of Folding
        In order; empty for a network that was never folded.
    """
    return tuple(getattr(model, "folds", ()))


def header(path: str | Path) -> dict[str, Any]:
    """Return the header that `save` wrote, without reading any weight.

    Parameters
    ----------
    path : str or Path
        A file that `save` wrote.

    Returns
    -------
    dict
        With the keys format, card, class, folds, widths and torch.

    Raises
    ------
    PDCError
        If the file is missing, truncated or no safetensors file, or was not written by PDC.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise PDCError(f"There is no file {path}.")
    with path.open("rb") as file:
        announced = int.from_bytes(file.read(8), "little")
    if announced > min(LARGEST_HEADER, path.stat().st_size):
        raise PDCError(f"{path} is not a whole safetensors file: its header claims {announced} bytes.")
    try:
        with safe_open(str(path), framework="pt") as file:
            raw = (file.metadata() or {}).get("pdc")
    except (SafetensorError, OSError, ValueError) as error:
        raise PDCError(f"{path} is not a whole safetensors file ({str(error).splitlines()[0]}).") from error
    if raw is None:
        raise PDCError(
            f"{path} was not written by pdc.save; load it as a checkpoint with load_model(name, weights=PATH)."
        )
    try:
        content = json.loads(raw)
        _check_header(content, path)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        if isinstance(error, PDCError):
            raise
        raise PDCError(f"The header of {path} is damaged ({type(error).__name__}); save the network again.") from error
    return dict(content)


def _check_header(content: Any, path: Path) -> None:
    if content["format"] != FORMAT:
        raise PDCError(f"{path} has format {content['format']!r}; this version of PDC reads format {FORMAT}.")
    for f in content["folds"]:
        if not (isinstance(f["residual"], str) and all(isinstance(v, list) for v in f["labels"].values())):
            raise TypeError
        if not all(isinstance(size, int) and 0 < size < 100_000 for size in f["input"]):
            raise TypeError


def load(path: str | Path, build: Callable[[], nn.Module] | None = None) -> nn.Module:
    """Return the network that `save` wrote, in eval mode. No code from the file runs.

    Parameters
    ----------
    path : str or Path
        A file that `save` wrote.
    build : callable, optional
        Called without arguments; returns the network before folding. Needed for architectures that are neither in the
        zoo nor in torchvision, unless `register_custom` made them known.

    Returns
    -------
    nn.Module
        The network on the CPU, in the precision in which it was saved.

    Raises
    ------
    PDCError
        If the file is missing, damaged or from another version, or its weights are not finite or do not fit.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    content = header(path)
    card = _card(content)
    if build is None and card is None:
        raise PDCError(
            f"{path} holds a {content['class']}, a class that PDC does not have: give load(path, build=...) a "
            "function that makes it."
        )
    if build is not None:
        model = build().eval()
    else:
        assert card is not None
        if is_custom(card.model) and card.model not in MODELS:
            raise PDCError(
                f"{path} holds a network made by {card.model}, a function of your own, which no file can import: use "
                f"--build {card.model}, or in Python call register_custom({card.model!r}) first or give "
                "load(path, build=...) a function that makes it."
            )
        model = build_model(card.model, card.shape[0], len(card.classes), size=card.shape[1]).eval()
    try:
        tensors = load_file(str(path))
    except (SafetensorError, OSError) as error:
        raise PDCError(f"{path} is not a whole safetensors file ({str(error).splitlines()[0]}).") from error
    bad = [name for name, t in tensors.items() if t.is_floating_point() and not t.isfinite().all()]
    if bad:
        raise PDCError(f"{bad[0]} in {path} holds numbers that are not finite; the file is not used.")
    kinds = Counter(t.dtype for t in tensors.values() if t.is_floating_point())
    precision = kinds.most_common(1)[0][0] if kinds else torch.get_default_dtype()
    model = model.to(precision)  # also what the file does not hold, such as buffers that are not persistent
    for f in content["folds"]:
        graph = trace(
            model, torch.zeros(1, *f["input"], dtype=precision), residual=f["residual"], inside=f.get("inside", "")
        )
        labels = check_labels(graph, {name: np.asarray(a) for name, a in f["labels"].items()})
        model = fold_unchecked_(model, graph, labels)
    weights = OrderedDict((name, t.clone()) for name, t in tensors.items())  # aligned in memory, like torch's own
    weights._metadata = model.state_dict()._metadata  # type: ignore[attr-defined]  # versions, which MNASNet reads
    try:
        model.load_state_dict(weights, assign=True)  # in the precision in which they were saved
    except RuntimeError as error:
        raise PDCError(
            f"The weights in {path} do not fit the network in its header: {str(error).splitlines()[1].strip()}"
        ) from error
    if card is not None:
        model.card = card  # type: ignore[assignment]
    return model.eval()


def _card(content: dict[str, Any]) -> ModelInfo | None:
    raw = content["card"]
    if raw is None:
        return None
    try:
        c, h, w = map(int, raw["shape"])
        classes, mean, std = (
            tuple(map(str, raw["classes"])),
            tuple(map(float, raw["mean"])),
            tuple(map(float, raw["std"])),
        )
        return ModelInfo(
            str(raw["model"]), str(raw["data"]), (c, h, w), classes, mean, std, str(raw.get("new_head", ""))
        )
    except (KeyError, TypeError, ValueError) as error:
        raise PDCError(f"The header does not describe the network ({error}); save it again.") from error


def export_onnx(model: nn.Module, path: str | Path, shape: tuple[int, ...] | None = None) -> float:
    """Write a network as one ONNX file with a free batch size, checked by onnxruntime on batches of 1 and 3.

    Parameters
    ----------
    model : nn.Module
        A network in eval mode, folded or not. It may return a dict, list or tuple of floating-point tensors; they are
        named by their places, such as "boxes" or "0", and a single one "logits".
    path : str or Path
        The file; its folder has to exist.
    shape : tuple of int, optional
        (c, h, w) of one normalised input; networks from `load_model` and `fold` know theirs.

    Returns
    -------
    float
        The largest difference between the outputs of torch and onnxruntime, relative to the largest |output|, at most
        1e-4.

    Raises
    ------
    PDCError
        If the packages for ONNX are missing, the network cannot be exported, or the file computes something else.
    """
    try:
        import onnxruntime
        import onnxscript  # noqa: F401  torch's exporter needs it, and its own error is less clear
    except ImportError as error:
        raise PDCError(
            f"ONNX needs a package that is not installed ({error.name}); pip install -e '.[onnx]'."
        ) from error
    card = model_info(model)
    shape = shape or (card.shape if card else folds_of(model)[-1].input_shape if folds_of(model) else None)
    if shape is None:
        raise PDCError("The shape of this network's input is not known; give export_onnx(..., shape=(c, h, w)).")
    if model.training:
        raise PDCError("The network is in train mode; call model.eval() before exporting it.")
    inputs = [torch.linspace(-2, 2, n * math.prod(shape)).reshape(n, *shape) for n in (1, 3)]
    with replacing(path, durable=True) as temporary:
        try:
            batch = {0: torch.export.Dim("batch")}
            with torch.no_grad():
                names = [name or "logits" for name in tensors_in(model(inputs[1]))]
            torch.onnx.export(
                model, (inputs[1],), str(temporary), input_names=["x"], output_names=names,
                dynamic_shapes=(batch,), dynamo=True, external_data=False, verbose=False,
            )  # fmt: skip
            session = onnxruntime.InferenceSession(str(temporary), providers=["CPUExecutionProvider"])
            away = float(torch.tensor([_disagreement(model, session, x) for x in inputs]).max())
        except OSError:
            raise
        except Exception as error:  # the exporter and the runtime raise many kinds; all mean the same to a user
            cause = error.__cause__ or error  # the exporter's own words are advice on its parts, in colours
            first = (str(cause).strip().splitlines() or [""])[0][:200]
            raise PDCError(
                f"{type(model).__name__} cannot be written as ONNX ({type(cause).__name__}: {first})."
            ) from error
        if not away <= 1e-4:
            raise PDCError(
                f"The ONNX file computes something else (relative difference {away:.1e}) and was deleted; "
                "use the network as pdc.save writes it."
            )
    return away


@torch.no_grad()
def _disagreement(model: nn.Module, session: Any, x: torch.Tensor) -> float:
    """Return the largest difference between torch's and onnxruntime's outputs, relative to the largest of torch's."""
    found = session.run(None, {"x": x.numpy()})
    pairs = zip(tensors_in(model(x)).values(), map(torch.from_numpy, found), strict=True)
    away = [(one - other).abs().max() / one.abs().max().clamp(min=1e-12) for one, other in pairs]
    return float(torch.stack(away).max())  # not a number where any is
