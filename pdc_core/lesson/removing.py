"""Ways to remove a filter and their errors: delete, zero and merge; channel addition, with tied filters and without."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from pdc_core.errors import PDCError
from pdc_core.folding import fold
from pdc_core.lesson.network import LABELS, SmallNetwork, change, look, numbers, pull, traced

TIED = ("W", "gamma", "beta", "mu", "var")

_NAMES = {"gamma": "norm.weight", "beta": "norm.bias", "mu": "norm.running_mean", "var": "norm.running_var"}


def removal_errors(model: SmallNetwork, image: Tensor) -> dict[str, float]:
    """Return how much three ways to remove filter 1 change the output.

    delete: the filter, its norm and the reader's kernel for it are removed. zero: its weights become 0; its norm still
    adds a constant. merge: filters 0 and 1 become their centroid, and `pdc_core.folding` adds the reader's kernels up.

    Parameters
    ----------
    model : SmallNetwork
        The network; it is not changed.
    image : Tensor, shape (1, 1, h, w)
        One grey image.

    Returns
    -------
    dict of str to float
        The largest change of the output, 0 or more, for "delete", "zero" and "merge".
    """
    deleted = _keep(model, [0, 2])
    zeroed = copy.deepcopy(model)
    zeroed.filters.weight[1] = 0.0
    merged = _folded(pull(model, 1.0))
    ways = {"delete": deleted, "zero": zeroed, "merge": merged}
    return {name: change(model, other, image) for name, other in ways.items()}


@dataclass(frozen=True)
class Addition:
    """Channel addition at one pixel: v0 a0 + v1 a1 + v2 a2 = (v0 + v1) a0 + v2 a2 when a0 = a1.

    Attributes
    ----------
    a, v : tuple of float
        The three channels at the pixel, and the reader's kernels for them.
    merged_a, merged_v : tuple of float
        The same after folding: two channels and two kernels.
    """

    a: tuple[float, ...]
    v: tuple[float, ...]
    merged_a: tuple[float, ...]
    merged_v: tuple[float, ...]

    @property
    def before(self) -> float:
        """The reader's output from three channels."""
        return sum(a * v for a, v in zip(self.a, self.v, strict=True))

    @property
    def after(self) -> float:
        """The reader's output from two."""
        return sum(a * v for a, v in zip(self.merged_a, self.merged_v, strict=True))


def addition(model: SmallNetwork, image: Tensor, row: int, column: int) -> Addition:
    """Return the numbers of channel addition at one pixel of a network whose filters 0 and 1 are tied.

    Parameters
    ----------
    model : SmallNetwork
        A network with tied filters, see `pull` with strength 1.
    image : Tensor, shape (1, 1, h, w)
        One grey image.
    row, column : int
        The pixel, from 0.

    Returns
    -------
    Addition
        Channels and kernels before and after folding.

    Raises
    ------
    PDCError
        If the filters are not tied, or the pixel is outside the image.
    """
    h, w = image.shape[2:]
    if not (0 <= row < h and 0 <= column < w):
        raise PDCError(f"Pixel ({row}, {column}) is outside the image; rows are 0 to {h - 1}, columns 0 to {w - 1}.")
    small = _folded(model)
    wide, narrow = look(model, image).channels[:, row, column], look(small, image).channels[:, row, column]
    v, merged = model.reader.weight.flatten().tolist(), small.reader.weight.flatten().tolist()
    return Addition(tuple(wide.tolist()), tuple(v), tuple(narrow.tolist()), tuple(merged))


def untied_errors(model: SmallNetwork, image: Tensor) -> dict[str, float]:
    """Return the error of channel addition when everything is tied except one tensor.

    `fold` refuses such networks; here the channels are added all the same, to show what would happen.

    Parameters
    ----------
    model : SmallNetwork
        A network with untied filters; it is not changed.
    image : Tensor, shape (1, 1, h, w)
        One grey image.

    Returns
    -------
    dict of str to float
        The largest change of the output, by the name in `TIED` of the tensor that is not tied; "nothing": all are tied.
    """
    tied = pull(model, 1.0)
    errors = {"nothing": change(tied, _add_channels(tied), image)}
    for name in TIED:
        left = copy.deepcopy(tied)
        key = _NAMES.get(name, "filters.weight")
        left.state_dict()[key].copy_(model.state_dict()[key])
        errors[name] = change(left, _add_channels(left), image)
    return errors


def reader_kernels() -> Tensor:
    """Return V of a layer with two outputs that reads three channels by 3x3 kernels, written by hand, (2, 3, 3, 3).

    Examples
    --------
    >>> v = reader_kernels()
    >>> v[0, 0, 0, 0].item(), v[0, 1, 0, 0].item(), added_kernels(v)[0, 0, 0, 0].item()
    (0.25, 0.5, 0.75)
    """
    first = [[0.25, 0.5, 0.25], [0.0, 0.5, 0.0], [-0.25, -0.5, -0.25]]
    like = [[0.5, 0.75, 0.25], [0.0, 0.25, 0.25], [-0.5, -0.5, 0.0]]
    other = [[-0.5, 0.0, 0.5], [-0.75, 0.0, 0.75], [-0.5, 0.0, 0.5]]
    rows = [numbers(kernel) for kernel in (first, like, other)]
    return torch.stack([torch.stack(rows), torch.stack([rows[2], rows[1].T, rows[0].flip(0)])])


def added_kernels(v: Tensor) -> Tensor:
    """Return V' = V M for `LABELS`: the kernels for channels 0 and 1 are added up.

    Parameters
    ----------
    v : Tensor, shape (out, 3, kh, kw)
        V, the weights of a reader.

    Returns
    -------
    Tensor, shape (out, 2, kh, kw)
        V'.
    """
    return torch.stack([v[:, 0] + v[:, 1], v[:, 2]], dim=1)


def _add_channels(model: SmallNetwork) -> SmallNetwork:
    """Fold by hand, without `fold`'s check that the filters are tied."""
    kept = _keep(model, [0, 2])
    kept.reader.weight = nn.Parameter(added_kernels(model.reader.weight), requires_grad=False)
    return kept


def _folded(model: SmallNetwork) -> SmallNetwork:
    return cast(SmallNetwork, fold(model, traced(model), {"filters": LABELS}))


def _keep(model: SmallNetwork, channels: list[int]) -> SmallNetwork:
    """Return the network with only some of its filters, norms and reader kernels."""
    small = copy.deepcopy(model)
    for name, t in model.state_dict().items():
        module, _, tensor = name.rpartition(".")
        if tensor == "num_batches_tracked":
            continue
        part = t[:, channels] if module == "reader" else t[channels]
        own = small.get_submodule(module)
        setattr(own, tensor, nn.Parameter(part, requires_grad=False) if tensor in ("weight", "bias") else part)
    return small
