"""Norm statistics measured again on data: what merging or deleting filters leaves wrong without any training."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pdc_core.errors import PDCError


@torch.no_grad()
def reestimate_norms_(model: nn.Module, images: Tensor, batch_size: int = 250) -> nn.Module:
    """Set mu and var of every batch norm to their means over batches of images, in place; eval mode stays.

    Every norm sees what reaches it while all norms use the batch's own statistics, as in training.

    Parameters
    ----------
    images : prepared images (b, c, h, w), at least 2. A last batch of one image is left out.

    Raises
    ------
    PDCError
        There are fewer than 2 images.

    Source: BN re-estimation, REPAIR (Jordan et al., arXiv 2211.08403) and others.
    """
    if len(images) < 2:
        raise PDCError(f"{len(images)} images are too few to measure norm statistics on; give at least 2.")
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    before = [m.momentum for m in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over batches
        norm.train()
    for batch in images.split(batch_size):
        if len(batch) > 1:
            model(batch)
    for norm, momentum in zip(norms, before, strict=True):
        norm.momentum = momentum
        norm.eval()
    return model
