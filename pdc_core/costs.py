"""What a network costs: MACs and parameters, measured on a network or predicted for a plan without building it.

MACs are the multiply-accumulates of convolutions and linear layers for one example: what the pruning literature calls
FLOPs. `torch.utils.flop_counter` counts exactly twice as many and is the oracle of the tests.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pdc_core.graph import ChannelGraph
from pdc_core.plan import Plan


@dataclass(frozen=True)
class LayerCost:
    """One layer's width and price: output shape without the batch, MACs of one example, weights and biases."""

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
    """MACs of one example (convolutions and linear layers), all parameters, and the layers one by one."""

    macs: int
    params: int
    layers: tuple[LayerCost, ...]


def cost(model: nn.Module, example: Tensor) -> Cost:
    """Count a network by running it on the meta device: nothing is computed and no weight is read.

    Parameters
    ----------
    model : any network; it is not changed.
    example : tensor (b, c, h, w); only its shape is used, and MACs are those of one example.

    Examples
    --------
    >>> import torch
    >>> cost(torch.nn.Conv2d(3, 8, 3, padding=1, bias=False), torch.zeros(1, 3, 10, 10)).macs  # 10*10 * 8 * 3*3*3
    21600
    """
    calls: dict[str, list[tuple[nn.Module, tuple[int, ...], tuple[int, ...]]]] = {}
    hooks = []
    shadow = _on_meta(model)
    for name, module in shadow.named_modules():
        if isinstance(module, nn.Linear | nn.modules.conv._ConvNd):

            def note(module: nn.Module, args: tuple[Tensor, ...], output: Tensor, name: str = name) -> None:
                calls.setdefault(name, []).append((module, tuple(args[0].shape), tuple(output.shape)))

            hooks.append(module.register_forward_hook(note))
    with torch.no_grad():
        shadow(torch.empty((1, *example.shape[1:]), device="meta"))
    layers = tuple(_layer_cost(name, seen) for name, seen in calls.items())
    params = sum(p.numel() for p in model.parameters())
    return Cost(sum(layer.macs for layer in layers), params, layers)


def _on_meta(model: nn.Module) -> nn.Module:
    """Return a copy of the network without weights: copied with every tensor already replaced by an empty one."""
    import copy

    memo: dict[int, object] = {}
    for p in model.parameters():
        memo[id(p)] = nn.Parameter(torch.empty(p.shape, device="meta"), requires_grad=False)
    for b in model.buffers():
        memo[id(b)] = torch.empty(b.shape, device="meta", dtype=None if b.is_floating_point() else b.dtype)
    return copy.deepcopy(model, memo).eval()


def _layer_cost(name: str, seen: list[tuple[nn.Module, tuple[int, ...], tuple[int, ...]]]) -> LayerCost:
    module, _, output = seen[0]
    assert isinstance(module, nn.Linear | nn.modules.conv._ConvNd)
    kernel: tuple[int, ...] = (1,)
    weights = module.weight.numel()  # every weight meets every pixel it is applied to, once
    if isinstance(module, nn.Linear):
        pixels = sum(_product(out[:-1]) for _, _, out in seen)
        kind, widths = "linear", (module.in_features, module.out_features)
    else:
        space = len(module.kernel_size)
        transposed = isinstance(module, nn.modules.conv._ConvTransposeNd)
        pixels = sum(_product((entered if transposed else out)[-space:]) for _, entered, out in seen)
        kind, widths, kernel = "conv", (module.in_channels, module.out_channels), tuple(module.kernel_size)
    params = weights + (module.bias.numel() if module.bias is not None else 0)
    return LayerCost(name, kind, *widths, kernel, output[1:], pixels * weights, params)


def _product(sizes: Sequence[int]) -> int:
    result = 1
    for size in sizes:
        result *= size
    return result


def plan_cost(graph: ChannelGraph, plan: Plan | Mapping[str, int]) -> Cost:
    """Predict the cost of a network folded by a plan, exactly, without building it (a millisecond for ResNet-50).

    Parameters
    ----------
    plan : a plan, or its counts {group name: clusters kept}. Groups that it does not name stay whole.

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
    """Measure seconds per batch on this machine: the median of `repeats` runs after two that do not count.

    Parameters
    ----------
    example : tensor (1, c, h, w) on the network's device; it is repeated to every batch size.
    """
    seconds: dict[int, float] = {}
    with torch.inference_mode():
        for batch in batch_sizes:
            x = example[:1].expand(batch, *example.shape[1:]).contiguous()
            times = []
            for i in range(repeats + 2):
                _wait(x)
                start = time.perf_counter()
                model(x)
                _wait(x)
                if i >= 2:
                    times.append(time.perf_counter() - start)
            seconds[batch] = sorted(times)[len(times) // 2]
    return seconds


def _wait(x: Tensor) -> None:
    """Wait for the device to finish, so that a clock measures work and not its queueing."""
    if x.device.type == "cuda":
        torch.cuda.synchronize(x.device)
