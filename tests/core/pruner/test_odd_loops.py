"""Loops that nobody planned for: each works as written, or is refused in a sentence that says what to do."""

from __future__ import annotations

import copy
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

import pdc_core as pdc
from tests.pruning import X, Y, network, pruner_of, train
from tests.training import same_networks

SINGLE = X.float()


def single(**changes: Any) -> tuple[nn.Module, torch.optim.Optimizer, pdc.Pruner]:
    model = network().float()
    return model, torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9), pruner_of(model, **changes)


class Waiting(TorchDispatchMode):
    """Counts the operations for which a device would be waited for: reading a number, a size that depends on values."""

    FORBIDDEN = ("_local_scalar_dense", "nonzero", "equal", "unique", "masked_select")

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.__name__.partition(".")[0]
        if name in self.FORBIDDEN:
            self.seen.append(name)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("schedule", ["merge", "progressive", "tied"])
def test_no_step_waits_for_the_device(schedule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Merges read numbers, a few times a run; the steps between them, with guidance, read none."""
    model = pdc.load_model("resnet20", weights=False).train()
    x, y = torch.randn(8, 1, 8, 8), torch.arange(8)
    plan = pdc.Plan.uniform(pdc.trace(copy.deepcopy(model).eval(), x[:1]), 0.5)
    pruner = pdc.Pruner(model, plan, x[:1], steps=40, images=x, schedule=schedule, merges=2, tied_after=0.5)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)  # Adam reads its own step count
    pruner.attach(optimizer)

    def step() -> None:
        out = model(x)
        (F.cross_entropy(out, y) + pruner.guidance(x, out)).backward()
        optimizer.step()
        optimizer.zero_grad()

    step()  # makes the momentum, which is looked up once
    step()
    for name in ("tolist", "numpy", "cpu", "__bool__", "__float__", "__int__", "item"):
        monkeypatch.setattr(torch.Tensor, name, lambda *args, name=name: pytest.fail(f"a step calls Tensor.{name}"))
    with Waiting() as waiting:
        step()
    assert not waiting.seen
    monkeypatch.undo()
    with Waiting() as waiting:
        _ = float(x.sum()), torch.equal(x, x)
    assert waiting.seen == ["_local_scalar_dense", "equal"]


@pytest.mark.skipif(not any(map(shutil.which, ("g++", "clang++", "c++"))), reason="torch.compile needs a C++ compiler")
def test_a_network_compiled_by_inductor_trains_and_folds() -> None:
    ended = []
    for compiled in (False, True):  # small, since compiling takes all the time of this test
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(2, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(96, 3)).eval()
        plan = pdc.Plan.uniform(pdc.trace(model, SINGLE[:1]), 0.5)
        called = torch.compile(model) if compiled else model
        pruner = pdc.Pruner(called, plan, SINGLE[:1], steps=3, images=SINGLE, merges=2, teacher=False)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
        pruner.attach(optimizer)
        for _ in range(3):
            F.cross_entropy(called(SINGLE), Y).backward()
            optimizer.step()
            optimizer.zero_grad()
        ended.append(pruner.fold())
    for a, b in zip(*(net.state_dict().values() for net in ended), strict=True):
        assert torch.allclose(a, b, rtol=1e-3, atol=1e-4)


def test_a_loop_that_runs_under_autocast_from_end_to_end_merges_and_folds_in_full_precision() -> None:
    merged = []
    for enabled in (False, True):
        model, optimizer, pruner = single(steps=4)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            pruner.attach(optimizer)
            merged.append(copy.deepcopy(model))
            train(model, optimizer, 4)
            small = pruner.fold()
        assert pdc.check_equal(model.eval(), small.eval(), SINGLE).equal
    assert same_networks(*merged)


def test_a_network_that_is_cast_after_the_pruner_was_made_is_merged_and_guided() -> None:
    model, optimizer, pruner = single(steps=4)
    model.bfloat16()
    pruner.attach(optimizer)
    x = SINGLE.bfloat16()
    for _ in range(4):
        out = model(x)
        (F.cross_entropy(out.float(), Y) + pruner.guidance(x, out)).backward()
        optimizer.step()
        optimizer.zero_grad()
    assert pdc.check_equal(model.eval(), pruner.fold().eval(), x).relative < 0.1


class SAM(torch.optim.Optimizer):
    """Sharpness-aware minimisation (Foret et al., arXiv 2010.01412): two gradients, one step of another optimiser."""

    def __init__(self, params: Any, **defaults: Any) -> None:
        super().__init__(params, defaults)
        self.base_optimizer = torch.optim.SGD(self.param_groups, **defaults)
        self.param_groups = self.base_optimizer.param_groups

    @torch.no_grad()
    def first_step(self) -> None:
        ps = [p for group in self.param_groups for p in group["params"]]
        norm = torch.stack([p.grad.norm() for p in ps]).norm()
        self.away = [(p, 0.05 * p.grad / norm) for p in ps]
        for p, e in self.away:
            p.add_(e)

    @torch.no_grad()
    def second_step(self) -> None:
        for p, e in self.away:
            p.sub_(e)
        self.base_optimizer.step()


def test_an_optimiser_around_another_is_attached_where_the_gradients_are_used() -> None:
    model = network()
    optimizer = SAM(model.parameters(), lr=0.01, momentum=0.9)
    pruner = pruner_of(model, steps=6).attach(optimizer)
    for _ in range(6):
        for step in (optimizer.first_step, optimizer.second_step):
            optimizer.zero_grad()
            F.cross_entropy(model(X), Y).backward()
            step()
    assert pruner.done == 6
    assert pdc.check_equal(model.eval(), pruner.fold().eval(), X).relative < 1e-9


def test_an_optimiser_that_steps_inside_the_backward_pass_is_refused() -> None:
    model, _, pruner = single()
    each = {p: torch.optim.SGD([p], lr=0.01) for p in model.parameters()}
    pruner.attach(*each.values())
    for p in model.parameters():
        p.register_post_accumulate_grad_hook(lambda p: each[p].step())
    with pytest.raises(pdc.PDCError, match=r"SGD steps inside the backward pass.*after loss\.backward\(\)"):
        F.cross_entropy(model(SINGLE), Y).backward()


def test_two_pruners_of_one_network_are_refused_and_of_two_networks_are_not() -> None:
    model, other = network(), network(1)
    optimizer = torch.optim.SGD([*model.parameters(), *other.parameters()], lr=0.01)
    pruner, _ = pruner_of(model).attach(optimizer), pruner_of(other).attach(optimizer)
    with pytest.raises(pdc.PDCError, match="Another pruner ties the same weights"):
        pruner_of(model).attach(optimizer)
    pruner.detach()
    pruner_of(model).attach(optimizer)


@dataclass
class Outputs:
    logits: Tensor
    names: tuple[str, ...] = ("a", "b", "c")


class Checkpointed(nn.Module):
    """Computes its features again in the backward pass, and returns a dataclass."""

    def __init__(self) -> None:
        super().__init__()
        self.body = network().float()

    def forward(self, x: Tensor) -> Outputs:
        return Outputs(checkpoint(self.body, x, use_reentrant=False))


def test_activation_checkpointing_and_a_dataclass_of_outputs() -> None:
    model = Checkpointed()
    plan = pdc.Plan.uniform(pdc.trace(model.eval(), SINGLE[:1]), 0.5)
    pruner = pdc.Pruner(model.train(), plan, SINGLE[:1], steps=4, images=SINGLE, outputs={"logits": "softmax"})
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    pruner.attach(optimizer)
    for _ in range(4):
        out = model(SINGLE)
        (F.cross_entropy(out.logits, Y) + pruner.guidance(SINGLE, out)).backward()
        optimizer.step()
        optimizer.zero_grad()
    small = pruner.fold().eval()
    assert pdc.check_equal(model.eval(), small, SINGLE).equal
    assert isinstance(small(SINGLE), Outputs)
    with torch.no_grad():
        small.body[0].bias.add_(1.0)
    assert not pdc.check_equal(model, small, SINGLE).equal  # what is in the dataclass is compared
    nothing = nn.Module()
    nothing.forward = lambda x: None
    with pytest.raises(pdc.PDCError, match="no floating-point tensor"):
        pdc.check_equal(nothing, nothing, SINGLE)


def test_layers_are_thawed_one_after_the_other_by_one_optimiser() -> None:
    model = network()
    body = list(model[:7].parameters())
    for p in body:
        p.requires_grad_(False)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.01, momentum=0.9)
    pruner = pruner_of(model).attach(optimizer)
    train(model, optimizer, 3)
    for p in body:
        p.requires_grad_(True)
    optimizer.add_param_group({"params": body})
    train(model, optimizer, 7, 3)
    assert pdc.check_equal(model.eval(), pruner.fold().eval(), X).relative < 1e-9


def test_another_optimiser_takes_over_in_the_middle() -> None:
    model, optimizer, pruner = single()
    pruner.attach(optimizer)
    train(model, optimizer, 4)
    pruner.detach()
    other = torch.optim.AdamW(model.parameters(), lr=1e-3)
    pruner.attach(other)
    train(model, other, 6, 4)
    assert pruner.done == 10
    assert pdc.check_equal(model.eval(), pruner.fold().eval(), SINGLE).equal


class Generator(nn.Module):
    """Images (b, 1, 8, 8) from noise (b, 8)."""

    def __init__(self) -> None:
        super().__init__()
        self.dense, self.up, self.norm = nn.Linear(8, 64), nn.ConvTranspose2d(16, 12, 4, 2, 1), nn.BatchNorm2d(12)
        self.out = nn.ConvTranspose2d(12, 1, 4, 2, 1)

    def forward(self, z: Tensor) -> Tensor:
        return torch.tanh(self.out(F.relu(self.norm(self.up(F.relu(self.dense(z)).view(-1, 16, 2, 2))))))


def test_a_generator_is_pruned_while_its_adversary_trains_beside_it() -> None:
    model, critic, z = Generator(), nn.Sequential(nn.Flatten(), nn.Linear(64, 1)), torch.randn(64, 8)
    graph = pdc.trace(model.eval(), z[:1])
    plan = pdc.Plan.uniform(graph, 0.5)
    pruner = pdc.Pruner(model.train(), plan, z[:1], steps=6, images=z, outputs="matching")
    one, other = (torch.optim.Adam(net.parameters()) for net in (model, critic))
    pruner.attach(one)
    for _ in range(6):
        made = model(z)
        F.softplus(critic(made.detach())).mean().backward()
        other.step()
        (F.softplus(-critic(made)).mean() + pruner.guidance(z, made)).backward()
        one.step()
        for each in (one, other):
            each.zero_grad()
    small = pruner.fold().eval()
    assert pruner.done == 6
    assert pdc.cost(small, z[:1]).macs == pdc.plan_cost(graph, plan).macs
    assert pdc.check_equal(model.eval(), small, z).equal


def test_two_views_of_an_image_are_guided_each_in_one_step() -> None:
    model, optimizer, pruner = single(steps=5)
    pruner.attach(optimizer)
    for _ in range(5):
        views = SINGLE, SINGLE.flip(3)
        outs = [model(view) for view in views]
        loss = F.cosine_embedding_loss(*outs, torch.ones(24))
        (loss + sum(pruner.guidance(*pair) for pair in zip(views, outs, strict=True))).backward()
        optimizer.step()
        optimizer.zero_grad()
    assert pdc.check_equal(model.eval(), pruner.fold().eval(), SINGLE).equal


def test_a_loop_that_goes_back_to_its_best_weights_ends_with_finish() -> None:
    model, optimizer, pruner = single()
    best = copy.deepcopy(model.state_dict())
    pruner.attach(optimizer)
    train(model, optimizer, 10)
    assert pruner.summary().tied
    model.load_state_dict(best)
    assert not pruner.summary().tied
    with pytest.raises(pdc.PDCError, match=r"come apart.*finish\(\)"):
        pruner.fold()
    small = pruner.finish().eval()
    assert pdc.check_equal(model.eval(), small, SINGLE).equal
    assert pdc.cost(small, SINGLE[:1]).macs == pruner.summary().macs_end


def spoil(model: nn.Module) -> None:
    for p in model.parameters():
        p.data.fill_(torch.nan)


@pytest.mark.parametrize("schedule", ["merge", "tied"])
def test_a_training_that_diverges_is_told_so(schedule: str) -> None:
    model, optimizer, pruner = single(schedule=schedule)
    pruner.attach(optimizer)
    train(model, optimizer, 1)
    spoil(model)
    if schedule == "merge":
        with pytest.raises(pdc.PDCError, match=r"activations in group '0' are not finite.*lower the learning rate"):
            train(model, optimizer, 9)
    else:
        train(model, optimizer, 9)
    for end in (pruner.finish, *([pruner.fold] if schedule == "tied" else [])):
        with pytest.raises(pdc.PDCError, match=r"0\.weight holds NaN or infinite numbers, so training has diverged"):
            end()


def test_a_layer_that_is_silent_on_all_images_is_merged_without_harm() -> None:
    model, optimizer, pruner = single()
    with torch.no_grad():
        model[4].weight.zero_()
        model[4].bias.fill_(-1.0)  # behind it a ReLU
    pruner.attach(optimizer)
    train(model, optimizer, 10)
    small = pruner.fold().eval()
    assert all(t.isfinite().all() for t in small.state_dict().values())
    assert pdc.check_equal(model.eval(), small, SINGLE).equal


WRONG: tuple[tuple[dict[str, Any], str], ...] = (
    ({"images": SINGLE.numpy()}, r"images is ndarray; give a tensor of shape \(b, 2, 6, 6\)"),
    ({"images": [SINGLE]}, "images is list"),
    ({"images": SINGLE[:, :1]}, r"images has shape \(24, 1, 6, 6\)"),
    ({"images": SINGLE[:0]}, r"images has shape \(0, 2, 6, 6\)"),
    ({"images": SINGLE.byte()}, "images holds uint8 numbers"),
    ({"images": SINGLE / 0}, "images holds NaN or infinite"),
    ({"steps": 4.5}, "steps=4.5: give the number"),
    ({"steps": "all"}, "steps=all: give the number"),
    ({"steps": True}, "steps=True: give the number"),
    ({"images": SINGLE[:1]}, r"images has shape \(1, 2, 6, 6\)"),
    ({"teacher": "resnet56"}, "The teacher is 'resnet56'; give a network"),
    ({"teacher": True}, "The teacher is True; give a network"),
    ({"recluster_every": "often"}, "recluster_every=often: give a share"),
)


@pytest.mark.parametrize(("given", "match"), WRONG, ids=[match[:24] for _, match in WRONG])
def test_what_a_pruner_cannot_use_is_said_when_it_is_made(given: dict[str, Any], match: str) -> None:
    with pytest.raises(pdc.PDCError, match=match):
        pruner_of(network().float(), **given)
    with pytest.raises(pdc.PDCError, match="The plan is dict"):
        pdc.Pruner(network(), {"0": 2}, X[:1])
    with pytest.raises(pdc.PDCError, match="The network is NoneType; give a trained"):
        pdc.Pruner(None, pdc.Plan(), X[:1])
    with pytest.raises(pdc.PDCError, match="The network is ReLU without weights"):
        pdc.Pruner(nn.ReLU(), pdc.Plan(), X[:1])
    with pytest.raises(pdc.PDCError, match="The example is ndarray"):
        pdc.Pruner(network(), pdc.Plan(), X[:1].numpy())


@pytest.mark.parametrize("state", [None, [], "state", {"format": 1}, {"format": 2}])
def test_what_is_no_state_of_a_pruner_is_said(state: Any) -> None:
    with pytest.raises(pdc.PDCError, match="state of a pruner"):
        pruner_of(network()).load_state_dict(state)


def test_a_network_in_which_nothing_can_be_merged_is_refused_when_the_pruner_is_made() -> None:
    net = network().float()
    for name in ("0", "3", "8"):
        torch.nn.utils.parametrizations.weight_norm(net.get_submodule(name))
    plan = pdc.Plan.uniform(pdc.trace(copy.deepcopy(net).eval(), SINGLE[:1]), 0.5)
    with pytest.raises(pdc.PDCError, match=r"Nothing can be merged .* \(Conv2d with WeightNorm\)"):
        pdc.Pruner(net, plan, SINGLE[:1], images=SINGLE)


class Inherited(torch.optim.SGD):
    """Calls the step of its parent class, which torch hooks as well."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        return super().step(closure)


@pytest.mark.parametrize("fails", [False, True])
def test_a_step_that_calls_the_step_of_its_parent_class_is_one_step(fails: bool) -> None:
    ended = []
    for kind in (torch.optim.SGD, Inherited):
        model = network()
        optimizer = kind(model.parameters(), lr=0.01, momentum=0.9)
        pruner = pruner_of(model, steps=6).attach(optimizer)
        for step in range(6):
            train(model, optimizer, 1, step)
            if fails:
                with pytest.raises(ZeroDivisionError):
                    optimizer.step(lambda: 1 / 0)
        assert pruner.done == 6
        ended.append(pruner.fold())
    assert same_networks(*ended)


class Listed(torch.optim.SGD):
    """Keeps a list of matrices per weight, from its first step on; a copy of it makes no step by itself."""

    made = False

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:
        if not self.made and not self.state:
            params = [p for group in self.param_groups for p in group["params"]]
            if len(params) == 1:
                raise RuntimeError("all or none")
        super().step()
        for group in self.param_groups:
            for p in group["params"]:
                self.state[p]["factors"] = [torch.eye(len(p))]


def test_memory_that_only_shows_after_the_first_step_is_said_then() -> None:
    model = network()
    optimizer = Listed(model.parameters(), lr=0.01)
    pruner = pruner_of(model).attach(optimizer)
    assert not pruner.notes
    with pytest.warns(UserWarning, match=r"Listed keeps factors .*0\.weight.* in another form"):
        train(model, optimizer, 1)
    assert pruner.done == 1
    assert "Listed keeps factors" in str(pruner.summary())


def test_an_optimiser_that_is_given_twice_is_attached_once() -> None:
    ended = []
    for twice in (False, True):
        model = network()
        optimizer, pruner = torch.optim.SGD(model.parameters(), lr=0.01), pruner_of(model)
        pruner.attach(*[optimizer] * (2 if twice else 1))
        train(model, optimizer, 10)
        assert pruner.done == 10
        ended.append(pruner.fold())
    assert same_networks(*ended)


def test_a_reader_that_is_unfrozen_makes_the_steps_that_it_would_make_in_the_folded_network() -> None:
    ended = []
    for early in (False, True):
        model = network()
        head = model[-1].requires_grad_(False)
        optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-3)
        pruner = pruner_of(model, schedule="merge", merges=1).attach(optimizer)
        train(model, optimizer, 2)
        if early:
            model, _ = pruner.fold_now(optimizer)
            head = model[-1]
        head.requires_grad_(True)
        optimizer.add_param_group({"params": head.parameters(), "lr": 1e-2})
        train(model, optimizer, 4, first=2)
        ended.append(pruner.fold().eval())
    assert pdc.check_equal(*ended, X).relative <= 1e-8


