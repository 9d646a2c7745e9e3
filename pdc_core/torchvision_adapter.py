"""The one way to torchvision, which also works where its compiled operators do not fit the installed torch.

Everything in PDC that needs torchvision (data sets, classifiers) calls `torchvision()`; nothing imports it directly.
"""

from __future__ import annotations

import importlib
import sys
import threading
from types import ModuleType

import torch
from torch import Tensor

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
    exist». In exactly that case the missing operators are declared and the import is tried again; `nms`, which
    detectors need, is written in torch, and calling the other (`qnms`) still raises. Otherwise nothing is changed. Safe
    to call from several threads.

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
        repaired = importlib.import_module("torchvision")
        boxes = importlib.import_module("torchvision.ops.boxes")
        vars(boxes)["_assert_has_ops"] = lambda: None  # asks for the binary before nms; elsewhere it goes on asking
        return repaired


def _forget_half_import() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]


def nms(dets: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Return the boxes that stay when each one removes those of lower score that overlap it: non-maximum suppression.

    Parameters
    ----------
    dets : Tensor, shape (n, 4)
        Boxes as x1, y1, x2, y2.
    scores : Tensor, shape (n,)
        Their scores.
    iou_threshold : float, 0 to 1
        Boxes that overlap by more, as intersection over union, are removed.

    Returns
    -------
    Tensor of int64, shape (k,)
        Which boxes stay, by falling score.

    Examples
    --------
    >>> boxes = torch.tensor([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 2.0, 1.9], [5.0, 5.0, 6.0, 6.0]])
    >>> nms(boxes, torch.tensor([0.8, 0.9, 0.1]), 0.5).tolist()
    [1, 2]
    """
    order = scores.argsort(descending=True, stable=True)
    boxes = dets[order].double()
    area = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
    corner = torch.minimum(boxes[:, None, 2:], boxes[None, :, 2:]) - torch.maximum(
        boxes[:, None, :2], boxes[None, :, :2]
    )
    shared = corner.clamp(min=0).prod(dim=2)
    overlaps = (shared > iou_threshold * (area[:, None] + area - shared)).cpu()
    stays = torch.ones(len(boxes), dtype=torch.bool)
    for i in range(len(boxes)):
        if stays[i]:
            stays[i + 1 :] &= ~overlaps[i, i + 1 :]
    return order[stays.to(order.device)]


def _declare_operators() -> None:
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name, schema in _OPERATORS.items():
        if not hasattr(torch.ops.torchvision, name):
            library.define(schema)
            if name == "nms":
                library.impl(name, nms, "CompositeExplicitAutograd")
    _declared.append(library)
