"""Networks: the zoo's CIFAR-style ResNets, torchvision's classifiers by name, and checkpoints read safely.

Stands between `data`, which says how many channels and classes a network needs, and `graph`, which traces it.
"""

from __future__ import annotations

from .checkpoint import read_checkpoint
from .load import Card, card_of, load_model
from .zoo import MODELS, build_model

__all__ = ["MODELS", "Card", "build_model", "card_of", "load_model", "read_checkpoint"]
