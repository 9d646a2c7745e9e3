"""A finished run as files to ship: every network as float and INT8, measured on the same images and machine."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from pdc_core.data import load_data
from pdc_core.deployment.model_card import model_card
from pdc_core.deployment.quantization import quantize_onnx
from pdc_core.deployment.results import Engine, Exported, NetworkName, Precision, Variant
from pdc_core.deployment.runtime import OnnxNetwork, need_onnxruntime, time_batches
from pdc_core.errors import PDCError
from pdc_core.export import export_onnx, load, save
from pdc_core.files import write_whole
from pdc_core.models import load_model
from pdc_core.runs import Run
from pdc_core.runs.teachers import RESULT
from pdc_core.train import evaluate

CALIBRATION = 256  # training images
TABLE, CARD = "measured.json", "README.md"
# Every network in these forms, each made from the one before: engine, precision, end of the file's name.
FORMS: tuple[tuple[Engine, Precision, str], ...] = (
    ("PyTorch", "float32", ".safetensors"),
    ("ONNX Runtime", "float32", ".onnx"),
    ("ONNX Runtime", "int8", "-int8.onnx"),
)
Show = Callable[[int, int, str], None]


def export_run(
    run: Run,
    folder: str | Path,
    *,
    threads: int = 1,
    batch_sizes: Sequence[int] = (1, 16, 64),
    n_images: int = CALIBRATION,
    seconds: float = 1.0,
    progress: Show | None = None,
) -> Exported:
    """Write the networks of a finished run as safetensors, ONNX and INT8 ONNX files, measure them, add a model card.

    Parameters
    ----------
    run : Run
        A finished run, from `read_run`. Of a distillation the network before and the folded one are written, of a
        teaching run the taught one.
    folder : str or Path
        Where the files go; it is made. Files of an earlier export are replaced one by one, whole or not at all.
    threads : int, default 1
        Threads of PyTorch and onnxruntime while latency is measured, 1 or more. The number of this process's threads
        is changed meanwhile.
    batch_sizes : sequence of int, default (1, 16, 64)
        Sizes of the batches that are timed, each 1 or more.
    n_images : int, default 256
        Training images that INT8 is calibrated with, 1 or more: the first of the training split.
    seconds : float, default 1.0
        How long each network is timed at each batch size.
    progress : callable, optional
        Called with (variants done, variants in all, what is done next).

    Returns
    -------
    Exported
        What `measured.json` in the folder holds.

    Raises
    ------
    PDCError
        The run is not finished, its data or first weights are not here, a package for ONNX is missing, a network cannot
        be exported, or the disk is full.
    """
    if min(threads, n_images, *batch_sizes) < 1:
        raise PDCError(
            f"threads ({threads}), batch sizes ({', '.join(map(str, batch_sizes))}) and calibration images "
            f"({n_images}) have to be 1 or more."
        )
    if run.results is None:
        raise PDCError(f"The run {run.id} has no network to export yet; it is {run.state}.")
    need_onnxruntime()
    data, networks, folder = load_data(run.spec.data), _networks(run), Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PDCError(f"The folder {folder} cannot be made ({error.strerror}); give another one.") from error
    found: list[Variant] = []
    with _torch_threads(threads):
        for name, network in networks.items():
            full: Tensor | None = None  # the classes that PyTorch gives the test images
            for form, (engine, precision, suffix) in enumerate(FORMS):
                file = folder / f"{name}{suffix}"
                if progress is not None:
                    progress(len(found), len(FORMS) * len(networks), f"{file.name}: writing and measuring")
                runnable = _write(network, file, form, data.prepare(data.train.sample(n_images).images), threads)
                at = evaluate(runnable, data, data.test, teacher=full)
                full = at.predictions if full is None else full
                found.append(
                    Variant(
                        network=name,
                        engine=engine,
                        precision=precision,
                        file=file.name,
                        size=file.stat().st_size,
                        test_accuracy=at.accuracy,
                        agreement=1.0 if at.agreement is None else at.agreement,
                        latency=time_batches(runnable, data.example, batch_sizes, seconds),
                    )
                )
    result = Exported(
        run=run.id,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        versions={name: version(name) for name in ("pdc-core", "torch", "onnxruntime")},
        machine=_machine(),
        threads=threads,
        calibration_images=min(n_images, len(data.train)),
        test_images=len(data.test),
        variants=tuple(found),
    )
    write_whole(folder / CARD, model_card(run, result, data))
    write_whole(folder / TABLE, result.model_dump_json(indent=2))
    return result


def read_exported(folder: str | Path) -> Exported | None:
    """Return what an export measured, or None where there is none or its table is damaged.

    Parameters
    ----------
    folder : str or Path
        The folder that `export_run` wrote.
    """
    try:
        return Exported.model_validate_json((Path(folder) / TABLE).read_bytes())
    except (OSError, ValidationError):
        return None


def _networks(run: Run) -> dict[NetworkName, nn.Module]:
    """Return the networks of a finished run that are worth shipping, or comparing with."""
    result = load(run.folder / RESULT)
    if run.spec.kind == "teach":
        return {"taught": result}
    spec = run.spec
    return {"before": load_model(spec.model, data=spec.data, weights=spec.weights, seed=spec.seed), "folded": result}


def _write(network: nn.Module, file: Path, form: int, images: Tensor, threads: int) -> nn.Module:
    """Write a network in one of FORMS and return what runs from that file."""
    if form == 0:
        save(network, file)
        return network
    if form == 1:
        export_onnx(network, file)
    else:
        quantize_onnx(file.with_name(file.name.replace(FORMS[2][2], FORMS[1][2])), file, images)
    return OnnxNetwork(file, threads)


@contextmanager
def _torch_threads(threads: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _machine() -> str:
    """Return the name of the processor where the system tells it, and the kind of machine otherwise."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
