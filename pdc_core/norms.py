"""Batch norm statistics, re-estimated on images: merging or deleting filters changes what reaches every norm."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pdc_core.batch_sizes import images_in_memory
from pdc_core.data import Data
from pdc_core.errors import PDCError
from pdc_core.seeds import generator


def reestimate_norms_(
    model: nn.Module, images: Tensor, batch_size: int = 250, *, training_only: bool = False
) -> nn.Module:
    """Set mu and var of every batch norm to their means over batches of images, in place.

    Each norm sees its input as it is while all norms use the statistics of the batch, as in training; all other
    layers, dropout for example, are in eval mode. If the forward pass raises, the network is left as it was.

    Parameters
    ----------
    model : nn.Module
        The network, changed in place. Norms without running statistics are left alone.
    images : Tensor, shape (b, c, h, w)
        Prepared images, on any device and of any precision, at least 2.
    batch_size : int, default 250
        Most images per batch, at least 2; fewer of large images (`batch_sizes.images_in_memory`). All batches are
        equally large, give or take one.
    training_only : bool, default False
        Leave norms alone that are in eval mode, such as those that somebody froze.

    Returns
    -------
    nn.Module
        The same network, in eval mode.

    Raises
    ------
    PDCError
        If there are fewer than 2 images.

    Source: BN re-estimation, REPAIR (Jordan et al., arXiv 2211.08403) and others.
    """
    _check(len(images))
    weight = next(model.parameters())
    parts = _even(images, images_in_memory(images.shape[1:], batch_size))
    return _reestimate_(model, (part.to(weight.device, weight.dtype) for part in parts), training_only)


def recalibrate_(model: nn.Module, data: Data, n_images: int, *, seed: int = 0, batch_size: int = 128) -> nn.Module:
    """Re-estimate the norms on training images chosen at random, in place; see `reestimate_norms_`.

    Parameters
    ----------
    model : nn.Module
        The network, on any device.
    data : Data
        Its training images are chosen from, without augmentation.
    n_images : int
        Images to choose, at least 2; all of them if there are fewer.
    seed : int, default 0
        Seed of the choice.
    batch_size : int, default 128
        Most images per batch, at least 2; fewer of large images (`batch_sizes.images_in_memory`). All batches are
        equally large, give or take one.

    Returns
    -------
    nn.Module
        The same network, in eval mode.

    Raises
    ------
    PDCError
        If there are fewer than 2 images.
    """
    order = torch.randperm(len(data.train), generator=generator(seed, 0, 3))[:n_images]
    _check(len(order))
    device = next(model.parameters()).device
    batches = _even(order, images_in_memory(data.shape, batch_size))
    return _reestimate_(model, (data.prepare(data.train.images[chosen].to(device)) for chosen in batches))


@torch.no_grad()
def _reestimate_(model: nn.Module, batches: Iterable[Tensor], training_only: bool = False) -> nn.Module:
    norms = [
        m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats and m.running_mean is not None
    ]
    norms = [norm for norm in norms if norm.training or not training_only]
    modes = [(module, module.training) for module in model.modules()]
    if not norms:
        return model.eval()
    momenta = [norm.momentum for norm in norms]
    before = [{name: t.clone() for name, t in norm.named_buffers(recurse=False)} for norm in norms]
    model.eval()
    try:
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the plain mean over all batches
            norm.train()
        for batch in batches:
            if len(batch) > 1:
                model(batch)
    except BaseException:
        for norm, statistics in zip(norms, before, strict=True):
            for name, t in statistics.items():
                norm.get_buffer(name).copy_(t)
        for module, training in modes:
            module.training = training
        raise
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
    return model.eval()


def _even(images: Tensor, most: int) -> tuple[Tensor, ...]:
    """Return images in as few batches as possible that are equally large, give or take one: all count equally."""
    return images.tensor_split(math.ceil(len(images) / most))


def _check(n_images: int) -> None:
    if n_images < 2:
        raise PDCError(
            f"Norm statistics cannot be estimated from {n_images} image{'' if n_images == 1 else 's'}; give at least 2."
        )
