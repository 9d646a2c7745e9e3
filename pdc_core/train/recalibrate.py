"""Estimating batch norm statistics anew from training images, once the weights stand still."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from pdc_core.data import Data
from pdc_core.train.batches import generator


@torch.no_grad()
def recalibrate_(model: nn.Module, data: Data, images: int, *, seed: int = 0, batch_size: int = 128) -> nn.Module:
    """Replace mu and var of every batch norm by the mean over batches of training images, in place.

    Parameters
    ----------
    model : the network, on any device. Its other layers stay in eval mode, and so does the network afterwards.
    images : how many training images are looked at; all of them where there are fewer.
    seed : of their choice.
    """
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]
    device, usual = next(model.parameters()).device, [norm.momentum for norm in norms]
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over all batches
        norm.train()
    order = torch.randperm(len(data.train), generator=generator(seed, 0, 3))[:images]
    for chosen in order.split(batch_size):
        if len(chosen) > 1:
            model(data.prepare(data.train.images[chosen].to(device)))
    for norm, momentum in zip(norms, usual, strict=True):
        norm.momentum = momentum
    return model.eval()
