"""The teacher's guidance for networks of any task: outputs of any structure, and the outputs of residual blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only

from pdc_core.errors import PDCError
from pdc_core.folding.check import tensors_in
from pdc_core.losses import FEATURES, Recording, feature_loss, kd_loss
from pdc_core.train.settings import Training
from pdc_core.train.teacher import Teacher


def softmax_guidance(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return T^2 KL(softmax(z_t/T) || softmax(z_s/T)) over axis 1, the mean over all other axes.

    Parameters
    ----------
    student, teacher : Tensor, shape (b, classes) or (b, classes, h, w)
        Logits z_s and z_t.
    temperature : float, above 0
        T.
    """
    if student.dim() > 2:  # every pixel is an example
        student, teacher = (z.movedim(1, -1).flatten(0, -2) for z in (student, teacher))
    return kd_loss(student, teacher, temperature)


def sigmoid_guidance(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return T^2 KL between Bernoulli distributions with logits z/T, the mean over all numbers: for multi-label tasks.

    Parameters
    ----------
    student, teacher : Tensor, same shape
        Logits z_s and z_t.
    temperature : float, above 0
        T.

    Examples
    --------
    >>> z = torch.tensor([[1.0, -2.0]])
    >>> abs(float(sigmoid_guidance(z, z, 2.0))) < 1e-6
    True
    """
    target = teacher.detach() / temperature
    entropy = F.binary_cross_entropy_with_logits(target, target.sigmoid())
    return temperature**2 * (F.binary_cross_entropy_with_logits(student / temperature, target.sigmoid()) - entropy)


# A form gets a student's output, the teacher's and the temperature; "matching" is for numbers that are no logits.
OutputForm = Callable[[Tensor, Tensor, float], Tensor]
FORMS: dict[str, OutputForm] = {
    "softmax": softmax_guidance,
    "sigmoid": sigmoid_guidance,
    "matching": lambda student, teacher, temperature: feature_loss(student, teacher),
}
Outputs = str | OutputForm | Mapping[str, str | OutputForm | None]


class Guidance:
    """alpha KD over the outputs + (1-p)^d sum_f w_f f(student's block, teacher's block), for any structure of outputs.

    Parameters
    ----------
    teacher : Module
        The uncompressed network, in eval mode.
    student : Module
        The network whose blocks are compared with the teacher's.
    example : Tensor, shape (2, ...)
        Inputs on which norms that are fused into the teacher's convolutions are compared.
    blocks : tuple of str
        Modules whose outputs are compared; those that the teacher has in another shape, or not at all, are left out.
    settings : Training
        alpha, temperature, matching, attention, feature_decay and teacher_precision are read.
    outputs : str, callable or dict
        The form for every output, or one by place ("logits", "0.boxes"), None for those that are not compared.
    """

    def __init__(
        self,
        teacher: nn.Module,
        student: nn.Module,
        example: Tensor,
        blocks: tuple[str, ...],
        settings: Training,
        outputs: Outputs = "softmax",
    ) -> None:
        self.settings, self.outputs = settings, outputs
        for each in outputs.values() if isinstance(outputs, Mapping) else [outputs]:
            _form(each)
        self.teacher = Teacher(teacher, example, settings.teacher_precision)
        self.weights = {name: getattr(settings, name) for name in FEATURES if getattr(settings, name) > 0}
        self.blocks = tuple(name for name in blocks if _same_block(student, teacher, name)) if self.weights else ()
        self.theirs = Recording(self.teacher.network, self.blocks)
        self.student, self.ours = student, Recording(student, self.blocks)

    def watch(self, student: nn.Module) -> None:
        """Compare this network's blocks from now on.

        Parameters
        ----------
        student : Module
            Has the blocks under the same names.
        """
        self.ours.close()
        self.student, self.ours = student, Recording(student, self.blocks)

    @contextmanager
    def unwatched(self, student: nn.Module) -> Iterator[None]:
        """Take the hooks off a network for a while, so that a copy of it carries none.

        Parameters
        ----------
        student : Module
            The network that is watched, before and after.
        """
        self.ours.close()
        try:
            yield
        finally:
            self.watch(student)

    def loss(self, x: Any, outputs: Any, progress: float) -> Tensor:
        """Return the guidance for the batch that the student has just seen.

        Parameters
        ----------
        x : Tensor, tuple or dict
            What the student was called with: one argument, several, or named ones.
        outputs : Tensor, or tensors in tuples, lists and dicts
            What it returned.
        progress : float, 0 to 1
            How far the run is.

        Returns
        -------
        Tensor, shape ()
            To be added to the loss.

        Raises
        ------
        PDCError
            The teacher returns tensors in other places or of other shapes, none is compared at all, or the student has
            made no forward pass since the last call.
        """
        s = self.settings
        args, kwargs = ((), x) if isinstance(x, dict) else (x if isinstance(x, tuple) else (x,), {})
        ours, theirs = tensors_in(outputs), self._ask(args, kwargs)
        terms: list[Tensor] = []
        for place, z_s in ours.items() if s.alpha > 0 else ():
            if (form := self._form_of(place)) is None:
                continue
            z_t = theirs.get(place)
            if z_t is None and z_s.dim() == 0:  # a loss that the student computed, since it was given labels
                continue
            if z_t is None or z_t.shape != z_s.shape:
                found = {name: tuple(t.shape) for name, t in theirs.items()}
                raise PDCError(
                    f"The network's output {place!r} has shape {tuple(z_s.shape)}, but the teacher returns {found}; "
                    "compare outputs that both have, with outputs={place: form}, and leave the others at None."
                )
            terms.append(s.alpha * form(_wide(z_s), _wide(z_t).to(_wide(z_s)), s.temperature))
        if self.blocks:  # those of the last forward pass; the teacher's are inference tensors, which no graph may hold
            if not self.ours.complete:
                raise PDCError(
                    f"The network has not called its block {self.blocks[0]!r} since the last guidance: call guidance "
                    "once after every forward pass, or set matching=0 and attention=0."
                )
            recorded = zip(self.ours.outputs(), self.theirs.outputs(), strict=True)
            pairs = [(a, b.clone().to(a.device)) for a, b in recorded]
            self._check_history([a for a, _ in pairs], ours)
            fade = (1 - progress) ** s.feature_decay
            for name, weight in self.weights.items():
                terms.append(fade * weight * torch.stack([FEATURES[name](a, b) for a, b in pairs]).mean())
        if not terms:
            raise PDCError(
                f"No output is compared with the teacher's: the network returns {list(ours) or 'no tensor'}, alpha is "
                f"{s.alpha:g}, and there are no blocks to compare. Leave guidance out of the loss, or change outputs."
            )
        return torch.stack([t.to(terms[0].device) for t in terms]).sum()

    def _check_history(self, recorded: list[Tensor], outputs: Mapping[str, Tensor]) -> None:
        """Refuse outputs of blocks through which no gradient would reach the weights that made them."""
        if not torch.is_grad_enabled() or not any(z.requires_grad for z in outputs.values()):
            return
        for name, a in zip(self.blocks, recorded, strict=True):
            if not a.requires_grad and any(p.requires_grad for p in self.student.get_submodule(name).parameters()):
                raise PDCError(
                    f"The output of block {name!r} has no history, so guidance could not train it. Where a part with "
                    "several blocks is checkpointed, use use_reentrant=False, or checkpoint the blocks one by one."
                )

    def _ask(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Tensor]:
        weights = next(self.teacher.network.parameters())
        given = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor) and t.is_floating_point()]
        if given and given[0].device != weights.device:  # the student has moved since
            self.teacher.to(given[0].device)
        if self.settings.teacher_precision == "same" and any(t.dtype != weights.dtype for t in given):
            args, kwargs = tree_map_only(
                Tensor, lambda t: t.to(weights.dtype) if t.is_floating_point() else t, (args, kwargs)
            )
        with torch.no_grad():
            found = tensors_in(self.teacher(*args, **kwargs))
            return {place: t.clone() if t.is_inference() else t for place, t in found.items()}  # of a dataclass

    def _form_of(self, place: str) -> OutputForm | None:
        chosen = self.outputs.get(place) if isinstance(self.outputs, Mapping) else self.outputs
        return _form(chosen)


def _wide(t: Tensor) -> Tensor:
    """Return a tensor in single precision at least."""
    return t.float() if t.dtype in (torch.float16, torch.bfloat16) else t


def _form(chosen: str | OutputForm | None) -> OutputForm | None:
    if isinstance(chosen, str):
        if chosen not in FORMS:
            raise PDCError(f"outputs={chosen!r} is not a form of guidance; choose one of {', '.join(FORMS)}.")
        return FORMS[chosen]
    return chosen


def _same_block(model: nn.Module, teacher: nn.Module, name: str) -> bool:
    """Return whether a teacher has a block of this name with the same weights' shapes."""
    if name not in {each for each, _ in teacher.named_modules()}:
        return False
    shapes = [{k: v.shape for k, v in m.get_submodule(name).state_dict().items()} for m in (model, teacher)]
    return shapes[0] == shapes[1]
