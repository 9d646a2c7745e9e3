"""What PDC is compared with: deletion by L1, FPGM or at random, data-free folding, from scratch, training unpruned.

`methods` makes the small networks; `training` trains them with the same loop and losses as PDC's student.
"""

from pdc_core.baselines.deletion import delete
from pdc_core.baselines.methods import METHOD_HELP, METHODS, WHOLE, PruningInput
from pdc_core.baselines.selection import SCORES, select_filters
from pdc_core.baselines.training import train_baseline, train_small
from pdc_core.norms import reestimate_norms_

__all__ = [
    "METHODS",
    "METHOD_HELP",
    "SCORES",
    "WHOLE",
    "PruningInput",
    "delete",
    "reestimate_norms_",
    "select_filters",
    "train_baseline",
    "train_small",
]
