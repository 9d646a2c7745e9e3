"""INT8 weights and activations for an ONNX file, by onnxruntime's static quantization."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor

from pdc_core.deployment.runtime import need_onnxruntime
from pdc_core.errors import PDCError
from pdc_core.files import replacing

CHUNK = 32  # images that are calibrated with at a time


def quantize_onnx(source: str | Path, path: str | Path, images: Tensor) -> None:
    """Write a copy of an ONNX file that computes with 8-bit integers.

    Weights become signed integers with one scale per filter; activations become unsigned integers with one scale and
    zero point per tensor, set by the smallest and the largest value that the calibration images produce. The file
    holds both as pairs of quantize and dequantize operations, which onnxruntime replaces by integer kernels. Our
    choice among onnxruntime's settings (https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html).

    Parameters
    ----------
    source : str or Path
        A file that `export_onnx` wrote, with one input.
    path : str or Path
        The file to write, whole or not at all; its folder has to exist.
    images : Tensor of float32, shape (n, c, h, w)
        Normalised training images to calibrate with, at least one. A few hundred are enough.

    Raises
    ------
    PDCError
        onnxruntime or onnx is missing, there are no images, they do not fit the network or are not finite, or the
        file cannot be quantized.
    """
    need_onnxruntime()
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    if not len(images) or not bool(images.isfinite().all()):
        raise PDCError(f"Calibration needs at least one image without NaN or infinity; given: {len(images)} images.")

    class Reader(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self._chunks: Iterator[Tensor] = iter(images.split(CHUNK))

        def get_next(self) -> dict[str, Any] | None:
            chunk = next(self._chunks, None)
            return None if chunk is None else {"x": chunk.numpy()}

    with tempfile.TemporaryDirectory() as folder, replacing(path, durable=True) as temporary:
        prepared = Path(folder) / "prepared.onnx"
        try:
            quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
            quantization.quantize_static(
                str(prepared),
                str(temporary),
                Reader(),
                quant_format=quantization.QuantFormat.QDQ,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
                per_channel=True,
            )
        except OSError:
            raise
        except Exception as error:  # onnx and onnxruntime raise many kinds; all mean the same to a user
            first = (str(error).strip().splitlines() or [""])[0][:200]
            raise PDCError(f"{source} cannot be quantized ({type(error).__name__}: {first}).") from error
