"""Images and labels for training and measuring: named sets, npz files, image folders, splits, augmentation.

The first package of the data flow; it knows nothing about networks.
"""

from __future__ import annotations

from pdc_core.data.images import Data, DataInfo, Split
from pdc_core.data.load import describe_data, load_data
from pdc_core.data.named import DATASETS

__all__ = ["DATASETS", "Data", "DataInfo", "Split", "describe_data", "load_data"]
