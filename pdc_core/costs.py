"""What a network costs: MACs and parameters, measured on a network or predicted for a plan without building it.

MACs are the multiply-accumulates of convolutions, linear layers and matrix products for one example: what the pruning
literature calls FLOPs. `torch.utils.flop_counter` counts exactly twice as many and is the oracle of the tests.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from pdc_core.copies import twin, without_history
from pdc_core.graph import ChannelGraph
from pdc_core.plan import Plan

ENOUGH = 2.0  # seconds of forward passes from which on a median of more is not worth their time


@dataclass(frozen=True)
class LayerCost:
    """What one layer costs.

    Attributes
    ----------
    name : str
        The layer's name in the network.
    kind : str
        Its class, such as "Conv2d"; "fixed" for matrix products and attention outside of layers.
    in_channels, out_channels : int
        Channels that it reads and writes.
    kernel : tuple of int
        Size of the kernel; empty for a linear layer.
    output : tuple of int
        Shape of the output, without the batch.
    macs : int
        Multiply-accumulates of one example.
    params : int
        Weights and biases.
    """

    name: str
    kind: str
    in_channels: int
    out_channels: int
    kernel: tuple[int, ...]
    output: tuple[int, ...]
    macs: int
    params: int


@dataclass(frozen=True)
class Cost:
    """What a network costs.

    Attributes
    ----------
    macs : int
        Multiply-accumulates of convolutions, linear layers and matrix products, of one example.
    params : int
        Parameters of the whole network.
    layers : tuple of LayerCost
        Layer by layer, in the order of the forward pass.
    """

    macs: int
    params: int
    layers: tuple[LayerCost, ...]


def cost(model: nn.Module, example: Tensor) -> Cost:
    """Count a network by running it on the meta device: nothing is computed and no weight is read.

    A network whose forward pass depends on values is run once for real, in a copy.

    Parameters
    ----------
    model : nn.Module
        Any network; it is not changed.
    example : Tensor, shape (b, c, h, w)
        Only its shape is used, unless the forward pass depends on values; MACs are those of one example.

    Returns
    -------
    Cost
        The whole, and layer by layer. Matrix products and attention outside of layers have an entry of their own.

    Examples
    --------
    >>> import torch
    >>> cost(torch.nn.Conv2d(3, 8, 3, padding=1, bias=False), torch.zeros(1, 3, 10, 10)).macs  # 10*10 * 8 * 3*3*3
    21600
    """
    try:
        counted = _counted(_on_meta(model), torch.empty((1, *example.shape[1:]), device="meta"))
    except RuntimeError:  # tensors on the meta device have no values; what else is wrong shows again here
        weights = next(model.parameters(), example)
        counted = _counted(twin(model).eval(), example[:1].to(weights.device, weights.dtype))
    layers = tuple(LayerCost(**{k: v for k, v in row.items() if k != "called"}) for row in counted.rows.values())
    return Cost(sum(layer.macs for layer in layers), sum(p.numel() for p in model.parameters()), layers)


def _counted(model: nn.Module, example: Tensor) -> _Count:
    """Run a network that may be given hooks, and return what was counted."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    counted = _Count(model)
    with counted, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):  # torch has no formula for a CPU's fused attention
        model(example)
    return counted


class _Count(TorchDispatchMode):
    """Counts every operation that multiplies by torch's own formulas, and says to which layer it belongs.

    An operation belongs to the convolution or linear layer that is being called, else to the parameter that it uses;
    what uses none, such as attention, is an entry of its own.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        from torch.utils.flop_counter import flop_registry

        self.formulas = flop_registry
        self.rows: dict[str, dict[str, Any]] = {}
        self.calling: list[str] = []
        self.parameters = {p.untyped_storage()._cdata: (name, p) for name, p in model.named_parameters()}
        self.modules = dict(model.named_modules())
        for name, module in self.modules.items():
            if isinstance(module, nn.Linear | nn.modules.conv._ConvNd):
                module.register_forward_pre_hook(partial(self._enter, name))
                module.register_forward_hook(self._leave)

    def _enter(self, name: str, module: nn.Module, args: tuple[Tensor, ...]) -> None:
        self.calling.append(name)

    def _leave(self, module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        name = self.calling.pop()
        if name in self.rows and self.rows[name]["called"]:
            self.rows[name] |= {"output": tuple(output.shape[1:]), "called": False}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        operation = func._overloadpacket
        if operation not in self.formulas:
            with self:
                composed = func.decompose(*args, **kwargs)
            return func(*args, **kwargs) if composed is NotImplemented else composed
        out = func(*args, **kwargs)
        macs = int(self.formulas[operation](*args, **kwargs, out_val=out)) // 2
        held = [self.parameters[key] for t in args if isinstance(t, Tensor) if (key := _storage(t)) in self.parameters]
        weights = [(name, p) for name, p in held if p.dim() > 1]
        name = self.calling[-1] if self.calling else _layer_name(weights[0][0]) if weights else str(operation)
        if name not in self.rows:
            self.rows[name] = self._row(name, operation, args, out, held, weights)
        self.rows[name]["macs"] += macs
        return out

    def _row(
        self, name: str, operation: Any, args: Any, out: Any, held: list[Any], weights: list[Any]
    ) -> dict[str, Any]:
        shape = tuple(out.shape) if isinstance(out, Tensor) else tuple(out[0].shape)
        called = bool(self.calling)
        if called:
            module = self.modules[name]
            params = sum(p.numel() for role, p in module.named_parameters(recurse=False) if role in ("weight", "bias"))
        else:
            params = sum(p.numel() for _, p in held)
        kind, kernel, widths = "fixed", (1,), (shape[1] if len(shape) > 1 else 1,) * 2
        if operation is torch.ops.aten.convolution:
            weight, transposed, groups = args[1], args[6], args[8]
            kind, kernel = "conv", tuple(weight.shape[2:])
            widths = (weight.shape[1] * groups, weight.shape[0])
            if transposed:
                widths = (weight.shape[0], weight.shape[1] * groups)
        elif called or weights:
            weight = self.modules[name].weight if called else weights[0][1]
            assert isinstance(weight, Tensor)
            kind, widths = "linear", (weight.shape[1], weight.shape[0])
        into, width = widths
        return {
            "name": name, "kind": kind, "in_channels": into, "out_channels": width, "kernel": kernel,
            "output": shape[1:], "macs": 0, "params": params, "called": called,
        }  # fmt: skip


def _storage(t: Tensor) -> int:
    return t.untyped_storage()._cdata


def _layer_name(path: str) -> str:
    """Return the module that holds a weight, or the tensor's own name where it is called otherwise."""
    owner, _, name = path.rpartition(".")
    return owner if owner and name == "weight" else path


