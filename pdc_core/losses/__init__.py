"""The losses of the one stage: cross entropy with the labels, and the teacher's guidance in several forms.

`formulas` holds the losses, `features` finds the blocks whose outputs can be compared and records them.
"""

from pdc_core.losses.features import Recording, comparable_blocks, matched_blocks
from pdc_core.losses.formulas import (
    DEFAULT_WEIGHTS,
    FEATURES,
    LOGITS,
    attention_transfer,
    dkd_loss,
    feature_loss,
    kd_loss,
    one_stage_loss,
)

__all__ = [
    "DEFAULT_WEIGHTS",
    "FEATURES",
    "LOGITS",
    "Recording",
    "attention_transfer",
    "comparable_blocks",
    "dkd_loss",
    "feature_loss",
    "kd_loss",
    "matched_blocks",
    "one_stage_loss",
]
