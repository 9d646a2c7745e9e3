"""A residual sum in its smallest form, and four ways to fold it."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from pdc_core.costs import cost
from pdc_core.folding import fold
from pdc_core.graph import trace
from pdc_core.lesson.network import LABELS, change, checked, numbers, small_network
from pdc_core.lesson.removing import added_kernels
from pdc_core.reconstruct import reconstruct_


class SmallSum(nn.Module):
    """A residual sum in its smallest form: y = head(relu(a + b)), a = stem(x), b = second(relu(first(relu(a))))."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 3, 3, padding=1, bias=False)
        self.first = nn.Conv2d(3, 3, 1, bias=False)
        self.second = nn.Conv2d(3, 3, 1, bias=False)
        self.head = nn.Conv2d(3, 1, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return (b, 1, h, w)."""
        a = self.stem(x)
        b = self.second(torch.relu(self.first(torch.relu(a))))
        return self.head(torch.relu(a + b))


def small_sum() -> SmallSum:
    """Return `SmallSum` with weights written by hand, float64, eval mode."""
    model = SmallSum().double().eval()
    mix = {
        "first": [[1.0, 0.5, -0.5], [0.9, 0.6, -0.4], [-0.5, 0.2, 1.0]],
        "second": [[0.7, 0.6, 0.1], [-0.3, 0.8, 0.4], [0.2, -0.5, 0.9]],
        "head": [[0.8, 0.5, -0.6]],
    }
    weights = {f"{name}.weight": numbers(rows)[:, :, None, None] for name, rows in mix.items()}
    model.load_state_dict({"stem.weight": small_network().filters.weight, **weights})
    return model.requires_grad_(False)


@dataclass(frozen=True)
class Treatment:
    """One way to prune around a residual sum.

    Attributes
    ----------
    error : float
        The largest change of the output by folding, 0 or more.
    macs : int
        MACs that remain, for one image.
    """

    error: float
    macs: int


def treatments(image: Tensor) -> dict[str, Treatment]:
    """Return the MACs and the error of four ways to fold `small_sum` to two clusters per layer.

    "one producer" ties the stem alone and removes its channel from the sum; "internal", "shared" and "gather" are those
    of `pdc_core.trace`. Errors are measured against the network whose filters are already tied: they are those of
    folding alone.

    Parameters
    ----------
    image : Tensor, shape (1, 1, h, w)
        One grey image.

    Returns
    -------
    dict of str to Treatment
        By the name of the way.
    """
    x, model = checked(image), small_sum()
    found = {"one producer": _one_producer(model, x)}
    for residual in ("internal", "shared", "gather"):
        graph = trace(model, x, residual=residual)
        # the second layer merges other filters than the stem, where the treatment allows it
        labels = {g.name: np.array([0, 1, 1]) if g.name == "second" else LABELS for g in graph.clusterable}
        tied = reconstruct_(copy.deepcopy(model), graph, labels)
        folded = fold(tied, graph, labels)
        found[residual] = Treatment(change(tied, folded, x), cost(folded, x).macs)
    return found


def _one_producer(model: SmallSum, x: Tensor) -> Treatment:
    """Tie the stem's filters 0 and 1, leave the second layer alone, and treat the sum as if both were tied."""
    tied = copy.deepcopy(model)
    tied.stem.weight[:2] = tied.stem.weight[:2].mean(dim=0)
    wrong, keep = copy.deepcopy(tied), [0, 2]
    wrong.stem.weight = nn.Parameter(tied.stem.weight[keep], requires_grad=False)
    wrong.second.weight = nn.Parameter(tied.second.weight[keep], requires_grad=False)
    for reader, known in ((wrong.first, tied.first), (wrong.head, tied.head)):
        reader.weight = nn.Parameter(added_kernels(known.weight), requires_grad=False)
    return Treatment(change(tied, wrong, x), cost(wrong, x).macs)
