"""The one way to torchvision, which also works where its compiled operators do not fit the installed torch.

Everything in PDC that needs torchvision (data sets, classifiers) calls `torchvision()`; nothing imports it directly.
"""

from __future__ import annotations

import importlib
import sys
import threading
from types import ModuleType

import torch

from pdc_core.errors import PDCError

# What torchvision's Python side gives shape functions to at import, whether its binary was loaded or not.
_OPERATORS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
_lock = threading.Lock()
_declared: list[torch.library.Library] = []  # a torch Library takes its operators with it when it is collected


def torchvision() -> ModuleType:
    """Return the module torchvision, repaired if need be.

    A CPU build of torch beside the registry's torchvision fails at import with «operator torchvision::nms does not
    exist». Only models, transforms and data sets are needed here, so in exactly that case the missing operators are
    declared (not implemented: calling them still raises) and the import is tried again. Otherwise nothing is changed.
    Safe to call from several threads.

    Returns
    -------
    module
        torchvision.

    Raises
    ------
    PDCError
        If torchvision is not installed.

    Examples
    --------
    >>> torchvision().models.resnet18.__name__
    'resnet18'
    """
    with _lock:
        try:
            return importlib.import_module("torchvision")
        except ModuleNotFoundError as error:
            if error.name != "torchvision":
                raise
            raise PDCError("torchvision is not installed; run: pip install torchvision") from error
        except RuntimeError as error:
            if "operator torchvision::" not in str(error):
                raise
        _forget_half_import()
        _declare_operators()
        return importlib.import_module("torchvision")


def _forget_half_import() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]


def _declare_operators() -> None:
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name, schema in _OPERATORS.items():
        if not hasattr(torch.ops.torchvision, name):
            library.define(schema)
    _declared.append(library)
