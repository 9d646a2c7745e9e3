"""Reconstruction: pull every filter towards its cluster's centroid, t <- (1-s) t + s P t, until they are identical.

`projection` holds P, `schedules` how the strength s rises over a run, `gradients` how fast tied filters learn, and
`representatives` starts a run at filters that stand for their clusters, with the readers refitted to them.
"""

from pdc_core.reconstruct.gradients import SummedGradients, summed_gradients
from pdc_core.reconstruct.projection import (
    GroupProjection,
    centroids,
    deviation,
    deviation_of_bound,
    medoids,
    reconstruct_,
    tie,
)
from pdc_core.reconstruct.representatives import copy_filters_, least_squares_readers, merge_filters_
from pdc_core.reconstruct.schedules import progressive, tied

__all__ = [
    "GroupProjection",
    "SummedGradients",
    "centroids",
    "copy_filters_",
    "deviation",
    "deviation_of_bound",
    "least_squares_readers",
    "medoids",
    "merge_filters_",
    "progressive",
    "reconstruct_",
    "summed_gradients",
    "tie",
    "tied",
]
