"""A network is after a trace what it was before: whatever tracing stores on it is taken away again."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.utils import _pytree as pytree


class Untouched:
    """Takes away from the network what tracing stores on it.

    torch.fx puts there tensors that the forward pass makes from nothing; a forward pass that caches what it computed
    would keep stand-ins for tensors.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model, self.made = model, dict[str, Tensor]()

    def __enter__(self) -> dict[str, Tensor]:
        self.before: list[tuple[nn.Module, dict[str, Any], list[tuple[Any, Any]]]] = []
        for module in self.model.modules():
            own = {name: value for name, value in module.__dict__.items() if name not in _TORCHS}
            held = [(value, value.copy()) for value in own.values() if type(value) in (dict, list, set)]
            held += [(module.__dict__[name], module.__dict__[name].copy()) for name in _TABLES]
            self.before.append((module, own, held))
        return self.made

    def __exit__(self, *_: object) -> None:
        for module, own, held in self.before:
            for name in module.__dict__.keys() - own.keys() - _TORCHS:
                value = module.__dict__.pop(name)
                if module is self.model and isinstance(value, Tensor):
                    self.made[name] = value
            module.__dict__.update(own)
            for value, content in held:
                if not _same_content(value, content):
                    value.clear()
                    value.extend(content) if type(value) is list else value.update(content)


def _same_content(a: Any, b: Any) -> bool:
    """Return whether two dicts, lists or sets hold the very same objects in the same order."""
    ours, theirs = (list(v.items()) if isinstance(v, dict) else list(v) for v in (a, b))
    pairs = zip(pytree.tree_leaves(ours), pytree.tree_leaves(theirs), strict=False)
    return len(ours) == len(theirs) and all(one is other for one, other in pairs)


_TORCHS = frozenset(nn.Module().__dict__) - {"training"}  # what torch keeps on every module
_TABLES = [name for name, value in nn.Module().__dict__.items() if isinstance(value, dict) and name != "_modules"]
