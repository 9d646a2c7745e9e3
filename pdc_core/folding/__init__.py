"""Folding: remove tied filters exactly by channel addition, and check that nothing else changed.

`fold` keeps one filter per cluster and adds up every reader's kernels over it, V' = V M. Same function, fewer MACs.
"""

from pdc_core.folding.addition import Folding, fold, fold_unchecked_
from pdc_core.folding.check import Check, check_equal

__all__ = ["Check", "Folding", "check_equal", "fold", "fold_unchecked_"]
