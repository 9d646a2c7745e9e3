"""Sizes: numbers that the forward pass takes from tensors. Those that are widths would change with a fold.

A network may be told its own width (`x.view(b, c, -1)`), which a fold changes with it. Where it calculates with a
width, what that was taken from is left whole, so that the number stays what it is. What a size would be in a wider
network, or for twice the batch, tells which sizes are widths, and on which axis of a tensor the batch is.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from pdc_core.graph.ids import Ids, TraceRecord, Weight
from pdc_core.graph.layers import FUNCTIONS
from pdc_core.graph.operations import SHAPE, TRANSPOSED, operation
from pdc_core.graph.shapes import apply, doubled, ids_in, is_ids, on_meta, wider


class SizeRules:
    """What happens to sizes, and to what uses them. The rules for tensors build on it."""

    notes: TraceRecord
    node: fx.Node
    values: dict[fx.Node, Any]
    sized: dict[fx.Node, Any]  # nodes whose value derives from a size -> its value in a wider network
    grown: dict[fx.Node, Any]  # nodes whose value derives from a size -> its value for twice the batch
    calculates: bool  # whether the forward pass uses widths as numbers, so that something was left whole

    def unknown(self, name: str, run: Callable[[], Any], args: Any, kwargs: Any, what: str = "") -> Any:
        raise NotImplementedError

    def literal(self, run: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], what: str) -> Any:
        raise NotImplementedError

    def size(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A tensor's size, number of dims or type. What a wider network would give tells which sizes are widths."""
        if self.node.target is getattr and not isinstance(args[0], Ids | Weight):  # a field of several results
            return getattr(args[0], args[1])
        value = apply(self.node, on_meta(args), kwargs)
        if isinstance(value, Tensor) and args[1] in TRANSPOSED:
            return self.literal(lambda x: getattr(x, args[1]), args[:1], {}, f"{args[1]} ({self.node.name})")
        if isinstance(value, Tensor) and args[1] == "data":
            return args[0]
        if isinstance(value, Tensor):
            return self.unknown(f"attribute {args[1]}", lambda: value, args, kwargs)
        try:
            self.sized[self.node] = apply(self.node, wider(args), kwargs)
        except (RuntimeError, IndexError, TypeError):
            self.sized[self.node] = None
        self.grow(value)
        return value

    def grow(self, value: Any) -> None:
        """Note what the present node's value, a size or computed from sizes, would be for twice the batch."""
        args, kwargs = self.for_twice_the_batch()
        try:
            found = apply(self.node, args, kwargs)
        except Exception:  # as in `wider_value`
            return
        if type(found) is type(value) and found != value:
            self.grown[self.node] = found

    def for_twice_the_batch(self) -> Any:
        """Return the present node's arguments as they would be for twice the batch, on the meta device."""
        args = fx.node.map_arg((self.node.args, self.node.kwargs), lambda n: self.grown.get(n, self.values[n]))
        return doubled(args)

    def with_batch(self, value: Any) -> Any:
        """Return what the present node gives with the axis of the batch noted in it."""
        node = self.node
        entering = [x for x in ids_in([self.values[n] for n in node.all_input_nodes]) if not x.of_weight]
        if not entering or not ids_in(value):
            return value
        if operation(node) == "getitem" and not isinstance(self.values[node.args[0]], Ids):  # type: ignore[index]
            return value
        main = max(entering, key=lambda x: len(x.shape))
        leaves, spec = pytree.tree_flatten(value, is_leaf=is_ids)
        if not all(map(is_ids, leaves)):  # what is no tensor among the results of a layer
            return value
        axes = [main.batch if len(x.shape) == len(main.shape) else x.batch for x in leaves]
        if node.op in ("call_function", "call_method") and (operation(node) in SHAPE or node.target is getattr):
            args, kwargs = self.for_twice_the_batch()
            try:
                twice = pytree.tree_leaves(apply(node, args, kwargs))
            except Exception:  # some of its numbers, or constants, do not grow with the batch
                twice = []
            axes = [
                _grown_axis(x.shape, v.shape, axis) for x, v, axis in zip(leaves, twice or leaves, axes, strict=True)
            ]
        if all(x.batch == at for x, at in zip(leaves, axes, strict=True)):
            return value
        return pytree.tree_unflatten([replace(x, batch=at) for x, at in zip(leaves, axes, strict=True)], spec)

    def wider_value(self, node: fx.Node, now: Any) -> Any:
        """Return what arithmetic on sizes, `now`, would be in a wider network; None where that is unknown.

        What is computed from a width counts as unknown where it happens to be the same: `c // 8` may not stay so.
        """
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda n: self.sized.get(n, self.values.get(n)))
        try:
            value = apply(node, args, kwargs)
        except Exception:  # the sizes of no real network may not fit together
            return None
        picked = node.target is operator.getitem  # one size of a shape
        return None if not picked and self.widths(node) and value == now else value

    def is_width(self, ids: Ids, dim: int) -> bool:
        """Return whether an axis is one of channels that layers made: as wide for images of every size."""
        made = self.notes.written
        return dim == ids.dim and bool(made) and bool(np.isin(ids.channels, np.concatenate(made)).all())

    def widths(self, node: fx.Node | None = None) -> list[fx.Node]:
        """Return the inputs of a node (the present one) whose values are numbers that a fold changes."""
        inputs = (node or self.node).all_input_nodes
        return [n for n in inputs if n in self.sized and self.sized[n] != self.values[n]]

    def measured(self) -> list[Ids | Weight]:
        """Return what the numbers that the present node gets, and that a fold changes, were taken from."""
        waiting, seen, found = self.widths(), set[fx.Node](), list[Ids | Weight]()
        while waiting:
            each = waiting.pop()
            if each in seen:
                continue
            seen.add(each)
            found += [self.values[n] for n in each.all_input_nodes if isinstance(self.values[n], Ids | Weight)]
            waiting += self.widths(each)
        return found

    def freeze_measured(self, *but: Ids | Weight) -> None:
        """Freeze what the present node's numbers were taken from, since it computes something else with other ones."""
        reason = f"has a width that {self.node.name} calculates with"
        for each in self.measured():
            self.calculates = True
            if isinstance(each, Weight):
                if each not in but:
                    self.notes.measured[each.path] = reason
            elif not any(isinstance(b, Ids) and np.array_equal(b.channels, each.channels) for b in but):
                self.notes.freeze(each, reason)

    def own_widths(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Ids | Weight]:
        """Return a layer's input and kernel where it may be told their width (as `groups`): a fold changes both."""
        kind, names = FUNCTIONS[target]
        given = dict(zip(names, args, strict=False)) | kwargs
        told = kind == "layer_norm" or "groups" in names
        own = [given.get("input"), given.get("weight")] if told else []
        return [each for each in own if isinstance(each, Ids | Weight)]


def _grown_axis(shape: tuple[int, ...], twice: tuple[int, ...], otherwise: int) -> int:
    """Return the first axis that differs between two shapes, `otherwise` where none does."""
    return next((d for d, (a, b) in enumerate(zip(shape, twice, strict=False)) if a != b), otherwise)
