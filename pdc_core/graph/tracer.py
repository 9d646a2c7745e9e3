"""Tracing a forward pass with torch.fx: symbolically, and, where that does not do, with the example's real sizes.

torch.fx refuses a forward pass that looks at a tensor's shape in an `if` or hands a size to Python's `math`. For such
networks every operation is followed on channel ids while it is traced, so that sizes are numbers at once. The size of
the batch stays open.
"""

from __future__ import annotations

import itertools
import operator
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn

from pdc_core.errors import PDCError, Untraceable
from pdc_core.graph.calls import call, in_order, in_order_of
from pdc_core.graph.faults import first_line, user_line
from pdc_core.graph.ids import Ids, Weight
from pdc_core.graph.in_place import Proxy, writes_in_place
from pdc_core.graph.interpreter import ChannelInterpreter
from pdc_core.graph.stand_ins import readable
from pdc_core.graph.untouched import Untouched

# While torch.fx traces, it replaces nn.Module.__call__ and __getattr__ for the whole process. One trace at a time, and
# the other threads of a server, which run networks meanwhile, are handed through to what they asked for.
TRACING = threading.Lock()


class Tracer(fx.Tracer):
    """Symbolic tracing with torch's own layers as leaves, also where a user subclassed them without changing them.

    Parameters
    ----------
    buffers : bool
        Whether buffers are followed as parameters are; else computations with them alone are done once and for all.
    given : dict
        The arguments that the network is given, by name (`calls.bound`); all others keep their defaults.
    """

    def __init__(self, buffers: bool, given: Mapping[str, Any]) -> None:
        super().__init__(autowrap_functions=_MAKERS)
        self._autowrap_search.append(torch)  # where torch.fx looks for what it wraps
        self.given = given
        self.proxy_buffer_attributes = buffers
        self._thread = threading.get_ident()
        self._following = False  # while ids are followed, modules act as they always do

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return Proxy(node, self)

    def create_proxy(self, kind: str, target: Any, args: Any, kwargs: Any, *more: Any, **named: Any) -> fx.Proxy:
        if kind in ("call_function", "call_method"):
            args, kwargs = in_order(
                target if isinstance(target, str) else getattr(target, "__name__", ""), args, kwargs
            )
        elif kind == "call_module":
            args, kwargs = in_order_of(self.root.get_submodule(target).forward, args, kwargs)
        made = super().create_proxy(kind, target, args, kwargs, *more, **named)
        if writes_in_place(made.node) and isinstance(args[0], Proxy):
            args[0].node = made.node
        return made

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if self._following or threading.get_ident() != self._thread:
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, fx.Proxy]) -> Any:
        if self._following or threading.get_ident() != self._thread:
            return attr_val
        if isinstance(attr_val, nn.Parameter) or (self.proxy_buffer_attributes and isinstance(attr_val, Tensor)):
            name = self._names.get(id(attr_val))  # torch.fx searches all parameters each time
            if name is not None:
                if name not in parameter_proxy_cache:
                    parameter_proxy_cache[name] = self.create_proxy("get_attr", name, (), {})
                return parameter_proxy_cache[name]
            if not isinstance(attr_val, nn.Parameter):  # a buffer that the forward pass has made anew
                return self.create_proxy("get_attr", self.constant(attr_val), (), {})
        return super().getattr(attr, attr_val, parameter_proxy_cache)

    def constant(self, value: Tensor) -> str:
        """Put a tensor that the forward pass made from nothing on the network, as torch.fx does; return its name."""
        name = next(free for i in itertools.count() if not hasattr(self.root, free := f"_tensor_constant{i}"))
        setattr(self.root, name, value)
        return name

    def create_args_for_root(self, root_fn: Any, is_module: bool, concrete_args: Any = None) -> tuple[Any, list[Any]]:
        given: dict[str, Any] = {}
        for name, value in self.given.items():
            proxy = self.create_proxy("placeholder", name, (), {})
            followed = isinstance(value, Tensor) or type(value) in (int, float)
            given[name] = proxy if followed else value
        forward = self.root.forward  # of the module itself, if it has one in place of its class's
        return lambda: call(forward, given), []

    def trace(self, root: Any, concrete_args: dict[str, Any] | None = None) -> fx.Graph:
        tensors = [*root.named_buffers(), *root.named_parameters()]
        self._names = {id(t): name for name, t in tensors}
        program = super().trace(root, concrete_args)
        for node in program.nodes:
            if node.target in _MAKERS:  # code made of the program would register them by a name that is none
                node.meta.pop("is_wrapped", None)
        return program

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return not isinstance(m, _AS_FUNCTIONS) and calls_torchs_forward(m)


