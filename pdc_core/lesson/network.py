"""The network of the lesson: three filters, two of them similar, and what happens when these are pulled together."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pdc_core.errors import PDCError
from pdc_core.graph import ChannelGraph, trace
from pdc_core.reconstruct import reconstruct_

LABELS = np.array([0, 0, 1])  # filters 0 and 1 are one cluster, filter 2 is alone


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
    right = numbers([[-1.0, 0.0, 1.0]] * 3)
    other = right.clone()
    other[0] += gap
    model = SmallNetwork().double().eval()
    values = {
        "filters.weight": torch.stack([right, other, right.T])[:, None],
        "norm.weight": numbers([1.0, 1.1, 1.0]),
        "norm.bias": numbers([0.3, 0.4, 0.1]),
        "norm.running_mean": numbers([0.0, 0.1, 0.0]),
        "norm.running_var": numbers([1.0, 1.2, 1.0]),
        "reader.weight": numbers([0.8, 0.5, -0.6])[None, :, None, None],
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
    x = checked(image)
    kernels = model.filters.weight.detach().numpy()[:, 0]
    return Seen(kernels, model.channels(x)[0].numpy(), model(x)[0, 0].numpy())


def norm_at_inference(model: SmallNetwork) -> tuple[list[float], list[float]]:
    """Return the batch norm as scale and shift: gamma / sqrt(var + eps), and beta minus the scale times mu.

    Parameters
    ----------
    model : SmallNetwork
        The network.

    Returns
    -------
    tuple of list of float
        Scales and shifts, one per filter.
    """
    norm = model.norm
    assert norm.running_var is not None
    assert norm.running_mean is not None
    scales = norm.weight / (norm.running_var + norm.eps).sqrt()
    return scales.tolist(), (norm.bias - scales * norm.running_mean).tolist()


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
    reconstruct_(pulled, traced(model), {"filters": LABELS}, strength, weights="uniform")
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
    x = checked(image)
    return float((a(x) - b(x)).abs().max())


def traced(model: SmallNetwork) -> ChannelGraph:
    """Return the trace of a network of the lesson.

    Parameters
    ----------
    model : SmallNetwork
        The network.

    Returns
    -------
    ChannelGraph
        Its one group that can be clustered is "filters".
    """
    return trace(model, torch.zeros(1, 1, 8, 8))


def numbers(values: list[float] | list[list[float]]) -> Tensor:
    """Return numbers written by hand as float64.

    Parameters
    ----------
    values : list of float, or list of lists
        One or two dimensions.

    Returns
    -------
    Tensor, float64
        Of the same shape.
    """
    return torch.tensor(values, dtype=torch.float64)


def checked(image: Tensor) -> Tensor:
    """Return an image of the lesson as float64.

    Parameters
    ----------
    image : Tensor, shape (1, 1, h, w)
        One grey image.

    Returns
    -------
    Tensor, shape (1, 1, h, w), float64
        The image.

    Raises
    ------
    PDCError
        If the image has another shape.
    """
    if image.dim() != 4 or image.shape[:2] != (1, 1):
        raise PDCError(f"The image has shape {tuple(image.shape)}; the lesson needs one grey image, (1, 1, h, w).")
    return image.double()