def _on_meta(model: nn.Module) -> nn.Module:
    """Return a copy of the network without weights: copied with every tensor already replaced by an empty one."""

    memo = without_history(model)
    for p in model.parameters():
        memo[id(p)] = nn.Parameter(torch.empty(p.shape, device="meta"), requires_grad=False)
    for b in model.buffers():
        memo[id(b)] = torch.empty(b.shape, device="meta", dtype=None if b.is_floating_point() else b.dtype)
    return copy.deepcopy(model, memo).eval()


def plan_cost(graph: ChannelGraph, plan: Plan | Mapping[str, int]) -> Cost:
    """Predict the cost of a network folded by a plan, exactly, without building it (a millisecond for ResNet-50).

    Parameters
    ----------
    graph : ChannelGraph
        The trace of the network.
    plan : Plan or dict of str to int
        A plan, or its counts {group name: clusters kept}. Groups that it does not name stay whole.

    Raises
    ------
    PDCError
        The plan does not fit the graph.
    """
    counts = plan.check(graph).counts if isinstance(plan, Plan) else plan
    gone = [0 if g.frozen else g.size - counts.get(g.name, g.size) for g in graph.groups]
    layers, saved = [], sum(gone[i] * each for i, each in enumerate(graph.norm_params))
    for layer in graph.layers:
        out = layer.out_channels - sum(m * gone[g] for g, m in layer.narrows_out)
        into = layer.in_channels - sum(m * gone[g] for g, m in layer.narrows_in)
        macs, params = layer.size(out, into)
        saved += layer.params - params
        layers.append(
            LayerCost(layer.name, layer.kind, into, out, layer.kernel, (out, *layer.output[1:]), macs, params)
        )
    return Cost(sum(layer.macs for layer in layers), graph.params - saved, tuple(layers))


def latency(
    model: nn.Module, example: Tensor, batch_sizes: Sequence[int] = (1, 64), repeats: int = 10
) -> dict[int, float]:
    """Measure seconds per batch on this machine: the median of some runs after one or two that do not count.

    Of long runs there are fewer: none begins once those before took `ENOUGH` seconds, and at least one counts.

    Parameters
    ----------
    model : nn.Module
        The network, in eval mode.
    example : Tensor, shape (b, c, h, w)
        On the network's device; its first image is repeated to every batch size.
    batch_sizes : sequence of int, default (1, 64)
        Sizes of the batches, at least 1.
    repeats : int, default 10
        Runs per batch size that count at most, at least 1.

    Returns
    -------
    dict of int to float
        Seconds for each batch size.
    """
    seconds: dict[int, float] = {}
    with torch.no_grad():
        for batch in batch_sizes:
            x = example[:1].expand(batch, *example.shape[1:]).contiguous()
            times = [_seconds(model, x)]
            if times[0] < ENOUGH:
                times = [_seconds(model, x)]
            while len(times) <= repeats and (len(times) < 2 or sum(times[1:]) < ENOUGH):
                times.append(_seconds(model, x))
            counted = sorted(times[1:])
            seconds[batch] = counted[len(counted) // 2]
    return seconds


def latency_passes(seconds: float, repeats: int = 10) -> int:
    """Return how many forward passes `latency` makes for one batch size.

    Parameters
    ----------
    seconds : float
        What a pass takes, above 0.
    repeats : int, default 10
        As given to `latency`.

    Examples
    --------
    >>> latency_passes(0.1), latency_passes(0.5), latency_passes(6.0)
    (12, 6, 2)
    """
    return (2 if seconds < ENOUGH else 1) + min(repeats, math.ceil(ENOUGH / max(seconds, 1e-9)))


def _seconds(model: nn.Module, x: Tensor) -> float:
    """Return the seconds of one forward pass."""
    _wait(x)
    start = time.perf_counter()
    model(x)
    _wait(x)
    return time.perf_counter() - start


def _wait(x: Tensor) -> None:
    """Wait for the device to finish, so that a clock measures work and not its queueing."""
    if x.device.type == "cuda":
        torch.cuda.synchronize(x.device)
