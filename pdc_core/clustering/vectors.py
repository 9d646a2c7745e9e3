"""The vectors by which filters are compared: one per filter, several ways to make them.

Each function takes the network, a channel group and, if it is measured on data, prepared images, and returns (n, d).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from pdc_core.clustering.covariances import channel_covariances
from pdc_core.clustering.labels import FloatArray
from pdc_core.errors import PDCError
from pdc_core.graph import ChannelGroup
from pdc_core.graph.tensors import channel_tensors, filters, input_axis, layer_of

Vectors = Callable[[nn.Module, ChannelGroup, Tensor | None], FloatArray]


def filter_vectors(
    model: nn.Module, group: ChannelGroup, kind: str = "raw", images: Tensor | None = None
) -> FloatArray:
    """Return one vector per filter of a group.

    Parameters
    ----------
    model : nn.Module
        The network.
    group : ChannelGroup
        The group, of n filters.
    kind : str, default "raw"
        A name in VECTORS.
    images : Tensor, shape (b, c, h, w), optional
        Prepared images on which "activations" are measured; the other kinds do not use them.

    Returns
    -------
    array of float64, shape (n, d)
        One row per filter.

    Raises
    ------
    PDCError
        If the kind is unknown, images are needed and there are none, or a vector is not finite.
    """
    if kind not in VECTORS:
        raise PDCError(f"There are no filter vectors {kind!r}; there are {', '.join(VECTORS)}.")
    if any(t.tensor.is_meta for t in channel_tensors(model, group)):
        raise PDCError(
            f"{group.name!r} is on the meta device, which holds no weights; load the network's weights first."
        )
    vectors = VECTORS[kind](model, group, images)
    if not np.isfinite(vectors).all():
        bad = int((~np.isfinite(vectors).all(axis=1)).sum())
        raise PDCError(
            f"{bad} of {group.size} filters of {group.name!r} hold weights that are not finite (NaN or infinity); "
            "nothing can be clustered until the network is loaded from a good checkpoint."
        )
    return vectors


def vectors_for(group: ChannelGroup, kind: str) -> str:
    """Return by which vectors a group is compared in a plan: by raw weights where nothing reads its activations.

    Parameters
    ----------
    group : ChannelGroup
        The group.
    kind : str
        The plan's vectors, a name in VECTORS.
    """
    return "raw" if kind == "activations" and not group.readers else kind


def filter_weights(model: nn.Module, group: ChannelGroup, kind: str = "raw") -> FloatArray:
    """Return the diagonal of D: each filter's squared norm, summed over the producers of the group.

    For "activations" it is the squared norm of the readers' kernels instead: how much of each activation is read.

    Parameters
    ----------
    model : nn.Module
        The network.
    group : ChannelGroup
        The group, of n filters.
    kind : str, default "raw"
        A name in VECTORS.

    Returns
    -------
    array of float64, shape (n,)
        0 or more.
    """
    w = reader_kernels(model, group) if kind == "activations" else filter_vectors(model, group)
    return (w**2).sum(axis=1)


def raw(model: nn.Module, group: ChannelGroup, images: Tensor | None = None) -> FloatArray:
    """w_i: the filter itself; if several layers produce the group, filter i of each, side by side.

    Parameters
    ----------
    model : nn.Module
        The network.
    group : ChannelGroup
        The group, of n filters.
    images : Tensor, optional
        Not used.

    Returns
    -------
    array of float64, shape (n, d)
        One row per filter.
    """
    parts = [filters(layer_of(model, p), p.channels).cpu().double().numpy() for p in group.producers]
    return np.concatenate(parts, axis=1)


def scaled(model: nn.Module, group: ChannelGroup, images: Tensor | None = None) -> FloatArray:
    """gamma_i / sqrt(var_i + eps) w_i: the filter scaled by its norm layer.

    The j-th norm scales the j-th producer if there are as many norms as producers; otherwise the mean over the norms
    scales every producer. Without norms these are the raw filters.

    Parameters
    ----------
    model : nn.Module
        The network.
    group : ChannelGroup
        The group, of n filters.
    images : Tensor, optional
        Not used.

    Returns
    -------
    array of float64, shape (n, d)
        One row per filter.
    """
    scales = [_norm_scale(layer_of(model, p), p.channels) for p in group.norms]
    if not scales:
        return raw(model, group)
    if len(scales) != len(group.producers):
        scales = [np.mean(scales, axis=0)] * len(group.producers)
    parts = [filters(layer_of(model, p), p.channels).cpu().double().numpy() for p in group.producers]
    return np.concatenate([scale[:, None] * w for scale, w in zip(scales, parts, strict=True)], axis=1)


def _norm_scale(norm: nn.Module, channels: np.ndarray) -> FloatArray:
    """Return gamma / sqrt(var + eps) of some channels; a PReLU or another module without statistics scales by 1."""
    var, gamma = getattr(norm, "running_var", None), getattr(norm, "weight", None)
    if not isinstance(var, Tensor):
        return np.ones(len(channels))
    scale = (var.detach().double() + float(norm.eps)).rsqrt()  # type: ignore[arg-type]
    if isinstance(gamma, Tensor):
        scale = scale * gamma.detach().double()
    return scale.cpu().numpy()[channels]


def direction(model: nn.Module, group: ChannelGroup, images: Tensor | None = None) -> FloatArray:
    """w_i / ||w_i||: the direction of a filter, whatever its size; a zero filter stays zero.

    Parameters
    ----------
    model : nn.Module
        The network.
    group : ChannelGroup
        The group, of n filters.
    images : Tensor, optional
        Not used.

    Returns
    -------
    array of float64, shape (n, d)
        One row per filter, of norm 1 or 0.
    """
    w = raw(model, group)
    norms = np.linalg.norm(w, axis=1, keepdims=True)
    return np.divide(w, norms, out=np.zeros_like(w), where=norms > 0)


def in_out(model: nn.Module, group: ChannelGroup, images: Tensor | None = None) -> FloatArray:
    """(w_i / ||W||, v_i / ||V||): the filter beside the kernels that read it, each half of total size 1.

    Parameters
    ----------
    model : nn.Module
        The network.
    group : ChannelGroup
        The group, of n filters.
    images : Tensor, optional
        Not used.

    Returns
    -------
    array of float64, shape (n, d + e)
        One row per filter.
    """
    w, v = raw(model, group), reader_kernels(model, group)
    return np.concatenate([half / (np.linalg.norm(half) or 1.0) for half in (w, v)], axis=1)


def reader_kernels(model: nn.Module, group: ChannelGroup) -> FloatArray:
    """Return v_i: all weights by which readers use channel i of a group.

    Parameters
    ----------
    model : nn.Module
        The network.
    group : ChannelGroup
        The group, of n filters.

    Returns
    -------
    array of float64, shape (n, e)
        e is 0 if nothing reads the group.
    """
    parts = []
    for part in group.readers:
        module = layer_of(model, part)
        v = module.weight.detach().double().cpu()  # type: ignore[operator]
        if getattr(module, "groups", 1) > 1:  # every group of a grouped convolution reads its own inputs
            per = v.shape[1]
            own = torch.zeros(module.in_channels, v.shape[0] // module.groups, *v.shape[2:], dtype=v.dtype)  # type: ignore[operator, call-overload]
            for g, kernels in enumerate(v.chunk(module.groups)):  # type: ignore[arg-type]
                own[g * per : (g + 1) * per] = kernels.transpose(0, 1)
            v = own
        else:
            v = v.movedim(input_axis(module), 0)
        parts.append(v[torch.from_numpy(part.channels)].reshape(group.size, -1).numpy())
    return np.concatenate(parts, axis=1) if parts else np.zeros((group.size, 0))


def activations(model: nn.Module, group: ChannelGroup, images: Tensor | None = None) -> FloatArray:
    """Rows x_i whose inner products are the covariance of the channels, as their first reader sees them.

    Distances are those of the activations over all images and pixels, up to a constant, in n numbers per filter.

    Parameters
    ----------
    model : nn.Module
        The network, in eval mode.
    group : ChannelGroup
        The group, of n filters.
    images : Tensor, shape (b, c, h, w)
        Prepared images, at least one.

    Returns
    -------
    array of float64, shape (n, n)
        One row per filter.

    Raises
    ------
    PDCError
        If there are no images, or nothing reads the group.
    """
    if images is None:
        raise PDCError("Vectors of 'activations' need images; give images=data.prepare(data.train.images[:500]).")
    return covariance_factor(channel_covariances(model, [group], images)[group.name].covariance)


def covariance_factor(c: Tensor) -> FloatArray:
    """Return X with X X^T = C, from C's eigenvectors.

    Parameters
    ----------
    c : Tensor, shape (n, n), float64
        A covariance.

    Returns
    -------
    array of float64, shape (n, n)
        X.
    """
    e, u = torch.linalg.eigh(c)
    return (u * e.clamp(min=0).sqrt()).numpy()


VECTORS: dict[str, Vectors] = {
    "raw": raw,
    "scaled": scaled,
    "direction": direction,
    "in_out": in_out,
    "activations": activations,
}
