"""The smallest networks on which everything that PDC does can be followed by hand: three filters, two of them similar.

Not part of the data flow: the real `trace`, `reconstruct_` and `fold` work on these networks. Every error is the
largest change of the output on one image.
"""

from pdc_core.lesson.network import (
    LABELS,
    Seen,
    SmallNetwork,
    change,
    distance,
    look,
    nearest,
    norm_at_inference,
    pull,
    small_network,
)
from pdc_core.lesson.removing import (
    TIED,
    Addition,
    added_kernels,
    addition,
    reader_kernels,
    removal_errors,
    untied_errors,
)
from pdc_core.lesson.sums import SmallSum, Treatment, small_sum, treatments

__all__ = [
    "LABELS",
    "TIED",
    "Addition",
    "Seen",
    "SmallNetwork",
    "SmallSum",
    "Treatment",
    "added_kernels",
    "addition",
    "change",
    "distance",
    "look",
    "nearest",
    "norm_at_inference",
    "pull",
    "reader_kernels",
    "removal_errors",
    "small_network",
    "small_sum",
    "treatments",
    "untied_errors",
]