def test_readers_that_no_attached_optimiser_trains_are_named() -> None:
    model = network()
    one = torch.optim.SGD(model[:-1].parameters(), lr=0.01)
    other = torch.optim.Adam(model[-1].parameters())
    pruner = pruner_of(model)
    with pytest.warns(UserWarning, match=r"10\.weight reads merged filters and is in none of the attached optimisers"):
        pruner.attach(one)
    pruner.detach()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pruner.attach(one, other)


def test_steps_that_a_fused_optimiser_skips_do_not_count() -> None:
    model, _, pruner = single()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    pruner.attach(optimizer)
    for overflow in (True, False):
        F.cross_entropy(model(SINGLE), Y).backward()
        optimizer.found_inf = torch.tensor(float(overflow))  # as torch.amp.GradScaler tells it
        optimizer.grad_scale = torch.tensor(1.0)
        optimizer.step()
        del optimizer.found_inf, optimizer.grad_scale
        optimizer.zero_grad()
    assert pruner.done == 1


def test_a_pruner_that_is_detached_leaves_no_hooks_and_guides_again_once_attached() -> None:
    model = pdc.load_model("resnet20", weights=False)
    x = torch.randn(8, 1, 8, 8)
    plan = pdc.Plan.uniform(pdc.trace(model, x[:1]), 0.5)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    pruner = pdc.Pruner(model, plan, x[:1], steps=4, images=x).attach(optimizer)
    assert any(m._forward_hooks for m in model.modules())
    pruner.detach()
    assert not any(m._forward_hooks for m in model.modules())
    pruner.attach(optimizer)
    assert pruner.guidance(x, model(x)).isfinite()


