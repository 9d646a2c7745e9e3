"""What has to hold before a pruner attaches: every tied weight is trained by an optimiser that is known, alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from pdc_core.clustering import Labels
from pdc_core.errors import PDCError
from pdc_core.graph import ChannelGraph
from pdc_core.graph.tensors import layer_of, paths_of
from pdc_core.pruner.hooks import hooks_of
from pdc_core.reconstruct.optimizers import (
    base_optimizer,
    other_state,
    parameters_of,
    state_after_a_step,
    steps_filter_by_filter,
)


def tied_parameters(model: nn.Module, graph: ChannelGraph, labels: Labels) -> dict[str, nn.Parameter]:
    """Return the parameters of all groups that merge filters, by name: those that get tied.

    Parameters
    ----------
    model : Module
        The network that is trained.
    graph : ChannelGraph
        Its trace.
    labels : dict of str to int array (n,)
        The clusters of the end.
    """
    found = {}
    for name, a in labels.items():
        group = graph.group(name)
        for part in (*group.producers, *group.norms) if a.max() + 1 < len(a) else ():
            module = layer_of(model, part)
            for role, path in paths_of(module, part).items():
                if isinstance(p := getattr(module, role), nn.Parameter):
                    found[path] = p
    return found


def reading_parameters(model: nn.Module, graph: ChannelGraph, labels: Labels) -> dict[str, nn.Parameter]:
    """Return the weights, by name, that are trained and read filters of a group that merges some.

    Parameters
    ----------
    model : Module
        The network that is trained.
    graph : ChannelGraph
        Its trace.
    labels : dict of str to int array (n,)
        The clusters of the end.
    """
    found = {}
    for name, a in labels.items():
        for part in graph.group(name).readers if a.max() + 1 < len(a) else ():
            module = layer_of(model, part)
            if isinstance(p := module.weight, nn.Parameter) and p.requires_grad:
                found[paths_of(module, part)["weight"]] = p
    return found


def checked_optimizers(given: Sequence[Any]) -> tuple[torch.optim.Optimizer, ...]:
    """Return torch's optimisers inside what was given.

    Parameters
    ----------
    given : sequence
        Optimisers, or wrappers of Accelerate, Lightning or Fabric.

    Raises
    ------
    PDCError
        There is none, or one is no torch optimiser, or it evaluates the loss several times a step.
    """
    if not given:
        raise PDCError("Give the optimiser that trains the network: pruner.attach(optimizer).")
    found = tuple(dict.fromkeys(_that_steps(base_optimizer(each)) for each in given))  # each of them once
    for each in found:
        if not isinstance(each, torch.optim.Optimizer):
            raise PDCError(f"{type(each).__name__} is no torch.optim.Optimizer, whose hooks a pruner needs.")
        if isinstance(each, torch.optim.LBFGS):
            raise PDCError(
                "LBFGS evaluates the loss several times a step, between which filters would not be tied; use an "
                "optimiser with one gradient per step, such as SGD or AdamW."
            )
    return found


def _that_steps(optimizer: Any) -> Any:
    """Return the optimiser inside one such as SAM or Lookahead, since only its steps are those that use gradients."""
    own = {id(p) for group in getattr(optimizer, "param_groups", ()) for p in group["params"]}
    for inner in vars(optimizer).values() if isinstance(optimizer, torch.optim.Optimizer) else ():
        if isinstance(inner, torch.optim.Optimizer) and own == {
            id(p) for group in inner.param_groups for p in group["params"]
        }:
            return _that_steps(inner)
    return optimizer


def check_attachment(
    model: nn.Module, graph: ChannelGraph, labels: Labels, optimizers: Sequence[torch.optim.Optimizer]
) -> frozenset[nn.Parameter]:
    """Return the weights that get tied, or raise where they cannot be.

    Parameters
    ----------
    model : Module
        The network that is trained.
    graph : ChannelGraph
        Its trace.
    labels : dict of str to int array (n,)
        The clusters of the end.
    optimizers : sequence of Optimizer
        All that train the network.

    Returns
    -------
    frozenset of Parameter
        Those of all groups that merge filters.

    Raises
    ------
    PDCError
        A weight that is to be tied is trained by none of the optimisers, belongs to another module too, or is tied by
        another pruner already.
    """
    tied = tied_parameters(model, graph, labels)
    _check_owners(model, tied)
    trained = {p for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]}
    missing = [name for name, p in tied.items() if p.requires_grad and p not in trained]
    if missing:
        raise PDCError(
            f"{_listed(missing)} would be tied but {'is' if len(missing) == 1 else 'are'} in none of the optimisers. "
            "Attach all optimisers that train the network, attach(one, other); make the optimiser from the same model "
            "that the Pruner has; or freeze what is not trained with requires_grad_(False)."
        )
    weights = frozenset(tied.values())
    if any(weights & other.tied for optimizer in optimizers for other in hooks_of(optimizer)):
        raise PDCError("Another pruner ties the same weights at every step of this optimiser; detach() it first.")
    return weights


def attachment_notes(
    model: nn.Module, graph: ChannelGraph, labels: Labels, optimizers: Sequence[torch.optim.Optimizer]
) -> tuple[str, ...]:
    """Return what of the network's training cannot be tied, in words.

    Parameters
    ----------
    model : Module
        The network that is trained.
    graph : ChannelGraph
        Its trace.
    labels : dict of str to int array (n,)
        The clusters of the end.
    optimizers : sequence of Optimizer
        All that train the network.

    Returns
    -------
    tuple of str
        One on weights that no attached optimiser trains, and one per optimiser that keeps more than numbers per weight;
        empty for SGD, AdamW and most others that train all.
    """
    tied = tied_parameters(model, graph, labels)
    notes, seen = [], set()
    trained = {p for optimizer in optimizers for p in parameters_of(optimizer)}
    if left := [name for name, p in reading_parameters(model, graph, labels).items() if p not in trained]:
        verbs = ("reads", "is") if len(left) == 1 else ("read", "are")
        notes.append(
            f"{_listed(left)} {verbs[0]} merged filters and {verbs[1]} in none of the attached optimisers. If another "
            "one trains them, attach all: attach(one, other)."
        )
    owner = {p: optimizer for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]}
    for optimizer in optimizers:
        odd: dict[str, list[str]] = {}
        kernel = next((p for p in tied.values() if owner.get(p) is optimizer and p.dim() > 1), None)
        if kernel is not None and not steps_filter_by_filter(optimizer, kernel):
            notes.append(
                f"{type(optimizer).__name__} measures whole tensors, so what a step does to a filter depends on the "
                "others. Tied filters stay tied, but do not move exactly as one in their place would."
            )
        for name, p in tied.items():
            if owner.get(p) is not optimizer or (key := (id(optimizer), p.shape, p.dtype)) in seen:
                continue
            seen.add(key)
            for slot in other_state(state_after_a_step(optimizer, p) or {}, p):
                odd.setdefault(slot, []).append(name)
        if odd:
            kept = ", ".join(f"{slot} (of {_listed(names)})" for slot, names in odd.items())
            notes.append(
                f"{type(optimizer).__name__} keeps {kept} in another form than one number per weight. Filters are tied "
                "after every step, but this memory is not, so tied filters do not move exactly as one would."
            )
    return tuple(notes)


def _check_owners(model: nn.Module, tied: dict[str, nn.Parameter]) -> None:
    """Refuse a weight that two modules share, since tying it for one would change the other."""
    names: dict[nn.Parameter, list[str]] = {}
    for module_name, module in model.named_modules():
        for key, p in module.named_parameters(recurse=False):
            names.setdefault(p, []).append(f"{module_name}.{key}" if module_name else key)
    for p in tied.values():
        if len(names[p]) > 1:
            raise PDCError(
                f"{names[p][0]} and {' and '.join(names[p][1:])} are one parameter, so tying filters of one module "
                "would change the other. Leave their groups whole in the plan, or give each module its own weights."
            )


def _listed(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
