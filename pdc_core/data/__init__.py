"""Images and labels to train and measure with: named sets, npz files, splits, augmentation.

The first module of the flow; nothing here knows a network.
"""

from __future__ import annotations

from pdc_core.data.images import Data, DataInfo, Split
from pdc_core.data.load import describe_data, load_data
from pdc_core.data.named import DATASETS

__all__ = ["DATASETS", "Data", "DataInfo", "Split", "describe_data", "load_data"]