def test_an_average_of_full_width_is_folded_after_the_network_was() -> None:
    model = network()
    average = torch.optim.swa_utils.AveragedModel(model, use_buffers=True)
    optimizer, pruner = torch.optim.SGD(model.parameters(), lr=0.01), pruner_of(model)
    pruner.attach(optimizer)
    for step in range(10):
        train(model, optimizer, 1, first=step)
        average.update_parameters(model)
    whole = pruner.fold(average)
    pruner.fold_now()
    assert same_networks(pruner.fold(average), whole)


def test_a_state_is_checked_where_the_network_is_folded_before_the_next_step() -> None:
    model = network()
    optimizer, pruner = torch.optim.SGD(model.parameters(), lr=0.01), pruner_of(model)
    pruner.attach(optimizer)
    train(model, optimizer, 6)
    state, weights = pruner.state_dict(), copy.deepcopy(model.state_dict())
    again = network()
    other = torch.optim.SGD(again.parameters(), lr=0.01)
    resumed = pruner_of(again).attach(other)
    resumed.load_state_dict(state)
    with pytest.raises(pdc.PDCError, match="weights are not those"):
        resumed.fold_now(other)
    resumed.load_state_dict(state)
    again.load_state_dict(weights)
    small, _ = resumed.fold_now(other)
    train(small, other, 2, first=6)
    assert resumed.done == 8


