"""Layers and norms, called as modules or as functions: what they do to channel ids, and what is noted about them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.modules.instancenorm import _InstanceNorm

from pdc_core.graph.ids import WAY, Ids, IntArray, TraceRecord, Weight
from pdc_core.graph.operations import torchs_name
from pdc_core.graph.shapes import on_meta
from pdc_core.graph.structure import LayerTensors
from pdc_core.graph.tensors import output_axes

_CONV = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
_TRANSPOSED = ("input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation")
# function -> what it is, and the names of its arguments
FUNCTIONS: dict[Any, tuple[str, tuple[str, ...]]] = {
    F.conv1d: ("conv", _CONV),
    F.conv2d: ("conv", _CONV),
    F.conv3d: ("conv", _CONV),
    F.conv_transpose1d: ("transposed", _TRANSPOSED),
    F.conv_transpose2d: ("transposed", _TRANSPOSED),
    F.conv_transpose3d: ("transposed", _TRANSPOSED),
    F.linear: ("linear", ("input", "weight", "bias")),
    F.batch_norm: ("norm", ("input", "running_mean", "running_var", "weight", "bias")),
    torch.batch_norm: ("norm", ("input", "weight", "bias", "running_mean", "running_var")),
    F.instance_norm: ("norm", ("input", "running_mean", "running_var", "weight", "bias")),
    F.prelu: ("prelu", ("input", "weight")),
    F.layer_norm: ("layer_norm", ("input", "normalized_shape", "weight", "bias")),
    torch.layer_norm: ("layer_norm", ("input", "normalized_shape", "weight", "bias")),
    F.rms_norm: ("layer_norm", ("input", "normalized_shape", "weight")),
    F.group_norm: ("group_norm", ("input", "num_groups", "weight", "bias")),
    torch.group_norm: ("group_norm", ("input", "num_groups", "weight", "bias")),
}
_CLASSES: dict[str, tuple[type[nn.Module], ...]] = {
    "conv": (_ConvNd,), "transposed": (_ConvTransposeNd,), "linear": (nn.Linear,), "norm": (_BatchNorm, _InstanceNorm),
    "prelu": (nn.PReLU,),
}  # fmt: skip
_ROLES = ("weight", "bias", "running_mean", "running_var")


class LayerRules:
    """What layers do to channel ids. The interpreter of the whole program builds on it."""

    notes: TraceRecord
    modules: dict[str, nn.Module]
    shared_tensors: frozenset[str]  # tensors that several modules hold
    functional: bool
    row_ids: dict[str, Ids]
    kernels: set[fx.Node]

    def unknown(self, name: str, run: Callable[[], Any], args: Any, kwargs: Any, what: str = "") -> Any:
        raise NotImplementedError

    # -- called as a function ---------------------------------------------------------------------

    def call_layer(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Follow F.conv2d and the like. Tensors are `Weight` where they are parameters, `Ids` where computed."""
        kind, names = FUNCTIONS[target]
        given = dict(zip(names, args, strict=False)) | kwargs
        x = self.entries(given["input"])
        tensors = {role: given[role] for role in _ROLES if given.get(role) is not None}
        meta = on_meta((args, kwargs))
        run = lambda: target(*meta[0], **meta[1])  # noqa: E731
        self.functional = True
        held = {role: t for role, t in tensors.items() if isinstance(t, Weight)}
        if not isinstance(x, Ids) or any(not isinstance(t, Weight | Ids) for t in tensors.values()):
            return self.unknown(f"function {kind}", run, (args, kwargs), {}, "a tensor that is no parameter")
        if any(t.path in self.shared_tensors for t in held.values()):
            what = "a tensor that several modules share"
            return self.unknown(f"function {kind}", run, (args, kwargs), {}, what)
        if kind in ("layer_norm", "group_norm"):
            return self.mixing_norm(kind, x, given, held)
        if kind in ("norm", "prelu"):
            return self.functional_norm(kind, x, tensors, held)
        return self.functional_layer(kind, run, x, given, tensors, held)

    def entries(self, value: Any) -> Any:
        """Return a parameter as the ids of its channels; anything else as it is."""
        return self.rows(value) if isinstance(value, Weight) else value

    def rows(self, weight: Weight) -> Ids:
        """Return ids for a parameter that the forward pass computes with outside of any layer."""
        notes = self.notes
        dtype = None if weight.dtype.is_floating_point else weight.dtype
        wide = [d for d, size in enumerate(weight.shape) if size > 1]
        if not wide:
            notes.whole.setdefault(weight.path, "is one number for all channels")
            return Ids(notes.fresh(1), 0, weight.shape or (1,), of_weight=True, dtype=dtype)
        path = weight.path
        dim = wide[0]
        if path not in notes.rows:
            notes.rows[path] = notes.fresh(weight.shape[dim])
            notes.tensors[path] = LayerTensors("scale", (("weight", path),), axis=dim)
            if path in self.shared_tensors or dtype is not None or (len(wide) > 1 and dim > 0):
                notes.freeze(notes.rows[path], f"meets {path}, a learned tensor outside any layer")
        self.functional = True
        self.row_ids[path] = Ids(notes.rows[path], dim, weight.shape, of_weight=True, dtype=dtype)
        return self.row_ids[path]

    def layer_name(self, kind: str, held: dict[str, Weight], groups: int = 1) -> str:
        """Return what a layer is known by: the module that holds its tensors, else its weight. Note its tensors."""
        paths = {role: weight.path for role, weight in held.items()}
        owned = {path.rpartition(".")[0] for path in paths.values()}
        named = all(path.rpartition(".")[2] == role for role, path in paths.items())
        name = next(iter(paths.values()))
        if len(owned) == 1 and named and (owner := next(iter(owned))):
            name = owner
            module = self.modules[owner]
            fits = isinstance(module, _CLASSES[kind]) and isinstance(module, _ConvTransposeNd) == (kind == "transposed")
            if fits and getattr(module, "groups", 1) == groups and set(output_axes(module)) == set(paths):
                return self.claim(name, None)
        return self.claim(name, LayerTensors(kind, tuple(paths.items()), groups))

    def claim(self, name: str, tensors: LayerTensors | None) -> str:
        """Note where the tensors of a layer live; a second use that differs gets a name that is frozen at the end."""
        if self.notes.tensors.setdefault(name, tensors) == tensors:
            return name
        other = name + WAY
        self.notes.tensors.setdefault(other, tensors)
        return other

    def functional_norm(self, kind: str, x: Ids, tensors: dict[str, Any], held: dict[str, Weight]) -> Ids:
        """Batch norm, instance norm or PReLU as a function."""
        count = {int(np.prod(t.shape)) for t in tensors.values()}
        if kind == "prelu" and count == {1}:
            return x
        name = self.layer_name(kind, held) if held else kind
        read = x.at(1) if len(x.shape) > 1 else None
        if read is None or any(n != len(read) for n in count):
            self.notes.freeze(x, f"enters {name} with its channels not where a norm expects them")
            self.notes.whole[name] = "its channels are not where a norm expects them"
            return self.notes.opaque(x.shape, f"comes out of {name}")
        if held:
            self.notes.once(self.notes.norms, name, read)
        for t in tensors.values():
            if isinstance(t, Ids):
                self.meet(t, read, name)
        return Ids(read, 1, x.shape, x.of_weight)

    def meet(self, t: Ids, channels: IntArray, name: str) -> None:
        """Tie a computed tensor, such as a scaled gain, to the channels that it meets; freeze both where it cannot."""
        entries = t.at(t.dim)
        if entries is not None and len(entries) == len(channels):
            if len(entries) == 1 or (entries != entries[0]).any():
                self.notes.tie(entries, channels)
            return
        self.notes.freeze(t, f"is used by {name} in another order")
        self.notes.freeze(channels, f"meets a computed tensor in {name}")

    def mixing_norm(self, kind: str, x: Ids, given: dict[str, Any], held: dict[str, Weight]) -> Ids:
        """Layer, group and RMS norms: what they normalise over is frozen; over pixels alone channels stay apart."""
        label = {"layer_norm": "LayerNorm", "group_norm": "GroupNorm"}[kind]
        name = self.layer_name("norm", held) if held else kind
        if kind == "layer_norm":
            sizes = given["normalized_shape"]
            over = range(len(x.shape) - (1 if isinstance(sizes, int) else len(sizes)), len(x.shape))
            if x.dim not in over and x.batch not in over:
                self.notes.whole[name] = "it normalises over pixels, not channels"
                return x
        self.notes.freeze(x, f"enters {name} ({label} mixes channels)")
        self.notes.whole[name] = f"{label} mixes channels"
        return x

    def functional_layer(
        self,
        kind: str,
        run: Callable[[], Tensor],
        x: Ids,
        given: dict[str, Any],
        tensors: dict[str, Any],
        held: dict[str, Weight],
    ) -> Any:
        """Convolutions and linear layers as functions."""
        notes, weight, groups = self.notes, tensors["weight"], int(given.get("groups", 1) or 1)
        if x.of_weight or (kind == "transposed" and groups > 1) or (kind == "linear" and len(weight.shape) != 2):
            return self.unknown(f"function {kind}", run, (*tensors.values(), x), {}, "of computed tensors")
        shape = tuple(run().shape)
        own = 1 if kind == "transposed" else 0
        main = held.get("weight")
        if main is None:
            main = self.source(weight, own)
        blur = main is None and kind == "conv" and self.expanded_kernel()
        if main is None and not blur:
            return self.unknown(f"function {kind}", run, (*tensors.values(), x), {}, "whose weight is computed")
        direct, reads, writes = isinstance(weight, Weight), weight.shape[1 - own] * groups, weight.shape[own]
        depthwise = groups > 1 and groups == reads == writes
        if direct:
            name = self.layer_name(kind, held, groups)
        elif main is not None:
            name = self.layer_name(kind, {"weight": main}, groups)
            notes.computed.add(name)
            notes.consumed.add(main.path)
        elif depthwise:
            name = self.claim(f"{kind} ({self.place()})", LayerTensors(kind, (), groups))
        else:
            return self.unknown(f"function {kind}", run, (x,), {}, "whose weight is computed")
        if not direct and not depthwise:
            path = main.path if main else "a tensor"
            notes.freeze(x, f"is read by {name}, whose weight is computed from {path} in the forward pass")
        ids = self.apply_layer(name, x, shape, kind, groups, reads, writes, tuple(weight.shape[2:]), direct)
        if not direct and main is not None:
            self.meet(weight, ids.channels, name)
        bias = tensors.get("bias")
        if isinstance(bias, Weight) and not direct:
            bias = self.rows(bias)
        if isinstance(bias, Ids):
            self.meet(bias, ids.channels, name)
        return ids

    def place(self) -> str:
        raise NotImplementedError

    def source(self, computed: Ids, own: int) -> Weight | None:
        """Return the parameter that a computed weight stands for, filter by filter, or None."""
        if own or computed.dim != 0 or len(computed.channels) != computed.shape[0]:
            return None
        for path, ids in self.notes.rows.items():
            if np.array_equal(ids, computed.channels):
                owner, _, name = path.rpartition(".")
                t = getattr(self.modules[owner], name)
                if tuple(t.shape) == tuple(computed.shape):
                    return Weight(path, tuple(t.shape), t.dtype)
        return None

    def expanded_kernel(self) -> bool:
        raise NotImplementedError

    # -- what every layer does --------------------------------------------------------------------

    def apply_layer(
        self,
        name: str,
        x: Ids,
        shape: tuple[int, ...],
        kind: str,
        groups: int,
        reads: int,
        writes: int,
        kernel: tuple[int, ...],
        direct: bool = True,
    ) -> Ids:
        """Note one call of a convolution or linear layer, and return the ids of what it writes.

        Where its weight is computed (`direct` is False), what it reads is frozen already and no reader is noted.
        """
        notes = self.notes
        dim = len(shape) - 1 if kind == "linear" else len(shape) - 1 - len(kernel)
        read = x.at(dim)
        if read is None or dim == 0:
            what = "a convolution" if kind != "linear" else "a linear layer"
            notes.freeze(x, f"is read by {name} with its channels not where {what} expects them")
            read = notes.fresh_frozen(reads, "is read in another order")
        first_call = name not in notes.calls
        if kind == "linear":
            pixels = int(np.prod(shape[:-1]))
        else:  # its kernel meets every input pixel, or makes every output pixel
            pixels = int(np.prod((x.shape if kind == "transposed" else shape)[dim + 1 :])) * int(np.prod(shape[:dim]))
        notes.calls.setdefault(name, []).append(shape)
        notes.pixels[name] = notes.pixels.get(name, 0) + pixels
        notes.sizes[name] = (kind, reads, writes, groups, kernel)
        written = notes.fresh(writes)
        notes.written.append(written)
        if groups > 1 and groups == reads == writes:
            notes.tie(read, written)  # depthwise: filter i reads and writes channel i
        else:
            if direct:
                notes.once(notes.readers, name, read)
            if groups > 1 and first_call:
                notes.blocks.append((name, read, np.arange(len(read)) // (len(read) // groups)))
                notes.blocks.append((name, written, np.arange(len(written)) // (len(written) // groups)))
        notes.once(notes.producers, name, written)
        return Ids(written, dim, shape)

    def norm(self, name: str, norm: nn.Module, x: Ids) -> Ids:
        """Follow a batch norm, an instance norm or a PReLU that is a module."""
        count = getattr(norm, "num_features", None) or norm.num_parameters
        read = x.at(1) if len(x.shape) > 1 else None
        without_batch = isinstance(norm, _InstanceNorm) and len(x.shape) != int(torchs_name(norm)[-2]) + 2
        if read is None or len(read) != count or without_batch:
            self.notes.freeze(x, f"enters {name} with its channels not where a norm expects them")
            return self.notes.opaque(x.shape, f"comes out of {name}")
        self.notes.once(self.notes.norms, name, read)
        return Ids(read, 1, x.shape, x.of_weight)
