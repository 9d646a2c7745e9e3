"""Images and labels for training and measuring: named sets, npz files, image folders, splits, augmentation.

The first package of the data flow; it knows nothing about networks.
"""

from __future__ import annotations

from pdc_core.data.custom import (
    BUILD_DATA,
    custom_data_names,
    environment_data_targets,
    is_custom_data,
    register_all_data,
    register_data,
)
from pdc_core.data.images import Data, DataInfo, Split
from pdc_core.data.load import describe_data, is_local, load_data
from pdc_core.data.named import DATASETS
from pdc_core.data.sampling import subset

__all__ = [
    "BUILD_DATA",
    "DATASETS",
    "Data",
    "DataInfo",
    "Split",
    "custom_data_names",
    "describe_data",
    "environment_data_targets",
    "is_custom_data",
    "is_local",
    "load_data",
    "register_all_data",
    "register_data",
    "subset",
]
