"""Operations whose arguments are given by name, also the tensor that they work on: they fold as the others do."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import pdc_core as pdc
from tests.networks import assert_sound, lively_

X = torch.randn(3, 2, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


class Net(nn.Module):
    """Two convolutions, a function in between, and a classifier."""

    def __init__(self, between: Callable[[Net, Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.read, self.head = nn.Conv2d(2, 6, 3), nn.Conv2d(6, 4, 3), nn.Linear(4, 3)
        self.kernel = nn.Parameter(torch.linspace(-1, 1, 54).view(6, 1, 3, 3))
        self.between = between

    def forward(self, x: Tensor) -> Tensor:
        y = self.between(self, F.relu(input=self.first(input=x), inplace=True))
        y = torch.mean(input=self.read(input=y), dim=(2, 3))
        return F.linear(input=y, weight=self.head.weight, bias=self.head.bias)


OPERATIONS: dict[str, Callable[[Net, Tensor], Tensor]] = {
    "depthwise": lambda n, y: F.conv2d(input=y, weight=n.kernel, groups=6),
    "pooling": lambda n, y: F.avg_pool2d(input=F.max_pool2d(input=y, kernel_size=2, stride=1), kernel_size=2, stride=1),
    "adaptive pooling": lambda n, y: F.adaptive_avg_pool2d(input=y, output_size=4),
    "chunks": lambda n, y: torch.cat(tensors=torch.chunk(input=y, chunks=2, dim=1)[::-1], dim=1),
    "split": lambda n, y: torch.cat(tensors=torch.split(tensor=y, split_size_or_sections=[2, 4], dim=1)[::-1], dim=1),
    "narrow": lambda n, y: torch.cat(
        [y.narrow(dim=1, start=3, length=3), torch.narrow(y, dim=1, start=0, length=3)], 1
    ),
    "shuffle": lambda n, y: y.view(size=(-1, 2, 3, 6, 6)).transpose(dim0=1, dim1=2).reshape(shape=(-1, 6, 6, 6)),
    "reshape": lambda n, y: torch.reshape(input=torch.flatten(input=y, start_dim=2), shape=(-1, 6, 6, 6)),
    "permute": lambda n, y: torch.permute(input=torch.permute(input=y, dims=(0, 2, 3, 1)), dims=(0, 3, 1, 2)),
    "gate": lambda n, y: y * torch.amax(input=y, dim=(2, 3), keepdim=True).expand(size=(-1, -1, 6, 6)),
    "arithmetic": lambda n, y: torch.add(input=torch.mul(input=y, other=2), other=y, alpha=3),
    "condition": lambda n, y: torch.where(condition=y > 0.1, input=y, other=torch.clamp(input=y, min=0.0)),
    "resize": lambda n, y: F.interpolate(input=F.pad(input=y, pad=(1, 1, 1, 1)), scale_factor=2.0),
    "stack": lambda n, y: torch.stack(tensors=[y, -y], dim=-1).amax(dim=-1),
    "one axis more": lambda n, y: torch.squeeze(input=torch.unsqueeze(input=y, dim=1), dim=1),
    "made a tensor": lambda n, y: torch.as_tensor(y) * torch.as_tensor(2.0).to(y),
    "norm": lambda n, y: F.instance_norm(input=y),
}


@torch.fx.wrap
def scaled(by: float, input: Tensor) -> Tensor:
    return input * by


def test_the_program_is_called_with_its_arguments_in_the_right_places() -> None:
    def between(n: Net, y: Tensor) -> Tensor:
        y = torch.where(condition=y > 0.1, input=y, other=scaled(by=0.5, input=y))
        y = torch.searchsorted(sorted_sequence=torch.ones(2, dtype=y.dtype), input=y) + y
        return torch.cat(tensors=[y.view(size=(-1, 6, 36)).reshape(shape=(-1, 6, 6, 6))], dim=1) + n.first.bias[0]

    net = lively_(Net(between))
    graph = pdc.trace(net, X[:1])
    program = torch.fx.GraphModule(net, graph.program.graph)
    for name, value in graph.program.constants.items():
        setattr(program, name, value)
    with torch.no_grad():
        assert torch.allclose(program(X), net(X), rtol=1e-9)


@pytest.mark.parametrize("residual", ["internal", "gather"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_with_arguments_by_name_fold_exactly(name: str, residual: str) -> None:
    graph = assert_sound(lively_(Net(OPERATIONS[name])), X, residual)
    assert {"first", "read"} <= {g.name for g in graph.clusterable}
