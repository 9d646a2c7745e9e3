"""What a run trains on and with: Lightning Fabric for device, precision and processes, and the optimiser."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import nn

from pdc_core.errors import PDCError
from pdc_core.train.settings import Training


def open_fabric(settings: Training) -> Any:
    """Return Lightning Fabric for the device, precision and processes of a run; torchrun's environment is followed.

    Parameters
    ----------
    settings : Training
        accelerator, precision and teacher_precision are read.

    Raises
    ------
    PDCError
        There is no such accelerator or number of devices here, or it cannot compute in that precision.
    """
    from lightning_fabric import Fabric

    world = int(os.environ.get("WORLD_SIZE", 1))
    local = int(os.environ.get("LOCAL_WORLD_SIZE", world))
    accelerator = settings.accelerator
    if accelerator == "auto" and torch.backends.mps.is_available():  # Apple's GPUs lack float64, in which PDC clusters
        accelerator = "cpu"
    try:
        fabric = Fabric(
            accelerator=accelerator,
            devices=local,
            num_nodes=world // local,
            strategy="ddp" if world > 1 else "auto",
            precision="32-true" if settings.precision == "32" else settings.precision,
        )
    except (ValueError, RuntimeError) as error:
        raise PDCError(
            f"accelerator {settings.accelerator!r} with {local} device(s) and precision {settings.precision} does not "
            f"work here: {str(error).splitlines()[0]}"
        ) from error
    if fabric.device.type == "cpu" and "16" in (settings.precision.removesuffix("-mixed"), settings.teacher_precision):
        raise PDCError("Precision 16 needs a GPU; on a CPU choose bf16-mixed (teacher: bf16), or 32.")
    if world > 1:
        fabric.launch()
    return fabric


def make_optimizer(model: nn.Module, settings: Training) -> torch.optim.Optimizer:
    """Return SGD with Nesterov momentum, or AdamW; its learning rate is what `rates.rate` says at every step.

    Parameters
    ----------
    model : Module
        Its parameters are optimised.
    settings : Training
        optimizer, lr, momentum and weight_decay are read.
    """
    lr = settings.highest_lr(None)
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(
            model.parameters(), lr=lr, betas=(settings.momentum, 0.999), weight_decay=settings.weight_decay
        )
    return torch.optim.SGD(
        model.parameters(),
        lr=lr,
        momentum=settings.momentum,
        nesterov=settings.momentum > 0,
        weight_decay=settings.weight_decay,
    )
