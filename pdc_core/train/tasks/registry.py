"""The registry of schedules: by which rule filters become identical during a run.

The file that holds a task enters it here, under each name that settings may give, so that a new schedule is one file.
"""

from __future__ import annotations

import importlib
import pkgutil

from pdc_core.registry import Variant
from pdc_core.train import tasks
from pdc_core.train.tasks.base import TrainingTask

SCHEDULES: dict[str, Variant[..., TrainingTask]] = {}  # called with a `PDCInput`


def import_tasks() -> None:
    """Import every module of `pdc_core.train.tasks`, so that each enters its schedules."""
    for module in pkgutil.iter_modules(tasks.__path__):
        importlib.import_module(f"{tasks.__name__}.{module.name}")
