"""Pruning under every kind of optimiser: memory stays tied, what cannot be tied is said, the rest of a loop goes on."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import pdc_core as pdc
from pdc_core.reconstruct.optimizers import per_weight_state
from tests.pruning import X, Y, network, pruner_of, train
from tests.training import same_networks


class Lion(torch.optim.Optimizer):
    """Sign of an interpolation of momentum and gradient (Chen et al., arXiv 2302.06675); makes its memory anew."""

    def __init__(self, params: Any, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.99)) -> None:
        super().__init__(params, {"lr": lr, "betas": betas})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:
        for group in self.param_groups:
            one, two = group["betas"]
            for p in group["params"]:
                if p.grad is not None:
                    m = self.state[p].get("m", torch.zeros_like(p))
                    p.sub_(group["lr"] * torch.sign(one * m + (1 - one) * p.grad))
                    self.state[p]["m"] = two * m + (1 - two) * p.grad  # another tensor at every step


OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.01),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9, nesterov=True, foreach=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=1e-3, amsgrad=True),
    "adamw fused": lambda p: torch.optim.AdamW(p, lr=1e-3, fused=True),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=1e-3, momentum=0.5, centered=True),
    "nadam": lambda p: torch.optim.NAdam(p, lr=1e-3),
    "lion": lambda p: Lion(p, lr=1e-3),
}


def split(model: nn.Module) -> list[dict[str, Any]]:
    """Two parameter groups, weight decay and another rate on matrices only."""
    parts = [[p for p in model.parameters() if (p.dim() > 1) == matrices] for matrices in (True, False)]
    return [{"params": parts[0], "weight_decay": 0.01}, {"params": parts[1], "weight_decay": 0.0, "lr": 5e-3}]


@pytest.fixture(params=[name for name in OPTIMIZERS if name != "lion"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def rows_are_tied(model: nn.Module, pruner: pdc.Pruner, optimizer: torch.optim.Optimizer) -> bool:
    """Whether all that layers and norms hold, and the optimiser keeps of it, is the same within every cluster."""
    norms = {"0": "1", "3": "4", "8": None}
    for name, a in pruner.tying.tied.items():
        for module in filter(None, (name, norms[name])):
            own = model.get_submodule(module)
            tensors = [t for t in own.state_dict().values() if t.dim() and t.is_floating_point()]
            tensors += [t for p in own.parameters() for t in per_weight_state(optimizer.state[p], p).values()]
            for t in tensors:
                first = torch.from_numpy(a).new_tensor([int((a == c).argmax()) for c in a])
                if not torch.equal(t, t[first]):
                    return False
    return True


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_weights_and_memory_are_tied_after_every_step(name: str) -> None:
    model = network()
    optimizer = OPTIMIZERS[name](split(model) if name != "lion" else model.parameters())
    pruner = pruner_of(model, steps=6)
    pruner.attach(optimizer)
    assert not pruner.notes
    for step in range(6):
        train(model, optimizer, 1, step, pruner)
        assert rows_are_tied(model, pruner, optimizer), step
    small = pruner.fold().eval()
    assert pdc.check_equal(model.eval(), small, X).relative < 1e-9
    assert pdc.cost(small, X[:1]).macs == pruner.summary().macs_end


def test_loops_resume_bit_for_bit_at_any_step(kind: str) -> None:
    def begun() -> tuple[nn.Module, torch.optim.Optimizer, pdc.Pruner]:
        model = network().float()  # loading a state in float64 makes NAdam's own products of another precision
        optimizer = OPTIMIZERS[kind](split(model))
        return model, optimizer, pruner_of(model, steps=6).attach(optimizer)

    whole, optimizer, pruner = begun()
    states = []
    for step in range(6):
        parts = (pruner, pruner.model, optimizer)
        states.append(copy.deepcopy([part.state_dict() for part in parts]))
        train(whole, optimizer, 1, step, pruner)
    for after in (1, 3, 5):
        model, other, again = begun()
        torch.save(states[after], buffer := io.BytesIO())
        buffer.seek(0)
        kept = torch.load(buffer, weights_only=True)
        again.load_state_dict(kept[0])
        model.load_state_dict(kept[1])
        other.load_state_dict(kept[2])
        train(model, other, 6 - after, after, again)
        assert same_networks(model, whole), after
        assert same_networks(again.fold(), pruner.fold())


def test_a_resumed_loop_with_weights_of_another_step_is_refused() -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    pruner = pruner_of(model).attach(optimizer)
    train(model, optimizer, 2)
    state = pruner.state_dict()
    train(model, optimizer, 3)
    pruner.load_state_dict(state)
    with pytest.raises(pdc.PDCError, match="not those that this pruner's state was saved with"):
        train(model, optimizer, 1)
    other = pruner_of(network(), schedule="tied")
    with pytest.raises(pdc.PDCError, match="another network, plan or schedule"):
        other.load_state_dict(state)


def test_a_weight_that_no_optimiser_trains_is_named() -> None:
    model = network()
    pruner = pruner_of(model)
    with pytest.raises(pdc.PDCError, match=r"3\.weight, 3\.bias, 4\.weight and 3 more would be tied but are in none"):
        pruner.attach(torch.optim.SGD(list(model.parameters())[:4], lr=0.1))
    with pytest.raises(pdc.PDCError, match="in none of the optimisers"):
        pruner.attach(torch.optim.SGD(copy.deepcopy(model).parameters(), lr=0.1))
    model[3].requires_grad_(False)
    model[4].requires_grad_(False)
    frozen = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.01)
    pruner.attach(frozen)
    train(model, frozen, 10)
    assert pruner.summary().tied


def test_a_weight_that_two_modules_share_is_named() -> None:
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 1)).eval()
    model.append(nn.Conv2d(4, 4, 1).eval())
    model[5].weight = model[4].weight  # both are left whole by the trace
    graph = pdc.trace(model, X[:1].float())
    assert {g.name for g in graph.clusterable} == {"0"}
    model[0].spare = nn.Conv2d(2, 4, 3).eval()  # which no trace sees
    model[0].spare.weight = model[0].weight
    plan = pdc.Plan.uniform(graph, 0.5)
    pruner = pdc.Pruner(model, plan, X[:1].float(), steps=3, images=X.float(), schedule="progressive")
    with pytest.raises(pdc.PDCError, match=r"0\.weight and 0\.spare\.weight are one parameter"):
        pruner.attach(torch.optim.SGD(model.parameters(), lr=0.1))


def test_memory_that_is_not_per_weight_is_said_and_left_alone() -> None:
    model = network().float()
    optimizer = torch.optim.Adafactor(model.parameters(), lr=1e-3)
    pruner = pruner_of(model, steps=4)
    with pytest.warns(UserWarning, match=r"Adafactor keeps .*row_var.* in another form"):
        pruner.attach(optimizer)
    train(model, optimizer, 4)
    assert pdc.check_equal(model.eval(), pruner.fold().eval(), X.float()).equal
    assert "Adafactor keeps" in str(pruner.summary())
    with pytest.raises(pdc.PDCError, match="cannot be folded"):
        pruner.fold_now(optimizer)


def test_what_is_no_optimiser_for_a_pruner_is_refused() -> None:
    model = network()
    pruner = pruner_of(model)
    for given, match in (
        ((), "Give the optimiser"),
        ((model,), "Sequential is no torch.optim.Optimizer"),
        ((torch.optim.LBFGS(model.parameters()),), "LBFGS evaluates the loss several times"),
    ):
        with pytest.raises(pdc.PDCError, match=match):
            pruner.attach(*given)
    pruner.attach(torch.optim.SGD(model.parameters(), lr=0.1))
    with pytest.raises(pdc.PDCError, match="attached already"):
        pruner.attach(torch.optim.SGD(model.parameters(), lr=0.1))
    pruner.detach()
    pruner.attach(torch.optim.SGD(model.parameters(), lr=0.1))


@pytest.mark.parametrize("kind", ["momentum", "adamw", "nadam"], indirect=True)
def test_an_optimiser_goes_on_with_the_folded_network(kind: str) -> None:
    model = network()
    optimizer = OPTIMIZERS[kind](split(model))
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    pruner = pruner_of(model, steps=12, tied_after=0.3, centroid="uniform").attach(optimizer)
    train(model, optimizer, 6, 0, pruner)
    with pytest.raises(pdc.PDCError, match="that are attached, all of them"):
        pruner.fold_now(torch.optim.SGD(model.parameters(), lr=0.1))
    small, same = pruner.fold_now(optimizer)
    assert same is optimizer
    assert pruner.model is small
    wide = copy.deepcopy(model)
    losses = []
    for net in (wide, small):
        out = net(X)
        loss = F.cross_entropy(out, Y)
        loss.backward()
        losses.append(float(loss.detach()))
    assert losses[0] == pytest.approx(losses[1], rel=1e-9)
    own = {p for group in optimizer.param_groups for p in group["params"]}
    assert own == set(small.parameters())
    for p, kept in optimizer.state.items():
        assert all(t.shape == p.shape for t in kept.values() if isinstance(t, torch.Tensor) and t.dim())
    before = [p.detach().clone() for p in small.parameters()]
    optimizer.step()
    optimizer.zero_grad()
    schedule.step()
    assert any(not torch.equal(a, b) for a, b in zip(before, small.parameters(), strict=True))
    train(small, optimizer, 5, 7, pruner)
    assert same_networks(pruner.fold(), small)
    assert pruner.summary().macs_now == pdc.cost(small, X[:1]).macs


EXACT: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.9, weight_decay=1e-2),
    "adamw": lambda p: torch.optim.AdamW(p, lr=1e-3, weight_decay=0.1, amsgrad=True),
    "adam": lambda p: torch.optim.Adam(p, lr=1e-3, weight_decay=1e-2),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=1e-3, momentum=0.5, centered=True, weight_decay=1e-2),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=1e-2, eps=1e-5),
    "nadam": lambda p: torch.optim.NAdam(p, lr=1e-3, weight_decay=1e-2),
}  # not Lion: the sign of a gradient that is 0 but for rounding, such as a bias before a norm, differs


@pytest.mark.parametrize("kind", EXACT)
def test_the_folded_network_makes_the_steps_that_the_tied_one_would_have_made(kind: str) -> None:
    """With weight decay, and also where the step of an optimiser does not depend on the length of a gradient."""
    ended = []
    for folds in (True, False):
        model = network()
        optimizer = EXACT[kind](model.parameters())
        pruner = pruner_of(model, steps=12, schedule="merge", merges=1).attach(optimizer)
        train(model, optimizer, 4, 0, pruner)
        if folds:
            pruner.fold_now()
        train(pruner.model, optimizer, 4, 4, pruner)
        ended.append(pruner.fold())
    for a, b in zip(*(net.state_dict().values() for net in ended), strict=True):
        assert torch.allclose(a.double(), b.double(), rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize(
    "use",
    [
        lambda pruner, model: pruner.summary(),
        lambda pruner, model: model(X[:1]),
        lambda pruner, model: model.state_dict(),
    ],
    ids=["pruner", "forward", "state_dict"],
)
def test_a_step_that_was_interrupted_leaves_no_larger_weights(use: Any) -> None:
    model = network()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    pruner = pruner_of(model, steps=12, schedule="merge", merges=1).attach(optimizer)
    before = {name: t.clone() for name, t in model.state_dict().items()}
    for p in model.parameters():
        p.grad = torch.zeros_like(p)

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    handle = optimizer.register_step_pre_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        optimizer.step()
    handle.remove()
    changed = [name for name, p in model.named_parameters() if not torch.equal(p, before[name])]
    assert changed  # as the step sees them
    use(pruner, model)
    for name, t in model.named_parameters():
        assert torch.allclose(t, before[name], rtol=1e-7), name
    optimizer.step()
    assert not model._forward_pre_hooks
    assert not model._state_dict_pre_hooks


def test_a_state_after_folding_resumes_with_the_small_network() -> None:
    def begun() -> tuple[pdc.Pruner, torch.optim.Optimizer]:
        model = network()
        optimizer = torch.optim.AdamW(split(model), lr=1e-3)
        return pruner_of(model, steps=8, tied_after=0.2).attach(optimizer), optimizer

    pruner, optimizer = begun()
    train(pruner.model, optimizer, 4, 0, pruner)
    pruner.fold_now()
    train(pruner.model, optimizer, 2, 4, pruner)
    states = copy.deepcopy([part.state_dict() for part in (pruner, pruner.model, optimizer)])
    train(pruner.model, optimizer, 2, 6, pruner)
    again, other = begun()
    again.load_state_dict(states[0])
    again.model.load_state_dict(states[1])
    other.load_state_dict(states[2])
    train(again.model, other, 2, 6, again)
    assert same_networks(again.fold(), pruner.fold())
