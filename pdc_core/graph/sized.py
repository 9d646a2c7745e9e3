"""Tracing with what is known of every value, where torch.fx's symbols do not do.

torch.fx refuses a forward pass that looks at a tensor's shape in an `if`, asks how many axes or parts there are, or
hands a size to Python's `math`. For such networks every operation is followed on channel ids while it is traced. First
only widths of layers are numbers, so that the program holds for images of every size; where that does not do, all sizes
are the numbers of the example. The size of the batch stays open even then.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, fx

from pdc_core.errors import PDCError
from pdc_core.graph.faults import needs_values, user_line
from pdc_core.graph.ids import Ids, Weight
from pdc_core.graph.in_place import Proxy
from pdc_core.graph.interpreter import ChannelInterpreter
from pdc_core.graph.tracer import Tracer


class SizedTracer(Tracer):
    """Traces and follows channel ids at once, so that the forward pass may ask for axes and parts.

    Parameters
    ----------
    walk : ChannelInterpreter
        Follows the ids.
    dtype, device : torch.dtype, torch.device
        Of the network.
    buffers : bool
        As for `Tracer`.
    fixed : bool
        Whether all sizes, but that of the batch, are the numbers of the example; else only the widths of layers are.
    """

    def __init__(
        self, walk: ChannelInterpreter, dtype: torch.dtype, device: torch.device, buffers: bool, fixed: bool
    ) -> None:
        super().__init__(buffers, walk.inputs)
        self.walk, self.dtype, self.device, self.fixed = walk, dtype, device, fixed

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        node = super().create_node(*args, **kwargs)
        self._following = True
        try:
            self.walk.run_node(node)
        except Exception as error:
            if needs_values(error):
                raise PDCError(f"its forward pass depends on values{user_line()}") from error
            raise
        finally:
            self._following = False
        return node

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return SizedProxy(node, self)

    def to_bool(self, obj: fx.Proxy) -> bool:
        value = self.walk.values[obj.node]
        if obj.node in self.walk.open_sizes:
            raise PDCError(self.refusal(obj, "depends on the size of the image"))
        if isinstance(value, bool | int) and (obj.node not in self.walk.batch_sizes or self.compares_batches(obj.node)):
            return bool(value)
        raise PDCError(self.refusal(obj))

    def compares_batches(self, node: fx.Node) -> bool:
        """Return whether a node asks if two sizes that both grow with the batch are equal: if so, at any batch."""
        sizes = [each in self.walk.batch_sizes for each in node.args if isinstance(each, fx.Node)]
        return node.target in (operator.eq, operator.ne) and sizes == [True, True]

    def iter(self, obj: fx.Proxy) -> Iterator[Any]:
        value = self.walk.values[obj.node]
        if isinstance(value, tuple | list):
            return iter([obj[i] for i in range(len(value))])  # type: ignore[index]
        raise PDCError(self.refusal(obj, "loops over values"))

    def refusal(self, obj: fx.Proxy, what: str = "branches on values") -> str:
        """Return a sentence on what cannot be followed, with the line of the user's code."""
        if obj.node in self.walk.batch_sizes:
            what = "depends on the size of the batch"
        return f"its forward pass {what}{user_line()}"


class SizedProxy(Proxy):
    """A stand-in for a tensor that knows its sizes; that of the batch stays open."""

    tracer: SizedTracer

    def stands_for(self) -> type:
        value = self.tracer.walk.values.get(self.node)
        return Tensor if value is None or isinstance(value, Ids | Weight) else type(value)

    def _ids(self) -> Ids | Weight | None:
        value = self.tracer.walk.values.get(self.node)
        return value if isinstance(value, Ids | Weight) else None

    def __getattr__(self, name: str) -> Any:
        ids = self._ids()
        if ids is not None:
            if name == "shape":
                return self.size()
            if name == "ndim":
                return len(ids.shape)
            if name == "dtype":
                return ids.dtype or self.tracer.dtype
            if name == "device":
                return self.tracer.device
            if name in ("is_cuda", "is_sparse", "is_nested", "requires_grad", "is_mkldnn", "is_quantized"):
                return name == "is_cuda" and self.tracer.device.type == "cuda"
        return super().__getattr__(name)

    def size(self, dim: int | None = None) -> Any:
        ids = self._ids()
        if ids is None:
            args = () if dim is None else (dim,)
            return self.tracer.create_proxy("call_method", "size", (self, *args), {})
        if dim is None:
            return _Size(self.size(d) for d in range(len(ids.shape)))
        at = dim % len(ids.shape)
        walk = self.tracer.walk
        if isinstance(ids, Weight) or ids.of_weight:
            return ids.shape[at]
        if at != ids.batch and (self.tracer.fixed or walk.is_width(ids, at)):
            return ids.shape[at]
        proxy = self.tracer.create_proxy("call_method", "size", (self, at), {})
        (walk.batch_sizes if at == ids.batch else walk.open_sizes).add(proxy.node)
        return proxy

    def dim(self) -> Any:
        ids = self._ids()
        return len(ids.shape) if ids else self.tracer.create_proxy("call_method", "dim", (self,), {})

    ndimension = dim

    def is_floating_point(self) -> bool:
        ids = self._ids()
        return ids is None or ids.dtype is None or ids.dtype.is_floating_point

    def length(self) -> Any:
        ids = self._ids()
        return len(self) if ids is None else self.size(0)

    def __len__(self) -> int:
        value = self.tracer.walk.values.get(self.node)
        if isinstance(value, tuple | list):
            return len(value)
        if isinstance(value, Weight) or (isinstance(value, Ids) and value.of_weight):
            return value.shape[0]
        if isinstance(value, Ids) and value.batch and isinstance(size := self.size(0), int):
            return size
        raise PDCError(self.tracer.refusal(self, "asks for the length of a batch"))

    def __index__(self) -> int:
        raise PDCError(self.tracer.refusal(self, "uses a value as a number"))

    __int__ = __index__

    def __float__(self) -> float:
        raise PDCError(self.tracer.refusal(self, "uses a value as a number"))

    def item(self) -> Any:
        raise PDCError(self.tracer.refusal(self, "uses a value as a number"))


class _Size(tuple[Any, ...]):
    """A tensor's shape: numbers, with the batch open."""

    def numel(self) -> Any:
        result: Any = 1
        for size in self:
            result = size * result
        return result

    def __getitem__(self, index: Any) -> Any:
        found = super().__getitem__(index)
        return _Size(found) if isinstance(index, slice) else found

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, tuple) or len(self) != len(other):
            return False
        pairs = sorted(zip(self, other, strict=True), key=lambda pair: any(isinstance(size, Proxy) for size in pair))
        return all(bool(a == b) for a, b in pairs)  # numbers first: where they differ, the batch is not asked for

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = tuple.__hash__
