"""What an optimiser keeps per weight: tied filters need tied momentum, or the next step pulls them apart again."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from pdc_core.graph import ChannelGroup
from pdc_core.graph.tensors import ChannelTensor, layer_of, output_axes


def base_optimizer(optimizer: Any) -> torch.optim.Optimizer:
    """Return the torch optimiser inside the wrappers of Accelerate, Lightning and Fabric.

    Parameters
    ----------
    optimizer : Optimizer
        An optimiser, or an object whose attribute `optimizer` leads to one.

    Returns
    -------
    Optimizer
        The innermost one.
    """
    while isinstance(inner := getattr(optimizer, "optimizer", None), torch.optim.Optimizer):
        optimizer = inner
    found: torch.optim.Optimizer = optimizer
    return found


def parameters_of(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """Return all parameters that an optimiser trains.

    Parameters
    ----------
    optimizer : Optimizer
        Any.
    """
    return [p for group in optimizer.param_groups for p in group["params"]]


def steps_are_linear(optimizer: torch.optim.Optimizer) -> bool:
    """Return whether a gradient half as large makes a step half as large, as with torch's SGD and what inherits it.

    Parameters
    ----------
    optimizer : Optimizer
        Any.
    """
    return isinstance(optimizer, torch.optim.SGD)


def per_weight_state(kept: Mapping[str, Any], p: Tensor) -> dict[str, Tensor]:
    """Return what an optimiser keeps of a parameter with one number per weight, by its key.

    Parameters
    ----------
    kept : dict
        `optimizer.state[p]`, or an empty one.
    p : Tensor
        The parameter.

    Returns
    -------
    dict of str to Tensor
        For example "momentum_buffer" of SGD, "exp_avg" and "exp_avg_sq" of AdamW; each of the shape of `p`.
    """
    return {key: t for key, t in kept.items() if _is_per_weight(t, p)}


def other_state(kept: Mapping[str, Any], p: Tensor) -> list[str]:
    """Return the keys of tensors that cannot be tied along with a parameter: factored or quantised statistics.

    Parameters
    ----------
    kept : dict
        `optimizer.state[p]`, or an empty one.
    p : Tensor
        The parameter.

    Returns
    -------
    list of str
        Keys of tensors of more than one number that are not floating-point tensors of the shape of `p`, or of lists
        and dicts with such tensors.
    """
    return [key for key, t in kept.items() if not _is_per_weight(t, p) and any(each.numel() > 1 for each in _within(t))]


def _within(kept: Any) -> list[Tensor]:
    return [t for t in tree_leaves(kept) if isinstance(t, Tensor)]


def _is_per_weight(t: Any, p: Tensor) -> bool:
    return isinstance(t, Tensor) and t.dim() > 0 and t.shape == p.shape and t.is_floating_point()


def optimizer_slots(
    model: nn.Module, group: ChannelGroup, optimizers: Sequence[torch.optim.Optimizer]
) -> list[ChannelTensor]:
    """Return what optimisers keep of a group's tensors, laid out as they are; empty before the first step.

    Parameters
    ----------
    model : Module
        The network that is trained.
    group : ChannelGroup
        One of its groups.
    optimizers : sequence of Optimizer
        Those that train it; each parameter is looked up in all of them.

    Returns
    -------
    list of ChannelTensor
        They share memory with the optimisers' state.
    """
    found = []
    for part in (*group.producers, *group.norms):
        module = layer_of(model, part)
        for name, axis in output_axes(module).items():
            p = getattr(module, name)
            for optimizer in optimizers:
                kept = per_weight_state(optimizer.state.get(p, {}), p)
                found += [ChannelTensor(t, axis, part.channels, is_filter=False) for t in kept.values()]
    return found


def state_after_a_step(optimizer: torch.optim.Optimizer, p: nn.Parameter) -> dict[str, Any] | None:
    """Return what an optimiser would keep of a parameter after a step, found on a copy with a gradient of zero.

    Parameters
    ----------
    optimizer : Optimizer
        Not changed.
    p : Parameter
        One of its parameters; not changed.

    Returns
    -------
    dict or None
        State by key, or None where a copy of this optimiser makes no step by itself (its class keeps more than
        torch's own fields); what it keeps then shows after its first real step.
    """
    if p in optimizer.state:
        return dict(optimizer.state[p])
    made = _trial(optimizer, p, p.detach().clone(), torch.zeros_like(p))
    return None if made is None else dict(made[0].state[made[1]])


def steps_filter_by_filter(optimizer: torch.optim.Optimizer, p: nn.Parameter) -> bool:
    """Return whether the step of a filter depends on itself and its gradient alone, found on copies; True if unknown.

    Of an optimiser that divides by the norm of a whole tensor (LAMB) or makes it orthogonal (Muon) it does not, and
    tied filters make other steps than one filter in their place.

    Parameters
    ----------
    optimizer : Optimizer
        Not changed.
    p : Parameter, shape (n, ...)
        One of its parameters; not changed.
    """
    with torch.no_grad():
        values, g = p.detach().clone(), torch.linspace(-1, 1, p.numel(), dtype=p.dtype, device=p.device).view_as(p)
        twice, once = (torch.cat([t[:1]] * 2) for t in (values, g)), (t[:1].clone() for t in (values, g))
    made = [_trial(optimizer, p, *each) for each in (tuple(once), tuple(twice))]
    moved = [(each[1].detach()[:1] - values[:1]).double() for each in made if each is not None]
    if len(moved) < 2:
        return True
    return bool((moved[0] - moved[1]).norm() <= 1e-3 * moved[0].norm())


def _trial(
    optimizer: torch.optim.Optimizer, p: nn.Parameter, values: Tensor, gradient: Tensor
) -> tuple[torch.optim.Optimizer, nn.Parameter] | None:
    """Let a copy of an optimiser make its first step with a parameter like p, or return None where it cannot."""
    group = next(g for g in optimizer.param_groups if any(p is own for own in g["params"]))
    twin = nn.Parameter(values)
    twin.grad = gradient
    probe = copy.copy(optimizer)  # torch copies defaults, state and groups, no hooks; the last two are replaced here
    probe.state, probe.param_groups = defaultdict(dict), [{**group, "params": [twin]}]
    try:
        probe.step()
    except (AttributeError, KeyError, TypeError, ValueError, IndexError, RuntimeError, AssertionError):
        return None  # this is somebody's own code, on half an optimiser
    return probe, twin
