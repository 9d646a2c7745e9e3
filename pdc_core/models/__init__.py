"""Networks: the zoo's CIFAR-style ResNets, torchvision's classifiers by name, and checkpoints read safely.

Stands between `data`, which says how many channels and classes a network needs, and `graph`, which traces it.
"""

from __future__ import annotations

from pdc_core.models.checkpoint import Checkpoint, Fit, compare_state, inspect_checkpoint, read_checkpoint
from pdc_core.models.custom import register_own
from pdc_core.models.load import Card, card_of, load_model, published_weights, shipped_data
from pdc_core.models.zoo import MODELS, build_model, torchvision_names

__all__ = [
    "MODELS",
    "Card",
    "Checkpoint",
    "Fit",
    "build_model",
    "card_of",
    "compare_state",
    "inspect_checkpoint",
    "load_model",
    "published_weights",
    "read_checkpoint",
    "register_own",
    "shipped_data",
    "torchvision_names",
]
