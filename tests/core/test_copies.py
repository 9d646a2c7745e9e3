"""Networks that keep what they computed are copied, compressed and folded like others."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import pdc_core as pdc
from pdc_core.copies import twin
from tests.training import FEW


class Keeping(nn.Module):
    """Keeps feature maps, with their history, in an attribute, a list and a dict; and a running mean in a buffer."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Conv2d(1, 8, 3), nn.Conv2d(8, 8, 3), nn.Linear(8, 10)
        self.register_buffer("mean", torch.zeros(8))
        self.last: Tensor | None = None
        self.maps: list[Tensor] = []
        self.by_name: dict[str, tuple[Tensor, ...]] = {}

    def forward(self, x: Tensor) -> Tensor:
        self.last = self.first(x).relu()
        self.maps = [self.last, self.second(self.last).relu()]
        self.by_name = {"maps": tuple(self.maps)}
        if self.training:
            self.mean = self.mean * 0.9 + 0.1 * self.maps[1].detach().mean((0, 2, 3))
        return self.head(self.maps[1].mean((2, 3)) - self.mean)


@pytest.fixture
def net() -> Keeping:
    torch.manual_seed(0)
    net = Keeping().train()
    net(FEW.example)
    with pytest.raises(RuntimeError, match="deepcopy"):
        copy.deepcopy(net)
    return net.eval()


def test_a_copy_is_equal_shares_nothing_and_has_no_history(net: Keeping) -> None:
    other = twin(net)
    assert other.last is other.maps[0] is other.by_name["maps"][0]
    for own, theirs in [(other.last, net.last), (other.maps[1], net.maps[1])]:
        assert own is not None
        assert theirs is not None
        assert torch.equal(own, theirs)
        assert own.data_ptr() != theirs.data_ptr()
        assert own.grad_fn is None
        assert theirs.grad_fn is not None
    for name, tensor in net.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor)
        assert other.state_dict()[name].data_ptr() != tensor.data_ptr()


def test_it_is_distilled_measured_and_folded(net: Keeping) -> None:
    graph = pdc.trace(net, FEW.example)
    plan = pdc.Plan.uniform(graph, 0.5)
    for early in (False, True):
        settings = pdc.Training(epochs=2, batch_size=64, merges=2, fold_when_tied=early)
        result = pdc.distil(net, plan, FEW, settings=settings)
        assert pdc.check_equal(result.reconstructed, result.folded, FEW.example).relative <= 1e-4
        assert pdc.cost(result.folded, FEW.example).macs == pdc.plan_cost(graph, plan).macs
    assert pdc.preview(net, graph, plan, FEW, images=32).macs == pdc.plan_cost(graph, plan).macs
    assert pdc.sensitivity(net, graph, FEW, keeps=(0.5,), images=32, merge_images=32)


def test_a_loop_of_ones_own_prunes_it(net: Keeping) -> None:
    images = FEW.prepare(FEW.train.images[:64])
    plan = pdc.Plan.uniform(pdc.trace(net, images[:1]), 0.5)
    pruner = pdc.Pruner(net, plan, images[:1], steps=4, images=images)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    pruner.attach(optimizer)
    net.train()
    for x in images.split(16):
        pruner.guidance(x, net(x)).backward()
        optimizer.step()
        optimizer.zero_grad()
    small = pruner.fold()
    assert type(small) is Keeping  # though its forward pass is another one while it trains
    assert small.training
    assert pdc.check_equal(net.eval(), small.eval(), images[:8]).relative <= 1e-4


@pytest.fixture
def guided() -> tuple[nn.Module, pdc.Pruner, Tensor]:
    """Return a network with blocks that a pruner watches, in the middle of its loop, the pruner and a batch."""
    images = FEW.prepare(FEW.train.images[:16])
    net = pdc.load_model("resnet20", data="digits", weights="random")
    plan = pdc.Plan.uniform(pdc.trace(net, images[:1]), 0.5)
    pruner = pdc.Pruner(net, plan, images[:1], steps=2, images=images)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    pruner.attach(optimizer)
    pruner.guidance(images, net.train()(images)).backward()
    optimizer.step()
    return net, pruner, images


def copied(net: nn.Module) -> nn.Module:
    return copy.deepcopy(net)


def averaged(net: nn.Module) -> nn.Module:
    return torch.optim.swa_utils.AveragedModel(net).module


def pickled(net: nn.Module) -> nn.Module:
    file = io.BytesIO()
    torch.save(net, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize("how", [copied, averaged, pickled])
def test_a_network_that_a_pruner_guides_is_copied_after_its_forward_pass(
    guided: tuple[nn.Module, pdc.Pruner, Tensor], how: Callable[[nn.Module], nn.Module]
) -> None:
    net, pruner, x = guided
    out = net(x)
    other = how(net)
    assert torch.equal(other.eval()(x), net.eval()(x))
    out = net.train()(x)
    before = pruner.guidance(x, out)
    out = net(x)
    other(-x)  # is not what the teacher is compared with
    assert torch.equal(pruner.guidance(x, out), before)
    assert pdc.trace(other, x[:1]).clusterable


def test_a_network_that_a_pruner_guides_is_traced_and_priced_between_two_steps(
    guided: tuple[nn.Module, pdc.Pruner, Tensor],
) -> None:
    net, pruner, x = guided
    plain = pdc.load_model("resnet20", data="digits", weights="random")
    before = pruner.guidance(x, net(x))
    out = net(x)
    groups = [(g.name, g.size, g.frozen) for g in pdc.trace(net.eval(), x[:1])]
    assert groups == [(g.name, g.size, g.frozen) for g in pdc.trace(plain, x[:1])]
    assert pdc.cost(net, x[:1]) == pdc.cost(plain, x[:1])
    assert torch.equal(pruner.guidance(x, out), before)


class Counting(nn.Module):
    """Counts its calls in a buffer, whenever it is called."""

    calls: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 8, 3), nn.Conv2d(8, 10, 6)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.calls = self.calls + 1
        return self.second(self.first(x).relu()).flatten(1)


def test_tracing_leaves_buffers_as_they_were() -> None:
    net = Counting().eval()
    graph = pdc.trace(net, FEW.example)
    assert isinstance(net.calls, Tensor)
    assert net.calls.item() == 0
    assert graph.clusterable
    result = pdc.distil(net, pdc.Plan.uniform(graph, 0.5), FEW, epochs=1)
    assert pdc.check_equal(result.reconstructed, result.folded, FEW.example).relative <= 1e-4
    assert isinstance(result.folded.calls, Tensor)
