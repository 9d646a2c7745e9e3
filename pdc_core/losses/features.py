"""Features: which blocks of two networks have the same output channels, and these outputs while the networks run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from types import TracebackType

import torch
from torch import Tensor, nn

from pdc_core.clustering import IntArray
from pdc_core.clustering.labels import merged_groups
from pdc_core.errors import PDCError
from pdc_core.graph import ChannelGraph


def comparable_blocks(model: nn.Module, graph: ChannelGraph, labels: Mapping[str, IntArray]) -> tuple[str, ...]:
    """Return the blocks whose output channels a folding leaves unchanged, in the order of the network.

    A block is an element of an nn.Sequential that has layers inside: the residual blocks of the ResNets and
    MobileNets here and in torchvision. If its last layer's channels are merged, its output no longer matches the
    teacher's channel by channel, and it is left out. A chain has no blocks.

    Parameters
    ----------
    model : nn.Module
        The network.
    graph : ChannelGraph
        Its trace.
    labels : mapping of str to array of int, shape (n,)
        By the name of the group.

    Returns
    -------
    tuple of str
        Names of modules.

    Examples
    --------
    >>> import torch, pdc_core as pdc
    >>> net = pdc.load_model("resnet20", data="digits", weights="random")
    >>> comparable_blocks(net, pdc.trace(net, torch.zeros(1, 1, 8, 8)), {})[:2]
    ('layer1.0', 'layer1.1')
    """
    merged = merged_groups(labels)
    found: list[str] = []
    for name, module in model.named_modules():
        if not _may_be_block(model, name, module, found):
            continue
        last = next((layer for layer in reversed(graph.layers) if layer.name.startswith(f"{name}.")), None)
        if last is not None and not any(graph.groups[g].name in merged for g, _ in last.narrows_out):
            found.append(name)
    return tuple(found)


def _may_be_block(model: nn.Module, name: str, module: nn.Module, found: Sequence[str]) -> bool:
    """Return whether a module is an element of an nn.Sequential, none itself, and not inside a block that was found."""
    inside = any(name.startswith(f"{block}.") for block in found)
    parent = model.get_submodule(name.rpartition(".")[0])
    return not inside and isinstance(parent, nn.Sequential) and not isinstance(module, nn.Sequential)


def paired_blocks(
    student: nn.Module, teacher: nn.Module, blocks: Sequence[str], example: Tensor
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return which blocks of a student are compared with which of another network, where their outputs agree in shape.

    Networks with the same blocks are paired by name. Otherwise the blocks of one shape (a stage) are paired in order if
    there are equally many of them, else only the last ones, as hints are (FitNets, arXiv 1412.6550); the rest is left
    out.

    Parameters
    ----------
    student, teacher : nn.Module
        Two networks in eval mode that take the same input.
    blocks : sequence of str
        The student's blocks that may be compared (`comparable_blocks`).
    example : Tensor, shape (b, c, h, w)
        An input, for the shapes.

    Returns
    -------
    tuple of tuple of str
        Names in the student and in the teacher, equally many.

    Examples
    --------
    >>> import torch, pdc_core as pdc
    >>> small, large = (pdc.load_model(n, data="digits", weights="random") for n in ("resnet20", "resnet32"))
    >>> x = torch.zeros(1, 1, 8, 8)
    >>> paired_blocks(small, large, ["layer1.0", "layer1.1", "layer1.2", "layer2.0"], x)
    (('layer1.2', 'layer2.0'), ('layer1.4', 'layer2.4'))
    """
    ours, theirs = _block_shapes(student, example), _block_shapes(teacher, example)
    may = [name for name in blocks if name in ours]
    if ours == theirs:
        return tuple(may), tuple(may)
    pairs: list[tuple[str, str]] = []
    for shape in dict.fromkeys(ours[name] for name in may):
        mine, other = ([n for n in names if of[n] == shape] for names, of in ((may, ours), (theirs, theirs)))
        pairs += zip(mine, other, strict=True) if len(mine) == len(other) else zip(mine[-1:], other[-1:], strict=False)
    return tuple(a for a, _ in pairs), tuple(b for _, b in pairs)


@torch.no_grad()
def _block_shapes(model: nn.Module, example: Tensor) -> dict[str, tuple[int, ...]]:
    """Return the shape of one example's output of every block that gives a tensor, in the order of the network."""
    names: list[str] = []
    for name, module in model.named_modules():
        if next(module.parameters(), None) is not None and _may_be_block(model, name, module, names):
            names.append(name)
    shapes: dict[str, tuple[int, ...]] = {}

    def take(name: str, module: nn.Module, args: tuple[Tensor, ...], output: object) -> None:
        if isinstance(output, Tensor):
            shapes[name] = tuple(output.shape[1:])

    handles = [model.get_submodule(name).register_forward_hook(partial(take, name)) for name in names]
    try:
        model(example)
    finally:
        for handle in handles:
            handle.remove()
    return {name: shapes[name] for name in names if name in shapes}


class Recording:
    """The outputs of some modules of a network in its last forward pass.

    Used as a context manager, it stops recording at the end.

    Parameters
    ----------
    model : nn.Module
        The network.
    modules : sequence of str
        Names of the modules to record.
    """

    def __init__(self, model: nn.Module, modules: Sequence[str]) -> None:
        self._outputs: dict[str, Tensor] = {}
        self.modules = tuple(modules)
        self._handles = [model.get_submodule(m).register_forward_hook(partial(self._take, m)) for m in self.modules]

    def _take(self, name: str, module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        self._outputs[name] = output

    @property
    def complete(self) -> bool:
        """Whether every module has put out something since `outputs` was last called."""
        return all(name in self._outputs for name in self.modules)

    def outputs(self) -> list[Tensor]:
        """Return the outputs in the order of the modules, and forget them.

        Returns
        -------
        list of Tensor
            One per module.

        Raises
        ------
        PDCError
            If a module was not called: the network's forward pass was rewritten around it.
        """
        if missing := [name for name in self.modules if name not in self._outputs]:
            raise PDCError(
                f"The network does not call its module {missing[0]!r}, so its output cannot be compared with the "
                "teacher's; train with feature losses of weight 0."
            )
        outputs = [self._outputs[name] for name in self.modules]
        self._outputs.clear()
        return outputs

    def close(self) -> None:
        """Stop recording."""
        for handle in self._handles:
            handle.remove()

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
