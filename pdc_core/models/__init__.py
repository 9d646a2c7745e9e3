"""Networks: the zoo's CIFAR-style networks, torchvision's classifiers by name, and checkpoints read safely.

Stands between `data`, which gives the channels and classes of a network, and `graph`, which traces it.
"""

from __future__ import annotations

from pdc_core.models.checkpoint import Checkpoint, StateDictMatch, compare_state, inspect_checkpoint, read_checkpoint
from pdc_core.models.custom import (
    build_environment,
    custom_names,
    environment_targets,
    is_custom,
    register_all,
    register_custom,
)
from pdc_core.models.load import (
    ModelInfo,
    load_model,
    model_info,
    shipped_data,
    torchvision_weights,
    weights_source,
)
from pdc_core.models.published import published_weights
from pdc_core.models.zoo import MODELS, build_model, torchvision_names

__all__ = [
    "MODELS",
    "Checkpoint",
    "ModelInfo",
    "StateDictMatch",
    "build_environment",
    "build_model",
    "compare_state",
    "custom_names",
    "environment_targets",
    "inspect_checkpoint",
    "is_custom",
    "load_model",
    "model_info",
    "published_weights",
    "read_checkpoint",
    "register_all",
    "register_custom",
    "shipped_data",
    "torchvision_names",
    "torchvision_weights",
    "weights_source",
]
