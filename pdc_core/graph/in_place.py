"""Writing in place while torch.fx traces: `x += y`, `x.add_(y)` and `x[i] = y`, which torch.fx would lose or refuse.

From then on a name that was written to stands for the new value. What shares its memory (a view of it) is written to as
well; the program makes such writes in place, too.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from torch import Tensor, fx, nn
from torch.nn.modules.dropout import _DropoutNd

from pdc_core.errors import PDCError
from pdc_core.graph.kinds import class_of, is_field
from pdc_core.graph.operations import SHAPE, SIZES, TRANSPOSED, UNCHANGED, operation

_OPERATORS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {  # method -> (a new value, in place)
    "__iadd__": (operator.add, operator.iadd),
    "__isub__": (operator.sub, operator.isub),
    "__imul__": (operator.mul, operator.imul),
    "__itruediv__": (operator.truediv, operator.itruediv),
    "__ipow__": (operator.pow, operator.ipow),
}
_SAME_MEMORY = SHAPE | UNCHANGED | {"identity", "dropout", "alpha_dropout", "feature_dropout"}  # or may have it
_SAME_MEMORY_MODULES = (nn.Identity, nn.Flatten, nn.Unflatten, _DropoutNd)


class Proxy(fx.Proxy):
    """A stand-in for a value that knows when it is written to, and which class the value has."""

    __array_ufunc__ = None  # so that a number of numpy leaves `number * stand-in` to the stand-in

    def __getattr__(self, name: str) -> Any:
        if not hasattr(Tensor, name) and not is_field(name) and self.is_tensor():
            raise AttributeError(f"tensors have no attribute {name!r}")  # so that `hasattr` answers as it should
        return super().__getattr__(name)

    def is_tensor(self) -> bool:
        """Return whether the value is known to be a tensor."""
        return not _is_size(self.node) and class_of(self.node, self.tracer) is Tensor

    def stands_for(self) -> type:
        """Return the class of the value, or raise where only its sizes tell, which are followed in a second trace."""
        found = None if _is_size(self.node) else class_of(self.node, self.tracer)
        if found is None:
            raise PDCError(f"its forward pass asks for the class of {self.node.name}")
        return found

    def length(self) -> Any:
        """Return what `len` would."""
        return len(self)

    def __setitem__(self, index: Any, value: Any) -> None:
        self.tracer.create_proxy("call_function", operator.setitem, (self, index, value), {})


def _writing(anew: Callable[..., Any], in_place: Callable[..., Any]) -> Callable[[Proxy, Any], Any]:
    def write(self: Proxy, other: Any) -> Any:
        if _is_size(self.node):
            return anew(self, other)
        root = self.tracer.root  # type: ignore[attr-defined]
        shared = any(_same_memory(node, root) for node in (self.node, *self.node.users))
        self.node = self.tracer.create_proxy("call_function", in_place if shared else anew, (self, other), {}).node
        return self

    return write


for _name, _functions in _OPERATORS.items():
    setattr(Proxy, _name, _writing(*_functions))


def writes_in_place(node: fx.Node) -> bool:
    """Return whether a node writes to its first argument: `add_` and the like, or an operator such as `+=`."""
    if node.op not in ("call_function", "call_method"):
        return False
    if node.op == "call_function" and getattr(node.target, "__module__", None) == "_operator":
        return any(node.target is in_place for _, in_place in _OPERATORS.values())
    name = operation(node)
    return name.endswith("_") and not name.startswith(("_", "function "))


def read_elsewhere(node: fx.Node, root: nn.Module) -> bool:
    """Return whether what a node writes to in place is read after it by another name, such as a view's.

    Parameters
    ----------
    node : fx.Node
        A node for which `writes_in_place`.
    root : nn.Module
        The network.
    """
    place = {each: i for i, each in enumerate(node.graph.nodes)}
    found, waiting = set[fx.Node](), [node.all_input_nodes[0]]
    while waiting:
        each = waiting.pop()
        if each in found or each is node:
            continue
        found.add(each)
        if _same_memory(each, root):
            waiting += each.all_input_nodes[:1]
        waiting += [user for user in each.users if place[user] < place[node] and _same_memory(user, root)]
    return any(place[user] > place[node] for each in found for user in each.users)


def _same_memory(node: fx.Node, root: nn.Module) -> bool:
    """Return whether a node may give its input itself, a view of it, or what it wrote to it."""
    if node.op == "call_module":
        module = root.get_submodule(str(node.target))
        return isinstance(module, _SAME_MEMORY_MODULES) or bool(getattr(module, "inplace", False))
    if node.op not in ("call_function", "call_method"):
        return False
    if node.target is getattr:
        return node.args[1] in TRANSPOSED | {"data"}
    return operation(node) in _SAME_MEMORY or bool(node.kwargs.get("inplace")) or writes_in_place(node)


def _is_size(node: fx.Node) -> bool:
    """Return whether a node's value is a number of a shape, or computed from such numbers alone."""
    if node.op in ("call_function", "call_method") and operation(node) in SIZES:
        return node.target is not getattr or node.args[1] in ("shape", "ndim")
    inputs = node.all_input_nodes
    return node.op == "call_function" and len(inputs) > 0 and all(_is_size(each) for each in inputs)
