"""Features: which blocks of two networks have the same output channels, and these outputs while the networks run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from types import TracebackType

import torch
from torch import Tensor, nn
from torch.fx import Proxy

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
        inside = any(name.startswith(f"{block}.") for block in found)
        parent = model.get_submodule(name.rpartition(".")[0])
        if inside or not isinstance(parent, nn.Sequential) or isinstance(module, nn.Sequential):
            continue
        last = next((layer for layer in reversed(graph.layers) if layer.name.startswith(f"{name}.")), None)
        if last is not None and not any(graph.groups[g].name in merged for g, _ in last.narrows_out):
            found.append(name)
    return tuple(found)


def matched_blocks(student: nn.Module, teacher: nn.Module, blocks: Sequence[str], example: Tensor) -> dict[str, str]:
    """Return which block of another network each block of a student is compared with, where shapes agree.

    Where an nn.Sequential has as many elements in both networks, its blocks are paired one by one; else only the last
    ones are, which end the same stage. Pairs whose outputs differ in shape are left out. Our choice.

    Parameters
    ----------
    student : nn.Module
        In eval mode.
    teacher : nn.Module
        In eval mode; any network that takes the same images.
    blocks : sequence of str
        The student's (`comparable_blocks`).
    example : Tensor, shape (b, c, h, w)
        Images for both.

    Returns
    -------
    dict of str to str
        Names of the teacher's modules by those of the student's.

    Examples
    --------
    >>> import torch, pdc_core as pdc
    >>> ours, theirs = (pdc.load_model(name, "digits", weights="random") for name in ("resnet20", "resnet32"))
    >>> matched_blocks(ours, theirs, ("layer1.0", "layer1.2"), torch.zeros(1, 1, 8, 8))
    {'layer1.2': 'layer1.4'}
    """
    known = dict(teacher.named_modules())
    pairs: dict[str, str] = {}
    for block in blocks:
        stage, _, own = block.rpartition(".")
        ours, theirs = student.get_submodule(stage), known.get(stage)
        if not isinstance(ours, nn.Sequential) or not isinstance(theirs, nn.Sequential):
            continue
        names, others = list(ours._modules), list(theirs._modules)
        if len(names) == len(others):
            pairs[block] = block[: len(block) - len(own)] + others[names.index(own)]
        elif own == names[-1] and others:
            pairs[block] = block[: len(block) - len(own)] + others[-1]
    ours_at, theirs_at = _shapes(student, list(pairs), example), _shapes(teacher, list(pairs.values()), example)
    return {a: b for a, b in pairs.items() if ours_at.get(a) is not None and ours_at.get(a) == theirs_at.get(b)}


@torch.no_grad()
def _shapes(model: nn.Module, modules: Sequence[str], example: Tensor) -> dict[str, torch.Size | None]:
    """Return the shape of each module's output; None where it is no tensor. Modules that are not called are absent."""
    with Recording(model, modules) as recording:
        model(example)
        return {name: getattr(output, "shape", None) for name, output in recording.seen.items()}


class Recording:
    """The outputs of some modules of a network in its last forward pass.

    Used as a context manager, it stops recording at the end. A copy of the network, by `copy.deepcopy` or from a
    pickle, is not recorded.

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
        if self._handles and not isinstance(output, Proxy):  # a trace runs the network, too
            self._outputs[name] = output

    def __getstate__(self) -> dict[str, object]:
        """Leave out the outputs, whose history nobody can copy, when a network and so its hooks are copied."""
        return {"modules": self.modules, "_outputs": {}, "_handles": []}

    @property
    def seen(self) -> dict[str, Tensor]:
        """The outputs since `outputs` was last called, by module, as far as modules were called."""
        return dict(self._outputs)

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
        self._handles = []

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
