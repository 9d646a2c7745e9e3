"""Reconstruction: pull every filter towards its cluster's centroid, t <- (1-s) t + s P t, until they are identical.

`tie` is the projection, `schedules` say how the strength s rises over a run, `gradients` how fast tied filters learn,
`representatives` start a run at filters that stand for their clusters, with the readers solved for them.
"""

from pdc_core.reconstruct.gradients import SummedGradients, summed_gradients
from pdc_core.reconstruct.projection import Tie, centroids, deviation, medoids, reconstruct_, spread, tie
from pdc_core.reconstruct.representatives import reader_solution, represent_, take_over_
from pdc_core.reconstruct.schedules import SCHEDULES, progressive, tied

__all__ = [
    "SCHEDULES",
    "SummedGradients",
    "Tie",
    "centroids",
    "deviation",
    "medoids",
    "progressive",
    "reader_solution",
    "reconstruct_",
    "represent_",
    "spread",
    "summed_gradients",
    "take_over_",
    "tie",
    "tied",
]
