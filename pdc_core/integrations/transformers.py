"""PDC in Hugging Face's Trainer: a callback that makes a pruner, attaches it, resumes it and folds at the end.

With Accelerate alone no module is needed: `pruner.attach(accelerator.prepare(optimizer))`, and
`accelerator.register_for_checkpointing(pruner)`.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pdc_core.errors import PDCError
from pdc_core.files import replacing
from pdc_core.plan import Plan
from pdc_core.pruner import Pruner
from pdc_core.torchvision_adapter import torchvision

torchvision()  # transformers imports torchvision, which fails beside a CPU build of torch unless it was repaired

try:
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
except ImportError as error:
    raise PDCError(
        f"This callback needs a package that is not here ({error.name}); pip install -e '.[transformers]'."
    ) from error

STATE = "pdc_pruner.pt"  # beside the other files of a checkpoint


class PDCCallback(TrainerCallback):
    """Cluster, tie and fold a network while Hugging Face's Trainer trains it.

    Parameters
    ----------
    plan : Plan
        Clusters kept per group.
    example : Tensor, shape (1, c, h, w)
        One input; only its shape is used.
    network : str, default ""
        Name of the network inside the Trainer's model, such as "resnet"; "" is the model itself.
    checkpoint : str or Path, optional
        The folder that `Trainer.train(resume_from_checkpoint=...)` is given, where it is not in `output_dir`.
    settings : any
        What else `Pruner` takes, such as `images`, `schedule` and `outputs`.

    Attributes
    ----------
    pruner : Pruner or None
        From the start of training on; a Trainer's `compute_loss` may add `pruner.guidance(inputs, outputs)`.
    folded : Module or None
        The small network, once training has ended with all filters tied.
    """

    def __init__(
        self, plan: Plan, example: Tensor, network: str = "", *, checkpoint: str | Path | None = None, **settings: Any
    ) -> None:
        self.plan, self.example, self.network, self.settings = plan, example, network, settings
        self.checkpoint = checkpoint
        self.pruner: Pruner | None = None
        self.folded: nn.Module | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Make the pruner, or go on with the one of the checkpoint that the Trainer resumes from.

        Parameters
        ----------
        args : TrainingArguments
            The trainer's.
        state : TrainerState
            How far it is.
        control : TrainerControl
            Not used.
        kwargs : any
            `model` and `optimizer` are used.

        Raises
        ------
        PDCError
            The checkpoint has no state of a pruner.
        """
        model = kwargs["model"].get_submodule(self.network)
        self.pruner = Pruner(model, self.plan, self.example, steps=state.max_steps, **self.settings)
        if state.global_step > 0:
            path = Path(self.checkpoint or _folder(args, state)) / STATE
            if not path.is_file():
                raise PDCError(
                    f"There is no {path}, so pruning cannot go on from this checkpoint. If it lies elsewhere, say so: "
                    f"PDCCallback(..., checkpoint=FOLDER); else start from step 0."
                )
            saved = torch.load(path, weights_only=True, map_location="cpu")
            self.pruner.load_state_dict(saved)
            self.pruner.check_loaded()  # the Trainer has loaded the weights
        self.pruner.attach(kwargs["optimizer"])

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Write the pruner's state into the checkpoint's folder.

        Parameters
        ----------
        args : TrainingArguments
            The trainer's.
        state : TrainerState
            How far it is.
        control : TrainerControl
            Not used.
        kwargs : any
            Not used.
        """
        if self.pruner is not None and state.is_world_process_zero:
            with replacing(_folder(args, state) / STATE) as file:
                torch.save(self.pruner.state_dict(), file)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Fold, where all filters are tied; otherwise `pruner.finish()` does.

        Parameters
        ----------
        args : TrainingArguments
            The trainer's.
        state : TrainerState
            How far it is.
        control : TrainerControl
            Not used.
        kwargs : any
            Not used.
        """
        if self.pruner is not None:
            found = self.pruner.summary()
            if found.tied:
                self.folded = self.pruner.fold()
            elif found.progress >= 1:
                warnings.warn(
                    "The Trainer ended with weights of an earlier step (load_best_model_at_end), whose filters are not "
                    "tied; callback.pruner.finish() merges them again and folds.",
                    stacklevel=2,
                )
            self.pruner.detach()


def _folder(args: TrainingArguments, state: TrainerState) -> Path:
    return Path(args.output_dir or ".") / f"checkpoint-{state.global_step}"
