"""What readers receive: a group's channels as the layers behind it see them, after norm and activation function."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from pdc_core.graph.layers import FUNCTIONS
from pdc_core.graph.structure import Slice
from pdc_core.graph.tensors import tensor_at
from pdc_core.graph.tracer import calls_torchs_forward

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
    hooked, called = [], []
    for part, receive in parts:
        module = model.get_submodule(part.module) if part.tensors is None else None
        if module is not None and calls_torchs_forward(module):
            hooked.append((module, _Reader(part, receive, isinstance(module, nn.Linear))))
        else:
            held = dict(part.tensors.paths)["weight"] if part.tensors else f"{part.module}.weight"
            linear = part.tensors.kind == "linear" if part.tensors else isinstance(module, nn.Linear)
            called.append((tensor_at(model, held), _Reader(part, receive, linear)))
    handles = [module.register_forward_pre_hook(reader.enter) for module, reader in hooked]
    try:
        with _Calls(called) if called else nullcontext():
            yield
    finally:
        for handle in handles:
            handle.remove()


class _Reader:
    """What one reader receives: its channels first, (n, m, b, ...)."""

    def __init__(self, part: Slice, receive: Receive, linear: bool) -> None:
        self.channels = torch.from_numpy(np.ascontiguousarray(part.channels))  # (n, m)
        self.receive, self.linear = receive, linear

    def enter(self, module: nn.Module, args: tuple[Tensor, ...]) -> None:
        self.take(args[0])

    def take(self, x: Tensor) -> None:
        x = x.detach()
        axis = x.dim() - 1 if self.linear else 1
        own = x.index_select(axis, self.channels.reshape(-1).to(x.device)).movedim(axis, 0)
        self.receive(own.unflatten(0, tuple(self.channels.shape)))


class _Calls(TorchFunctionMode):
    """Listens to layers that are called as functions; a layer is known by its weight."""

    def __init__(self, called: list[tuple[Tensor, _Reader]]) -> None:
        super().__init__()
        self.called = called

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in FUNCTIONS:
            given = dict(zip(FUNCTIONS[func][1], args, strict=False)) | kwargs
            weight = given.get("weight")
            for held, reader in self.called:
                if isinstance(weight, Tensor) and _same(weight, held):
                    reader.take(given["input"])
        return func(*args, **kwargs)


def _same(a: Tensor, b: Tensor) -> bool:
    return a is b or (a.shape == b.shape and a.data_ptr() == b.data_ptr() and a.data_ptr() != 0)
