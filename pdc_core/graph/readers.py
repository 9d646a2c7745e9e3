"""What readers receive: a group's channels as the layers behind it see them, after norm and activation function."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from pdc_core.graph.structure import Slice

Receive = Callable[[Tensor], None]


@contextmanager
def reading(model: nn.Module, parts: Sequence[tuple[Slice, Receive]]) -> Iterator[None]:
    """Hand over what readers receive, each time the network runs inside this context.

    Parameters
    ----------
    model : nn.Module
        The network that was traced, or a copy of it.
    parts : sequence of (Slice, function)
        A reader of a group, and what to call with its input: a tensor (n, m, b, ...) of n channels at m input
        positions each, for a batch of b.
    """
    handles = [
        model.get_submodule(part.module).register_forward_pre_hook(_hook(part, receive)) for part, receive in parts
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _hook(part: Slice, receive: Receive) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    channels = torch.from_numpy(np.ascontiguousarray(part.channels))  # (n, m)

    def take(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        x = args[0].detach()
        axis = x.dim() - 1 if isinstance(module, nn.Linear) else 1
        own = x.index_select(axis, channels.reshape(-1).to(x.device)).movedim(axis, 0)
        receive(own.unflatten(0, tuple(channels.shape)))

    return take
