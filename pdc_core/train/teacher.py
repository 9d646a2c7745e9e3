"""The teacher as a run uses it: frozen, its norms fused into convolutions where that is exact, in its precision."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.utils._pytree import tree_map_only

from pdc_core.copies import twin
from pdc_core.data import Data, DataInfo
from pdc_core.errors import PDCError
from pdc_core.folding import check_equal
from pdc_core.models import model_info

NORMS: dict[type[nn.Module], type[_BatchNorm]] = {
    nn.Conv1d: nn.BatchNorm1d,
    nn.Conv2d: nn.BatchNorm2d,
    nn.Conv3d: nn.BatchNorm3d,
}
DTYPES = {"32": torch.float32, "bf16": torch.bfloat16, "16": torch.float16}


def fuse_norms(model: nn.Module, example: Tensor) -> nn.Module:
    """Return a copy with every batch norm that alone reads a convolution put into it; submodules keep their names.

    W' = gamma / sqrt(var + eps) W and b' = (b - mu) gamma / sqrt(var + eps) + beta. Where the network cannot be
    followed, or the copy does not compute the same to rounding, the copy is returned unfused.

    Parameters
    ----------
    model : Module
        The network, in eval mode; not changed.
    example : Tensor, shape (b, c, h, w)
        Images on the network's device, on which the two are compared.

    Examples
    --------
    >>> net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)).eval()
    >>> fuse_norms(net, torch.ones(1, 1, 4, 4))[1]
    Identity()
    """
    plain = twin(model)
    try:
        nodes = list(fx.symbolic_trace(twin(plain)).graph.nodes)  # which may leave stand-ins in what it traces
    except Exception:  # control flow that fx cannot follow, in as many kinds of error as there are ways to write it
        return plain
    fused = twin(plain)
    calls = [str(node.target) for node in nodes if node.op == "call_module"]
    for norm in nodes:
        conv = norm.args[0] if norm.op == "call_module" and norm.args else None
        if not isinstance(conv, fx.Node) or conv.op != "call_module" or len(conv.users) != 1:
            continue
        names = str(conv.target), str(norm.target)
        layer, after = (plain.get_submodule(name) for name in names)
        if not isinstance(after, _BatchNorm) or after.running_mean is None or NORMS.get(type(layer)) is not type(after):
            continue
        if all(calls.count(name) == 1 for name in names):
            fused.set_submodule(names[0], fuse_conv_bn_eval(layer, after))  # type: ignore[type-var]
            fused.set_submodule(names[1], nn.Identity())
    return fused.requires_grad_(False) if check_equal(plain, fused, example).equal else plain


def check_teacher(teacher: nn.Module, data: Data | DataInfo) -> None:
    """Raise if a network cannot teach on a data set: it takes other images or has other classes.

    Parameters
    ----------
    teacher : Module
        In eval mode.
    data : Data or DataInfo
        Its shape and classes are read.

    Raises
    ------
    PDCError
        The sentence says what does not fit.
    """
    info = model_info(teacher)
    name, count = info.model if info else type(teacher).__name__, len(data.classes)
    advice = f"choose a teacher that was trained on {data.name}"
    if info is not None:
        if info.new_head:
            raise PDCError(
                f"The weights of the teacher {name} are for other classes than the {count} of {data.name}, so its last "
                f"layer {info.new_head} is new and random; train it first (pdc teach), or {advice}."
            )
        if info.shape != data.shape:
            raise PDCError(f"The teacher {name} takes images {info.shape}, {data.name} has {data.shape}; {advice}.")
        if len(info.classes) != count or _other_names(info.classes, data.classes):
            raise PDCError(
                f"The teacher {name} has {len(info.classes)} classes ({_some(info.classes)}), {data.name} has {count} "
                f"({_some(data.classes)}); {advice}."
            )
    weights = next(teacher.parameters(), torch.zeros(()))
    try:
        with torch.no_grad():
            z = teacher(torch.zeros(2, *data.shape, dtype=weights.dtype, device=weights.device))
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise PDCError(
            f"The teacher {name} cannot take images {data.shape} of {data.name} ({str(error).splitlines()[0]}); "
            f"{advice}."
        ) from error
    if not isinstance(z, Tensor) or z.shape != (2, count):
        found = f"outputs of shape {tuple(z.shape[1:])}" if isinstance(z, Tensor) else type(z).__name__
        raise PDCError(f"The teacher {name} gives {found}, not logits of the {count} classes of {data.name}; {advice}.")


def _other_names(a: tuple[str, ...], b: tuple[str, ...]) -> bool:
    """Return whether two sets of classes have names, and others; numbers are no names."""
    numbered = any(all(name.isdigit() for name in names) for names in (a, b))
    return not numbered and {name.lower() for name in a} != {name.lower() for name in b}


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


class Teacher(nn.Module):
    """A frozen network that gives its logits z_t, in a precision of its own.

    Parameters
    ----------
    model : Module
        The uncompressed network, in eval mode; not changed.
    example : Tensor, shape (b, c, h, w)
        Images for the comparison in `fuse_norms`; on the CPU.
    precision : {"same", "32", "bf16", "16"}
        "same" as the student's.
    compiled : bool, default False
        Whether torch.compile is used; speed only.

    Attributes
    ----------
    network : Module
        The copy that computes, its submodules under their names, for hooks. A hook sees inference tensors: clone them
        before they meet the student's graph.
    """

    def __init__(
        self,
        model: nn.Module,
        example: Tensor,
        precision: Literal["same", "32", "bf16", "16"] = "same",
        compiled: bool = False,
    ) -> None:
        super().__init__()
        self.precision = precision
        self.network = fuse_norms(model, example).eval().requires_grad_(False)
        if precision != "same":
            self.network = self.network.to(DTYPES[precision])
        if compiled:
            self.network.compile()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return logits (b, classes): computed in inference mode, handed out as a tensor that training may use.

        Parameters
        ----------
        args, kwargs : any
            What the network takes, usually images (b, c, h, w). Its tensors may lie in tuples, lists and dicts.

        Returns
        -------
        Tensor, or tensors in tuples, lists and dicts
            What the network returns.
        """
        if self.precision == "same":
            with torch.inference_mode():
                z = self.network(*args, **kwargs)
            return tree_map_only(Tensor, Tensor.clone, z)
        device, kind = next(self.network.parameters()).device.type, DTYPES[self.precision]
        args, kwargs = tree_map_only(Tensor, lambda t: t.to(kind) if t.is_floating_point() else t, (args, kwargs))
        with torch.inference_mode(), torch.autocast(device, enabled=False):
            z = self.network(*args, **kwargs)
        return tree_map_only(Tensor, lambda t: (t.float() if t.is_floating_point() else t).clone(), z)
