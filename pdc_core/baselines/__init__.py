"""What PDC is compared with: deletion by L1 norm, FPGM or chance, data-free folding, training from scratch.

`methods` makes the small networks; trained under the same loop and losses they are rows of benchmarks/quality.py.
"""

from pdc_core.baselines.deletion import delete
from pdc_core.baselines.methods import METHODS, Case
from pdc_core.baselines.selection import SCORES, kept
from pdc_core.baselines.training import train_baseline, train_small
from pdc_core.norms import reestimate_norms_

__all__ = ["METHODS", "SCORES", "Case", "delete", "kept", "reestimate_norms_", "train_baseline", "train_small"]
