"""What PDC is compared with: deletion by L1 norm, FPGM or chance, data-free folding, training from scratch.

`methods` makes the small networks; trained under the same loop and losses they are rows of benchmarks/quality.py.
"""

from pdc_core.baselines.deletion import delete
from pdc_core.baselines.methods import METHODS, PruningInput
from pdc_core.baselines.selection import SCORES, select_filters
from pdc_core.baselines.training import train_baseline, train_small
from pdc_core.norms import reestimate_norms_

__all__ = [
    "METHODS",
    "SCORES",
    "PruningInput",
    "delete",
    "reestimate_norms_",
    "select_filters",
    "train_baseline",
    "train_small",
]
