"""PDC in a Lightning Trainer: a callback that makes a pruner, attaches it, resumes it and folds at the end."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn

from pdc_core.errors import PDCError
from pdc_core.plan import Plan
from pdc_core.pruner import Pruner
from pdc_core.torchvision_adapter import torchvision

torchvision()  # Lightning's metrics import torchvision, which fails beside a CPU build of torch unless it was repaired

try:
    from lightning.pytorch import Callback, LightningModule, Trainer
except ImportError as error:
    raise PDCError(
        f"This callback needs a package that is not here ({error.name}); pip install -e '.[lightning]'."
    ) from error


class PDCCallback(Callback):
    """Cluster, tie and fold the network of a LightningModule while `trainer.fit` trains it.

    Parameters
    ----------
    plan : Plan
        Clusters kept per group.
    example : Tensor, shape (1, c, h, w)
        One input; only its shape is used.
    network : str, default ""
        Name of the network inside the LightningModule, such as "model"; "" is the module itself.
    steps : int, optional
        Steps of the optimiser; by default what the trainer estimates.
    settings : any
        What else `Pruner` takes, such as `images`, `schedule` and `outputs`.

    Attributes
    ----------
    pruner : Pruner or None
        From the start of `fit` on; the LightningModule has it as `self.pruner` too, so that its training step may add
        `self.pruner.guidance(x, out)` to the loss.
    folded : Module or None
        The small network, once `fit` has ended with all filters tied.

    Raises
    ------
    PDCError
        The trainer does not know how many steps it makes, and `steps` is not given.

    Examples
    --------
    >>> callback = PDCCallback(plan, example, network="model", images=images)      # doctest: +SKIP
    >>> Trainer(max_epochs=8, callbacks=[callback]).fit(module, loader)            # doctest: +SKIP
    >>> callback.folded                                                            # doctest: +SKIP
    """

    def __init__(
        self, plan: Plan, example: Tensor, network: str = "", *, steps: int | None = None, **settings: Any
    ) -> None:
        self.plan, self.example, self.network, self.steps, self.settings = plan, example, network, steps, settings
        self.pruner: Pruner | None = None
        self.folded: nn.Module | None = None
        self._state: dict[str, Any] | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make the pruner, once model and optimisers are on their device; a checkpoint's weights are loaded by then.

        Parameters
        ----------
        trainer : Trainer
            The trainer.
        pl_module : LightningModule
            The module that it trains.
        """
        steps = self.steps or trainer.estimated_stepping_batches
        if not math.isfinite(steps):
            raise PDCError("The trainer does not know how many steps it makes; give PDCCallback(..., steps=...).")
        model = pl_module.get_submodule(self.network)
        self.pruner = Pruner(model, self.plan, self.example, steps=int(steps), **self.settings)
        if self._state is not None:
            self.pruner.load_state_dict(self._state)
        pl_module.pruner = self.pruner  # type: ignore[assignment]
        self.pruner.attach(*trainer.optimizers)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Fold, where all filters are tied; otherwise `pruner.finish()` does.

        Parameters
        ----------
        trainer : Trainer
            The trainer.
        pl_module : LightningModule
            The module that it trains.
        """
        if self.pruner is not None:
            if self.pruner.summary().tied:
                self.folded = self.pruner.fold()
            self.pruner.detach()

    def state_dict(self) -> dict[str, Any]:
        """Return what goes into the trainer's checkpoint."""
        return {} if self.pruner is None else self.pruner.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep a checkpoint's state for when `fit` starts.

        Parameters
        ----------
        state_dict : dict
            What `state_dict` returned.
        """
        self._state = state_dict or None
