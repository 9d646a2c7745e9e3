"""What a pruner refuses at the end: filters that are not tied, a fold that differs, weights of another step."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pdc_core.errors import PDCError
from pdc_core.folding import check_equal
from pdc_core.reconstruct import evaluating
from pdc_core.train.settings import Training


def untied(settings: Training, progress: float, strength: float, begun: bool, counts: bool) -> PDCError:
    """Return the error that says why filters are not tied yet, and what to do.

    Parameters
    ----------
    settings : Training
        The pruner's.
    progress, strength : float, 0 to 1
        How far the run is, and how strongly filters are pulled together.
    begun : bool
        Whether the pruner was attached.
    counts : bool
        Whether it counts steps, rather than being told how far the loop is.
    """
    if not begun:
        return PDCError(
            "Filters are not tied, since the pruner was never attached: call attach(optimizer) before the loop, or "
            "finish() to merge them now, without training."
        )
    when = "after a step" if settings.schedule == "tied" else f"after {settings.tied_after:.0%} of the run"
    return PDCError(
        f"Filters are not tied yet: {progress:.0%} of the run is done, strength {strength:.2f}; they are tied {when}. "
        f"Train on until then{'' if counts else ' (and tell progress())'}, or call finish(), which ties what is left."
    )


def check_same(network: nn.Module, small: nn.Module, shape: tuple[int, ...], images: Tensor | None) -> None:
    """Raise unless a folded network computes the same.

    Parameters
    ----------
    network, small : Module
        At full width and folded, in any mode, which they keep.
    shape : tuple of int
        (c, h, w) of one input.
    images : Tensor, shape (b, c, h, w), or None
        Inputs of which the first few are compared; ones without.

    Raises
    ------
    PDCError
        The outputs differ by more than rounding.
    """
    weights = next(network.parameters())
    x = torch.ones(2, *shape) if images is None else images[:8]
    with evaluating(network), evaluating(small):
        check = check_equal(network, small, x.to(weights.device, weights.dtype))
    if not check.relative <= check.tolerance:  # also where one is not a number
        raise PDCError(
            f"The folded network does not compute the same (relative difference {check.relative:.1e}); please report "
            "this network."
        )


def check_finite(model: nn.Module) -> None:
    """Raise where weights or statistics are not finite, since nothing could be compared then.

    Parameters
    ----------
    model : Module
        The network.

    Raises
    ------
    PDCError
        A tensor holds NaN or infinite numbers.
    """
    for name, t in model.state_dict().items():
        if t.is_floating_point() and not t.isfinite().all():
            raise PDCError(
                f"{name} holds NaN or infinite numbers, so training has diverged: go back to an earlier checkpoint, "
                "lower the learning rate or clip gradients."
            )


def sum_of_weights(model: nn.Module) -> float:
    """Return the sum of all |weights| in double precision, which tells networks of different steps apart.

    Parameters
    ----------
    model : Module
        The network.
    """
    return float(sum(p.detach().abs().sum(dtype=torch.float64) for p in model.parameters()))


def check_weights(model: nn.Module, expected: float) -> None:
    """Raise unless a network has the weights that a pruner's state was saved with.

    Parameters
    ----------
    model : Module
        The network.
    expected : float
        Its `sum_of_weights` then.

    Raises
    ------
    PDCError
        The sums differ by more than another precision or device explains.
    """
    if not abs(sum_of_weights(model) - expected) <= 1e-4 * abs(expected):
        raise PDCError(
            "The network's weights are not those that this pruner's state was saved with. Make and attach the pruner, "
            "load its state, then load pruner.model and the optimiser from the same step."
        )
