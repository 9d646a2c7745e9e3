"""The smallest networks on which everything that PDC does can be followed by hand: three filters, two of them similar.

Not part of the data flow: the real `trace`, `reconstruct_` and `fold` work on these networks. Every error is the
largest change of the output on one image.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pdc_core.costs import cost
from pdc_core.errors import PDCError
from pdc_core.folding import fold
from pdc_core.graph import ChannelGraph, trace
from pdc_core.reconstruct import reconstruct_

LABELS = np.array([0, 0, 1])  # filters 0 and 1 are one cluster, filter 2 is alone
TIED = ("W", "gamma", "beta", "mu", "var")
_NAMES = {"gamma": "norm.weight", "beta": "norm.bias", "mu": "norm.running_mean", "var": "norm.running_var"}


class SmallNetwork(nn.Module):
    """y = reader(relu(norm(filters(x)))): three filters of 3x3, and one layer that reads them."""

    def __init__(self) -> None:
        super().__init__()
        self.filters = nn.Conv2d(1, 3, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(3)
        self.reader = nn.Conv2d(3, 1, 1, bias=False)

    def channels(self, x: Tensor) -> Tensor:
        """Return the outputs of the filters after norm and ReLU.

        Parameters
        ----------
        x : Tensor, shape (b, 1, h, w)
            Grey images.

        Returns
        -------
        Tensor, shape (b, 3, h, w)
            One channel per filter.
        """
        return torch.relu(self.norm(self.filters(x)))

    def forward(self, x: Tensor) -> Tensor:
        """Return (b, 1, h, w)."""
        return cast(Tensor, self.reader(self.channels(x)))


def small_network(gap: float = 0.3) -> SmallNetwork:
    """Return `SmallNetwork` with weights written by hand, float64, in eval mode.

    Filters 0 and 1 respond to light on the right of dark, filter 2 to light below dark. Filter 1 is filter 0 with `gap`
    added to three of its weights, and its norm differs a little too.

    Parameters
    ----------
    gap : float, default 0.3
        Difference of three weights between filters 0 and 1.

    Returns
    -------
    SmallNetwork
        Without gradients.

    Examples
    --------
    >>> small_network().filters.weight.shape, small_network().reader.weight.flatten().tolist()
    (torch.Size([3, 1, 3, 3]), [0.8, 0.5, -0.6])
    """
    right = _numbers([[-1.0, 0.0, 1.0]] * 3)
    other = right.clone()
    other[0] += gap
    model = SmallNetwork().double().eval()
    values = {
        "filters.weight": torch.stack([right, other, right.T])[:, None],
        "norm.weight": _numbers([1.0, 1.1, 1.0]),
        "norm.bias": _numbers([0.3, 0.4, 0.1]),
        "norm.running_mean": _numbers([0.0, 0.1, 0.0]),
        "norm.running_var": _numbers([1.0, 1.2, 1.0]),
        "reader.weight": _numbers([0.8, 0.5, -0.6])[None, :, None, None],
    }
    model.load_state_dict({**model.state_dict(), **values})
    return model.requires_grad_(False)


@dataclass(frozen=True)
class Seen:
    """What each layer of `small_network` computes for one image.

    Attributes
    ----------
    kernels : array of float, shape (3, 3, 3)
        The filters.
    channels : array of float, shape (3, h, w)
        The output of each filter after norm and ReLU.
    output : array of float, shape (h, w)
        The output of the reader.
    """

    kernels: NDArray[np.float64]
    channels: NDArray[np.float64]
    output: NDArray[np.float64]


def look(model: SmallNetwork, image: Tensor) -> Seen:
    """Run one image through a network made by `small_network`, folded or not, and keep the output of each layer.

    Parameters
    ----------
    model : SmallNetwork
        The network.
    image : Tensor, shape (1, 1, h, w)
        One grey image.

    Returns
    -------
    Seen
        Filters, channels and output.

    Raises
    ------
    PDCError
        If the image has another shape.
    """
    x = _checked(image)
    kernels = model.filters.weight.detach().numpy()[:, 0]
    return Seen(kernels, model.channels(x)[0].numpy(), model(x)[0, 0].numpy())


def pull(model: SmallNetwork, strength: float) -> SmallNetwork:
    """Return a copy with filters 0 and 1 pulled together: t <- (1-s) t + s P t for W, gamma, beta, mu and var.

    Parameters
    ----------
    model : SmallNetwork
        The network; it is not changed.
    strength : float
        s, 0 (nothing happens) to 1 (both filters are equal).

    Returns
    -------
    SmallNetwork
        The copy.

    Source: `pdc_core.reconstruct_`, with uniform weights so that the centroids can be checked by hand.
    """
    pulled = copy.deepcopy(model)
    reconstruct_(pulled, _graph(model), {"filters": LABELS}, strength, weights="uniform")
    return pulled


def distance(model: SmallNetwork, image: Tensor) -> float:
    """Return the largest difference between the outputs of filters 0 and 1.

    Parameters
    ----------
    model : SmallNetwork
        The network.
    image : Tensor, shape (1, 1, h, w)
        One grey image.

    Returns
    -------
    float
        The maximum over all pixels, 0 or more.
    """
    channels = look(model, image).channels
    return float(np.abs(channels[0] - channels[1]).max())


def nearest(model: SmallNetwork) -> tuple[int, int]:
    """Return the two filters whose weights are closest to each other.

    Parameters
    ----------
    model : SmallNetwork
        The network.

    Returns
    -------
    tuple of int
        Two filters, the lower number first.

    Examples
    --------
    >>> nearest(small_network())
    (0, 1)
    """
    w = model.filters.weight.flatten(1)  # (n, 9)
    pairs = [(i, j) for i in range(len(w)) for j in range(i + 1, len(w))]
    return min(pairs, key=lambda pair: float((w[pair[0]] - w[pair[1]]).square().sum()))


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


class SmallSum(nn.Module):
    """A residual sum in its smallest form: y = head(relu(a + b)), a = stem(x), b = second(relu(first(relu(a))))."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 3, 3, padding=1, bias=False)
        self.first = nn.Conv2d(3, 3, 1, bias=False)
        self.second = nn.Conv2d(3, 3, 1, bias=False)
        self.head = nn.Conv2d(3, 1, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return (b, 1, h, w)."""
        a = self.stem(x)
        b = self.second(torch.relu(self.first(torch.relu(a))))
        return self.head(torch.relu(a + b))


def small_sum() -> SmallSum:
    """Return `SmallSum` with weights written by hand, float64, eval mode."""
    model = SmallSum().double().eval()
    mix = {
        "first": [[1.0, 0.5, -0.5], [0.9, 0.6, -0.4], [-0.5, 0.2, 1.0]],
        "second": [[0.7, 0.6, 0.1], [-0.3, 0.8, 0.4], [0.2, -0.5, 0.9]],
        "head": [[0.8, 0.5, -0.6]],
    }
    weights = {f"{name}.weight": _numbers(rows)[:, :, None, None] for name, rows in mix.items()}
    model.load_state_dict({"stem.weight": small_network().filters.weight, **weights})
    return model.requires_grad_(False)


@dataclass(frozen=True)
class Treatment:
    """One way to prune around a residual sum.

    Attributes
    ----------
    error : float
        The largest change of the output by folding, 0 or more.
    macs : int
        MACs that remain, for one image.
    """

    error: float
    macs: int


def treatments(image: Tensor) -> dict[str, Treatment]:
    """Return the MACs and the error of four ways to fold `small_sum` to two clusters per layer.

    "one producer" ties the stem alone and removes its channel from the sum; "internal", "shared" and "gather" are those
    of `pdc_core.trace`. Errors are measured against the network whose filters are already tied: they are those of
    folding alone.

    Parameters
    ----------
    image : Tensor, shape (1, 1, h, w)
        One grey image.

    Returns
    -------
    dict of str to Treatment
        By the name of the way.
    """
    x, model = _checked(image), small_sum()
    found = {"one producer": _one_producer(model, x)}
    for residual in ("internal", "shared", "gather"):
        graph = trace(model, x, residual=residual)
        # the second layer merges other filters than the stem, where the treatment allows it
        labels = {g.name: np.array([0, 1, 1]) if g.name == "second" else LABELS for g in graph.clusterable}
        tied = reconstruct_(copy.deepcopy(model), graph, labels)
        folded = fold(tied, graph, labels)
        found[residual] = Treatment(change(tied, folded, x), cost(folded, x).macs)
    return found


def _one_producer(model: SmallSum, x: Tensor) -> Treatment:
    """Tie the stem's filters 0 and 1, leave the second layer alone, and treat the sum as if both were tied."""
    tied = copy.deepcopy(model)
    tied.stem.weight[:2] = tied.stem.weight[:2].mean(dim=0)
    wrong, keep = copy.deepcopy(tied), [0, 2]
    wrong.stem.weight = nn.Parameter(tied.stem.weight[keep], requires_grad=False)
    wrong.second.weight = nn.Parameter(tied.second.weight[keep], requires_grad=False)
    for reader, known in ((wrong.first, tied.first), (wrong.head, tied.head)):
        reader.weight = nn.Parameter(_added(known.weight), requires_grad=False)
    return Treatment(change(tied, wrong, x), cost(wrong, x).macs)


def _added(v: Tensor) -> Tensor:
    """V' = V M for `LABELS`: the kernels for channels 0 and 1 are added up."""
    return torch.stack([v[:, 0] + v[:, 1], v[:, 2]], dim=1)


def _add_channels(model: SmallNetwork) -> SmallNetwork:
    """Fold by hand, without `fold`'s check that the filters are tied."""
    kept = _keep(model, [0, 2])
    kept.reader.weight = nn.Parameter(_added(model.reader.weight), requires_grad=False)
    return kept


def _folded(model: SmallNetwork) -> SmallNetwork:
    return cast(SmallNetwork, fold(model, _graph(model), {"filters": LABELS}))


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


def change(a: nn.Module, b: nn.Module, image: Tensor) -> float:
    """Return the largest difference between the outputs of two networks on one image.

    Parameters
    ----------
    a, b : nn.Module
        The networks.
    image : Tensor, shape (1, 1, h, w)
        One grey image.

    Returns
    -------
    float
        The maximum over all outputs, 0 or more.
    """
    x = _checked(image)
    return float((a(x) - b(x)).abs().max())


def _graph(model: SmallNetwork) -> ChannelGraph:
    return trace(model, torch.zeros(1, 1, 8, 8))


def _numbers(values: list[float] | list[list[float]]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _checked(image: Tensor) -> Tensor:
    if image.dim() != 4 or image.shape[:2] != (1, 1):
        raise PDCError(f"The image has shape {tuple(image.shape)}; the lesson needs one grey image, (1, 1, h, w).")
    return image.double()
