"""What is compared when filters are clustered: one vector a filter, several ways to make them.

Each function takes the network, a channel group and, where it looks at data, prepared images, and returns (n, d).
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
from pdc_core.graph.tensors import filters, input_axis

Vectors = Callable[[nn.Module, ChannelGroup, Tensor | None], FloatArray]


def filter_vectors(
    model: nn.Module, group: ChannelGroup, kind: str = "raw", images: Tensor | None = None
) -> FloatArray:
    """Return one vector a filter of a group: float64 array (n, d).

    Parameters
    ----------
    kind : a name in VECTORS; raw filters by default.
    images : prepared images (b, c, h, w) that "activations" are measured on; the others do not look at them.

    Raises
    ------
    PDCError
        The kind is unknown, it needs images and there are none, or a vector is not finite.
    """
    if kind not in VECTORS:
        raise PDCError(f"There are no filter vectors {kind!r}; there are {', '.join(VECTORS)}.")
    if any(model.get_parameter(f"{producer.module}.weight").is_meta for producer in group.producers):
        raise PDCError(
            f"{group.name!r} lies on the meta device, which holds no weights; load the network's weights first."
        )
    vectors = VECTORS[kind](model, group, images)
    if not np.isfinite(vectors).all():
        bad = int((~np.isfinite(vectors).all(axis=1)).sum())
        raise PDCError(
            f"{bad} of {group.size} filters of {group.name!r} hold weights that are not finite (NaN or infinity); "
            "nothing can be clustered until the network is loaded from a good checkpoint."
        )
    return vectors


def filter_weights(model: nn.Module, group: ChannelGroup, kind: str = "raw") -> FloatArray:
    """Return the diagonal of D, (n,): each filter's squared norm, summed over the producers of the group.

    Where activations are compared, what counts is how much of them is read: the squared norm of the readers' kernels.
    """
    w = reader_kernels(model, group) if kind == "activations" else filter_vectors(model, group)
    return (w**2).sum(axis=1)


def raw(model: nn.Module, group: ChannelGroup, images: Tensor | None = None) -> FloatArray:
    """w_i: the filter itself; where several layers produce the group, filter i of each, side by side."""
    parts = [filters(model.get_submodule(p.module), p.channels).cpu().double().numpy() for p in group.producers]
    return np.concatenate(parts, axis=1)


def scaled(model: nn.Module, group: ChannelGroup, images: Tensor | None = None) -> FloatArray:
    """gamma_i / sqrt(var_i + eps) w_i: the filter as the norm layer lets it through.

    The j-th norm scales the j-th producer where there are as many of the two; otherwise every producer is scaled by
    the mean over the norms. Without norms these are the raw filters.
    """
    scales = [_norm_scale(model.get_submodule(p.module), p.channels) for p in group.norms]
    if not scales:
        return raw(model, group)
    if len(scales) != len(group.producers):
        scales = [np.mean(scales, axis=0)] * len(group.producers)
    parts = [filters(model.get_submodule(p.module), p.channels).cpu().double().numpy() for p in group.producers]
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
    """w_i / ||w_i||: where a filter points, whatever its size; a zero filter stays zero."""
    w = raw(model, group)
    norms = np.linalg.norm(w, axis=1, keepdims=True)
    return np.divide(w, norms, out=np.zeros_like(w), where=norms > 0)


def in_out(model: nn.Module, group: ChannelGroup, images: Tensor | None = None) -> FloatArray:
    """(w_i / ||W||, v_i / ||V||): the filter beside the kernels that read it, each half of total size 1."""
    w, v = raw(model, group), reader_kernels(model, group)
    return np.concatenate([half / (np.linalg.norm(half) or 1.0) for half in (w, v)], axis=1)


def reader_kernels(model: nn.Module, group: ChannelGroup) -> FloatArray:
    """Return v_i: all weights by which readers use channel i of a group, (n, e); e is 0 where nothing reads it."""
    parts = []
    for part in group.readers:
        module = model.get_submodule(part.module)
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
    """Rows x_i (n, n) whose inner products are the channels' covariance, as their first reader sees them.

    Distances are those of the activations over all images and pixels, but for a constant, in n numbers a filter.
    """
    if images is None:
        raise PDCError("Vectors of 'activations' need images; give images=data.prepare(data.train.images[:500]).")
    return covariance_factor(channel_covariances(model, [group], images)[group.name].covariance)


def covariance_factor(c: Tensor) -> FloatArray:
    """Return X (n, n) with X X^T = C, from C's eigenvectors."""
    e, u = torch.linalg.eigh(c)
    return (u * e.clamp(min=0).sqrt()).numpy()


VECTORS: dict[str, Vectors] = {
    "raw": raw,
    "scaled": scaled,
    "direction": direction,
    "in_out": in_out,
    "activations": activations,
}
