"""What an export measured, as it stands in measured.json."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from pdc_core.deployment.runtime import Timing

NetworkName = Literal["before", "folded", "taught"]
Engine = Literal["PyTorch", "ONNX Runtime"]
Precision = Literal["float32", "int8"]


class Variant(BaseModel):
    """One network in one form.

    Attributes
    ----------
    network : {"before", "folded", "taught"}
        Which network of the run.
    engine : {"PyTorch", "ONNX Runtime"}
        What computes it.
    precision : {"float32", "int8"}
        Of weights and activations.
    file : str
        Name of its file in the folder.
    size : int
        Bytes of the file.
    test_accuracy : float
        Top-1 accuracy on the test split, 0 to 1.
    agreement : float
        Share of test images that get the class which PyTorch gives them, 0 to 1.
    latency : dict of int to Timing
        By batch size.
    """

    model_config = ConfigDict(frozen=True)

    network: NetworkName
    engine: Engine
    precision: Precision
    file: str
    size: int
    test_accuracy: float
    agreement: float
    latency: dict[int, Timing]


class Exported(BaseModel):
    """Everything that an export wrote and measured.

    Attributes
    ----------
    run : str
        Name of the run.
    created : str
        Date and time in ISO 8601.
    versions : dict of str to str
        Of PDC, torch and onnxruntime.
    machine : str
        The processor that was measured on.
    threads : int
        Threads of one call.
    calibration_images : int
        Training images that INT8 was calibrated with.
    test_images : int
        Images of the test split.
    variants : tuple of Variant
        Three for each network: PyTorch, ONNX float32, ONNX INT8.
    """

    model_config = ConfigDict(frozen=True)

    run: str
    created: str
    versions: dict[str, str]
    machine: str
    threads: int
    calibration_images: int
    test_images: int
    variants: tuple[Variant, ...]
