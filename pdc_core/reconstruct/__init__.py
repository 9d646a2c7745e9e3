"""Reconstruction: pull every filter towards its cluster's centroid, t <- (1-s) t + s P t, until they are identical.

`projection` ties filters once, `gradients` says how fast tied filters learn, `representatives` merges them into one
that stands for its cluster, with the readers solved for it. `tying`, `merging` and `reclustering` do all this in the
course of a training, by the schedules that `schedules` lists; `optimizers` is what an optimiser keeps per weight.
"""

from pdc_core.reconstruct.gradients import SummedGradients, summed_gradients
from pdc_core.reconstruct.merging import StepwiseTying, merge_
from pdc_core.reconstruct.optimizers import optimizer_slots
from pdc_core.reconstruct.projection import (
    GroupProjection,
    centroids,
    deviation,
    deviation_of_bound,
    medoids,
    reconstruct_,
    tie,
)
from pdc_core.reconstruct.reclustering import ReclusteredTying
from pdc_core.reconstruct.representatives import (
    average_filters_,
    copy_filters_,
    least_squares_readers,
    merge_filters_,
    merge_group_,
)
from pdc_core.reconstruct.schedules import SCHEDULES, progressive, tied
from pdc_core.reconstruct.tying import TiedTying, Tying, TyingInput, TyingSettings, evaluating

__all__ = [
    "SCHEDULES",
    "GroupProjection",
    "ReclusteredTying",
    "StepwiseTying",
    "SummedGradients",
    "TiedTying",
    "Tying",
    "TyingInput",
    "TyingSettings",
    "average_filters_",
    "centroids",
    "copy_filters_",
    "deviation",
    "deviation_of_bound",
    "evaluating",
    "least_squares_readers",
    "medoids",
    "merge_",
    "merge_filters_",
    "merge_group_",
    "optimizer_slots",
    "progressive",
    "reconstruct_",
    "summed_gradients",
    "tie",
    "tied",
]