# What makes a tensor from sizes or from a tensor. Unwrapped, these refuse stand-ins, such as that of a batch's size.
_MAKERS = (
    torch.zeros, torch.ones, torch.full, torch.empty, torch.rand, torch.randn, torch.arange, torch.eye, torch.as_tensor,
)  # fmt: skip


_AS_FUNCTIONS = (nn.GLU, nn.ChannelShuffle, nn.PixelShuffle, nn.PixelUnshuffle, nn.Unflatten, nn.Unfold)


def calls_torchs_forward(m: nn.Module) -> bool:
    """Return whether a module computes exactly what the layer of torch.nn does that it is or derives from."""
    if isinstance(m, nn.Sequential | nn.ModuleList):
        return False
    kinds = [base for base in type(m).__mro__ if base.__module__.startswith("torch.nn")]
    own = kinds[0] if kinds else nn.Module
    if hasattr(m, "parametrizations"):  # a class that torch makes on the fly
        return own is not nn.Module
    if own is nn.Module or "forward" in m.__dict__:
        return False
    methods = ("forward", "_conv_forward")
    return all(getattr(type(m), name, None) is getattr(own, name, None) for name in methods)


class SizedTracer(Tracer):
    """Traces and follows channel ids at once, so that the forward pass may use sizes as numbers."""

    def __init__(self, walk: ChannelInterpreter, dtype: torch.dtype, device: torch.device, buffers: bool) -> None:
        super().__init__(buffers, walk.inputs)
        self.walk, self.dtype, self.device = walk, dtype, device

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        node = super().create_node(*args, **kwargs)
        self._following = True
        try:
            self.walk.run_node(node)
        finally:
            self._following = False
        return node

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return SizedProxy(node, self)

    def to_bool(self, obj: fx.Proxy) -> bool:
        value = self.walk.values[obj.node]
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
        if at > 0 or isinstance(ids, Weight) or ids.of_weight:
            return ids.shape[at]
        proxy = self.tracer.create_proxy("call_method", "size", (self, 0), {})
        self.tracer.walk.batch_sizes.add(proxy.node)
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


def trace_program(
    model: nn.Module, start: Callable[[], ChannelInterpreter], example: Tensor
) -> tuple[fx.Graph, ChannelInterpreter, bool]:
    """Return the program of a network, followed on channel ids, and whether its sizes are those of the example.

    Parameters
    ----------
    model : nn.Module
        The network.
    start : function
        Makes a fresh interpreter.
    example : Tensor
        One example; only its shape and type are used.

    Raises
    ------
    Untraceable
        The forward pass depends on values.
    PDCError
        It refuses the example.
    """
    given = start().inputs
    refused: PDCError | None = None
    for buffers in (True, False):
        tracer = Tracer(buffers, given)
        try:
            with TRACING, Untouched(model) as made, readable(model):
                program = tracer.trace(model)
        except Exception:  # a user's own forward may raise anything at all
            continue
        walk = start()
        walk.constants = made
        try:
            _run(walk, model, program, example)
        except PDCError as error:  # perhaps since the forward pass asks what only a value can tell
            refused = refused or error
        else:
            return program, walk, False
    dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), example.dtype)
    device = next((p.device for p in model.parameters()), example.device)
    first: Exception | None = None
    for buffers in (True, False):
        walk = start()
        try:
            with TRACING, Untouched(model) as made, readable(model):
                walk.constants = made
                program = SizedTracer(walk, dtype, device, buffers).trace(model)
            return program, walk, True
        except Exception as error:
            first = first or error
    assert first is not None
    if refused is not None:
        raise refused
    if isinstance(first, PDCError):
        why = str(first)
    else:
        hint = "its forward pass branches on values, loops over them or calls code that torch.fx cannot follow"
        why = f"{hint} ({type(first).__name__}: {first_line(first)})"
    raise Untraceable(f"{type(model).__name__} cannot be traced: {why}.") from first


def _run(walk: ChannelInterpreter, model: nn.Module, program: fx.Graph, example: Tensor) -> None:
    """Let ids flow through a program."""
    for node in program.nodes:
        try:
            walk.run_node(node)
        except PDCError:
            raise
        except Exception as error:
            given = f"an example of shape {tuple(example.shape)}"
            raise PDCError(
                f"{type(model).__name__} does not accept {given}: {node.name} says «{first_line(error)}»."
            ) from error
