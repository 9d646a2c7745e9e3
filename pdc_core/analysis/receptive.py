"""Receptive fields: the input pixels that a value inside a network depends on, for any forward pass.

The network runs once on an image, and every operation of that run is repeated on *reaches*: of each value, the first
and the last input row and column that it depends on (`reach_rules`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.weak import WeakTensorKeyDictionary

from pdc_core.analysis.reach_rules import NOTHING, rule_of
from pdc_core.copies import twin
from pdc_core.errors import PDCError
from pdc_core.graph import ChannelGroup
from pdc_core.graph.readers import reading


@torch.no_grad()
def receptive_fields(model: nn.Module, group: ChannelGroup, shape: Sequence[int]) -> NDArray[np.int64]:
    """Return the pixels that each response of a group depends on, at every place where its first reader sees it.

    The pixels of a response lie in a box, from its first to its last row and column; padding is not part of it. The box
    is what the operations connect, whatever the weights: behind a squeeze-and-excitation block it is the whole image.
    An operation without a rule connects its whole output to all that enters it. Our choice.

    Parameters
    ----------
    model : nn.Module
        The network that was traced, in eval mode; not changed.
    group : ChannelGroup
        The group, of n filters.
    shape : sequence of int
        Channels, height and width of an image.

    Returns
    -------
    array of int64, shape (n, places, 4)
        Top, bottom, left and right of each box, the bottom row and right column not included; places are counted as in
        `Responses`. A box without pixels belongs to a constant.

    Raises
    ------
    PDCError
        If nothing reads the group.

    Examples
    --------
    >>> import pdc_core as pdc
    >>> net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 1)).eval()
    >>> group = pdc.trace(net, torch.zeros(1, 1, 5, 5)).groups[0]
    >>> boxes = receptive_fields(net, group, (1, 5, 5))
    >>> boxes[0, 0].tolist(), boxes[0, 12].tolist()
    ([0, 2, 0, 2], [1, 4, 1, 4])
    """
    if not group.readers:
        raise PDCError(f"Nothing reads group {group.name!r}, so its filters have no responses.")
    network = twin(model).cpu()  # hooks on a network that others use would hear their images
    image = torch.zeros(1, *shape, dtype=next(network.parameters()).dtype)
    run = _Reaches(image)
    found: list[Tensor] = []
    with reading(network, [(group.readers[0], lambda x: found.append(run.reach(x)))]), run:
        network(image)
    boxes = found[0].flatten(2).movedim(0, 2)  # of (4, n, m, 1, ...), at the first call of the reader
    boxes = torch.where(boxes == NOTHING, 0.0, boxes * torch.tensor([-1.0, 1.0, -1.0, 1.0]))
    return boxes.numpy().astype(np.int64)


class _Reaches(TorchDispatchMode):
    """Keeps for every tensor of a run its reach, (4, *shape): -first row, last row + 1, -first column, last column + 1.

    All four grow with the pixels that matter, so that two reaches are joined by their maximum.
    """

    def __init__(self, image: Tensor) -> None:
        super().__init__()
        height, width = image.shape[-2:]
        rows = torch.arange(height, dtype=torch.float32)[:, None].expand(height, width)
        columns = torch.arange(width, dtype=torch.float32).expand(height, width)
        pixel = torch.stack([-rows, rows + 1, -columns, columns + 1])
        self.known = WeakTensorKeyDictionary({image: pixel[:, None, None].expand(4, *image.shape).contiguous()})
        self.made = WeakTensorKeyDictionary()  # from no pixel so far; something may be written into it

    def reach(self, x: Tensor) -> Tensor:
        """Return the reach of a tensor; that of nothing if no pixel went into it."""
        found: Tensor | None = self.known.get(x)
        return torch.full((4, *x.shape), NOTHING) if found is None else found

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        entering = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor) and x in self.known]
        outputs = [x for x in tree_leaves(result) if isinstance(x, Tensor)]
        if entering:
            self._note(func, args, kwargs, entering, outputs)
        else:
            for x in outputs:
                self.made[x] = True
        return result

    def _note(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], entering: list[Tensor], outputs: list[Tensor]
    ) -> None:
        """Give each output of an operation its reach."""
        rule = rule_of(func)
        largest = [max(float(self.known[x][side].amax()) for x in entering if x.numel()) for side in range(4)]
        sides = []
        for side in range(4):

            def swapped(x: Any, side: int = side) -> Any:
                if not isinstance(x, Tensor):
                    return x
                if x in self.known:
                    return self.known[x][side]
                return torch.tensor(NOTHING).expand(x.shape) if x.is_floating_point() else x  # an index stays

            found = rule(func, tree_map(swapped, args), tree_map(swapped, kwargs), outputs[0]) if rule else ()
            sides.append(tree_leaves(found))
        for i, output in enumerate(outputs):
            whole = torch.tensor(largest).reshape(4, *([1] * output.dim())).expand(4, *output.shape)
            fits = all(i < len(of) and of[i].shape == output.shape for of in sides)
            self.known[output] = torch.stack([of[i] for of in sides]) if fits else whole.contiguous()
        if func._schema.is_mutable and (len(entering) > 1 or args[0] in self.made):
            self._spread(args[0])

    def _spread(self, changed: Tensor) -> None:
        """Join what was written in place to the reach of other views of the same memory, as a whole."""
        memory = changed.untyped_storage().data_ptr()
        largest = self.known[changed].flatten(1).amax(1)
        for x in [*self.known, *self.made]:
            if x is not changed and x.numel() and x.untyped_storage().data_ptr() == memory:
                self.known[x] = torch.maximum(self.reach(x), largest.reshape(4, *([1] * x.dim())))
