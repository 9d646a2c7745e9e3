"""Random small networks: whatever hypothesis builds either folds exactly, at the predicted price, or is frozen."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import pdc_core as pdc
from tests.networks import counted_macs, lively_, parameters, random_labels, reconstructed_and_folded

Step = tuple[str, int, int]
KINDS = ("conv", "conv", "depthwise", "grouped", "norm", "add", "multiply", "cat", "split", "pad", "shared", "shuffle")


class RandomNetwork(nn.Module):
    """A program of steps on a growing list of tensors, then a reader of the last three of them.

    Parameters
    ----------
    steps : (kind, first, second); the numbers choose among the tensors made so far and the widths.
    """

    def __init__(self, steps: list[Step]) -> None:
        super().__init__()
        self.program: list[tuple[str, int, int, str]] = []
        self.parts = nn.ModuleDict()
        widths = [3]
        for number, (kind, a, b) in enumerate(steps):
            self._add(f"{kind}{number}", kind, a % len(widths), b, widths)
        self.last = list(range(len(widths)))[-3:]
        self.read = nn.Conv2d(sum(widths[i] for i in self.last), 4, 1)
        self.classify = nn.Linear(4 * 4, 3)

    def _add(self, name: str, kind: str, i: int, b: int, widths: list[int]) -> None:
        """Make the step's module, note what it does, and append the widths that it makes."""
        width, j = widths[i], b % len(widths)
        even = width % 2 == 0
        if kind == "shared":  # the same convolution again, where its input fits
            again = [n for n, m in self.parts.items() if isinstance(m, nn.Conv2d) and m.in_channels == width]
            if again:
                self.program.append(("module", i, 0, again[b % len(again)]))
                widths.append(self.parts[again[b % len(again)]].out_channels)  # type: ignore[arg-type]
        elif kind in ("add", "multiply") and widths[j] == width:
            self.program.append((kind, i, j, ""))
            widths.append(width)
        elif kind == "cat":
            self.program.append((kind, i, j, ""))
            widths.append(width + widths[j])
        elif kind == "split" and width > 1:
            at = 1 + b % (width - 1)
            self.program.append((kind, i, at, ""))
            widths += [at, width - at]
        elif kind == "pad":
            self.program.append((kind, i, b % 3, ""))
            widths.append(width + 1 + b % 3)
        elif kind == "shuffle" and even:
            self.program.append((kind, i, width // 2, ""))
            widths.append(width)
        elif kind in ("conv", "depthwise", "grouped", "norm") and (kind != "grouped" or even):
            out = {"conv": 2 + b % 5, "grouped": 2 * (1 + b % 3)}.get(kind, width)
            groups = {"depthwise": width, "grouped": 2}.get(kind, 1)
            convolution = nn.Conv2d(width, out, 1 + 2 * (b % 2), padding=b % 2, groups=groups, bias=b % 3 > 0)
            self.parts[name] = nn.BatchNorm2d(width) if kind == "norm" else convolution
            self.program.append(("module", i, 0, name))
            widths.append(out)

    def forward(self, x: Tensor) -> Tensor:
        made = [x]
        for kind, i, j, name in self.program:
            t = made[i]
            if kind == "module":
                made.append(F.relu(self.parts[name](t)))
            elif kind == "add":
                made.append(t + made[j])
            elif kind == "multiply":
                made.append(t * torch.sigmoid(made[j]))
            elif kind == "cat":
                made.append(torch.cat([t, made[j]], 1))
            elif kind == "split":
                first, second = torch.split(t, [j, self.rest(i, j)], 1)
                made += [first, second]
            elif kind == "pad":
                made.append(F.pad(t, (0, 0, 0, 0, j, 1)))
            elif kind == "shuffle":
                made.append(t.view(t.size(0), 2, j, 4, 4).transpose(1, 2).reshape(t.size(0), 2 * j, 4, 4))
        read = self.read(torch.cat([made[i] for i in self.last], 1))
        return self.classify(F.adaptive_avg_pool2d(read, 2).flatten(1))

    def rest(self, i: int, j: int) -> int:
        """Return the width of the second part of a split of tensor i."""
        return self.widths()[i] - j

    def widths(self) -> list[int]:
        """Return the width of every tensor, as the program makes them."""
        widths = [3]
        for kind, i, j, name in self.program:
            if kind == "module":
                part = self.parts[name]
                widths.append(part.num_features if isinstance(part, nn.BatchNorm2d) else part.out_channels)  # type: ignore[arg-type]
            elif kind == "cat":
                widths.append(widths[i] + widths[j])
            elif kind == "split":
                widths += [j, widths[i] - j]
            elif kind == "pad":
                widths.append(widths[i] + j + 1)
            else:
                widths.append(widths[i])
        return widths


steps = st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 30), st.integers(0, 30)), min_size=2, max_size=9)


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(
    steps=steps,
    residual=st.sampled_from(["internal", "shared", "gather"]),
    keep=st.floats(0.1, 0.9),
    seed=st.integers(0, 99),
)
def test_a_random_network_folds_exactly_or_is_frozen(steps: list[Step], residual: str, keep: float, seed: int) -> None:
    net = lively_(RandomNetwork(steps), seed)
    x = torch.randn(3, 3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    graph = pdc.trace(net, x[:1], residual)
    labels = random_labels(graph, keep, seed)
    tied, small = reconstructed_and_folded(net, graph, labels)
    check = pdc.check_equal(tied, small, x)
    assert check.relative <= 1e-9
    counts = {name: int(a.max()) + 1 for name, a in labels.items()}
    priced = pdc.plan_cost(graph, counts)
    assert (priced.macs, priced.params) == (counted_macs(small, x), parameters(small))
