"""Tracing a forward pass with torch.fx, symbolically; `sized` does it with the example's real sizes."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from pdc_core.graph.calls import call, in_order, in_order_of
from pdc_core.graph.in_place import Proxy, writes_in_place
from pdc_core.graph.operations import name_of


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
            args, kwargs = in_order(target if isinstance(target, str) else name_of(target), args, kwargs)
        elif kind == "call_module":
            args, kwargs = in_order_of(self.root.get_submodule(target).forward, args, kwargs)
        made = super().create_proxy(kind, target, args, kwargs, *more, **named)
        if writes_in_place(made.node) and isinstance(args[0], Proxy):
            args[0].node = made.node
        return made

    def create_arg(self, a: Any) -> Any:
        return super().create_arg(a.item() if isinstance(a, np.generic) else a)

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if self._following or threading.get_ident() != self._thread or m not in (self.submodule_paths or ()):
            return forward(*args, **kwargs)  # what the forward pass has just made, a part of a Sequential for example
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
    torch.zeros, torch.ones, torch.full, torch.empty, torch.rand, torch.randn, torch.arange, torch.linspace, torch.eye,
    torch.as_tensor, torch.asarray,
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
