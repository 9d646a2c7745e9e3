"""What operations along an axis do to channel ids: means, softmax, sorting. Over channels they mix them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree

from pdc_core.graph.ids import Ids
from pdc_core.graph.operations import LAST_AXIS, PLACE_OF_AXIS
from pdc_core.graph.shapes import apply, ids_in, on_meta
from pdc_core.graph.widths import SizeRules


class AxisRules(SizeRules):
    """Reductions, softmax, and what sorts, adds up or picks along an axis. The rules for tensors build on it."""

    def reduce(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Means and the like over pixels keep channels apart; over channels they mix them."""
        x = args[0]
        value = apply(self.node, on_meta(args), on_meta(kwargs))
        named = _axis(name, args, kwargs)
        dims = range(len(x.shape)) if named is None else [named] if isinstance(named, int) else list(named)
        over = {d % len(x.shape) for d in dims}
        outputs = pytree.tree_leaves(value)
        batched = not x.of_weight and x.batch in over
        if x.dim in over or batched or any(not isinstance(v, Tensor) for v in outputs):
            return self.unknown(f"{name} over channels", lambda: value, args, kwargs)

        def kept(v: Tensor) -> Ids:
            dim, batch = (d - (v.dim() < len(x.shape)) * sum(o < d for o in over) for d in (x.dim, x.batch))
            return replace(x.like(v), dim=dim, batch=batch)

        return pytree.tree_map(kept, value)

    def softmax(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Softmax over another axis than the channels' keeps channels apart."""
        x = args[0]
        if self.leaves_channels(x, _axis(name, args, kwargs, 1 if name == "normalize" else None)):
            return x
        return self.unknown(name, lambda: on_meta(x), args, kwargs)

    def along(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Sorting, running sums and picks along another axis than the channels' keep channels apart."""
        x, value = args[0], apply(self.node, on_meta(args), on_meta(kwargs))
        if not isinstance(x, Ids) or not self.leaves_channels(x, _axis(name, args, kwargs)):
            return self.unknown(name, lambda: value, args, kwargs)
        for index in ids_in((args[1:], kwargs)):
            self.notes.freeze(index, f"says what {self.node.name} picks")
        return pytree.tree_map(x.like, value)

    def triangle(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The triangle of the last two axes."""
        x = args[0]
        if x.dim < len(x.shape) - 2:
            return x
        return self.unknown(name, lambda: on_meta(x), args, kwargs)

    @staticmethod
    def leaves_channels(x: Ids, dim: Any) -> bool:
        """Return whether an axis is neither the channels' nor that of the batch."""
        return isinstance(dim, int) and dim % len(x.shape) not in (x.dim, x.batch)


def _axis(name: str, args: tuple[Any, ...], kwargs: dict[str, Any], default: int | None = None) -> Any:
    """Return the axis, or the axes, along which an operation works; None for all."""
    place = PLACE_OF_AXIS.get(name, 1)
    default = -1 if name in LAST_AXIS else default
    found = kwargs.get("dim", kwargs.get("axis", args[place] if len(args) > place else default))
    return default if isinstance(found, bool) else found  # x.var(True): of all values
