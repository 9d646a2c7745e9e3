"""What ships: float and INT8 files of a run's networks, measured, with a model card."""

from pdc_core.deployment.exporting import export_run, read_exported
from pdc_core.deployment.quantization import quantize_onnx
from pdc_core.deployment.results import Exported, Variant
from pdc_core.deployment.runtime import OnnxNetwork, Timing, time_batches

__all__ = [
    "Exported",
    "OnnxNetwork",
    "Timing",
    "Variant",
    "export_run",
    "quantize_onnx",
    "read_exported",
    "time_batches",
]