def test_blocks_whose_history_was_not_kept_are_refused() -> None:
    model = pdc.load_model("resnet20", weights=False)
    x = torch.randn(4, 1, 8, 8, requires_grad=True)
    plan = pdc.Plan.uniform(pdc.trace(model, x[:1]), 0.5)
    pruner = pdc.Pruner(model, plan, x[:1], steps=4, images=x.detach())
    model.layer2.forward = lambda h: checkpoint(nn.Sequential(*model.layer2), h, use_reentrant=True)
    with pytest.raises(pdc.PDCError, match=r"block 'layer2\.0' has no history.*use_reentrant=False"):
        pruner.guidance(x, model(x))
    model.layer2.forward = lambda h: checkpoint(nn.Sequential(*model.layer2), h, use_reentrant=False)
    assert pruner.guidance(x, model(x)).requires_grad


class WholeNorms(torch.optim.Optimizer):
    """Steps of one length per tensor, as LAMB and others make them."""

    def __init__(self, params: Any) -> None:
        super().__init__(params, {"lr": 0.01})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p.sub_(group["lr"] * p.grad / p.grad.norm().clamp_min(1e-12))


def test_an_optimiser_that_measures_whole_tensors_is_named() -> None:
    model = network()
    with pytest.warns(UserWarning, match="WholeNorms measures whole tensors"):
        pruner_of(model).attach(WholeNorms(model.parameters()))
