"""From a time budget to images and epochs, when a run begins on the machine that trains it."""

from __future__ import annotations

import time
from dataclasses import replace

from pydantic import ValidationError
from torch import nn

from pdc_core.baselines import WHOLE
from pdc_core.data import Data
from pdc_core.durations import duration
from pdc_core.errors import PDCError, first_reason
from pdc_core.runs.spec import RunSpec
from pdc_core.train import Forecast, Training, fit_length, forecast
from pdc_core.train.batches import steps_per_epoch

_PATIENCE = 0.1  # of a budget, for the steps that are timed
BUSY = "Other work keeps this machine busy: the time given is for a free one, and the run takes longer until that ends."


def forecast_of(
    spec: RunSpec,
    model: nn.Module,
    data: Data,
    teacher: nn.Module | None = None,
    *,
    clustered: bool = False,
    patience: float | None = None,
) -> Forecast:
    """Time the steps of a run, see `train.forecast`.

    Parameters
    ----------
    spec : RunSpec
        The run.
    model : Module
        Its network.
    data : Data
        Its data, the images that it uses.
    teacher : Module, optional
        The network that teaches, if it is another one.
    clustered : bool, default False
        Whether filters are clustered as in the run, so that this is timed too.
    patience : float, optional
        Seconds after which no further step is timed.
    """
    small = spec.kind == "distil" and spec.method not in ("pdc", WHOLE)
    plan = spec.with_plan().plan
    return forecast(
        model,
        data,
        spec.training,
        plan,
        spec.seed,
        teacher=teacher,
        small=small,
        clustered=clustered and not small,
        patience=patience,
    )


def _of_length(found: Forecast, training: Training, steps: int) -> Forecast:
    """Return a forecast for another length, where filters may be tied, and folded, later or earlier in the run."""
    was, now = training.for_steps(found.steps).wide_share, training.for_steps(steps).wide_share
    if was == now:
        return found
    small = (found.mean_seconds - was * found.step_seconds) / (1 - was)
    return replace(found, mean_seconds=now * found.step_seconds + (1 - now) * small)


def within_budget(
    spec: RunSpec, model: nn.Module, data: Data, teacher: nn.Module | None, began: float
) -> tuple[RunSpec, str]:
    """Return a run with images and epochs in place of its budget, and a sentence that says what was chosen.

    Parameters
    ----------
    spec : RunSpec
        With a budget; `images` is then the most that may be used.
    model, data, teacher
        As loaded for it; all training images.
    began : float
        `time.perf_counter()` when the run began; what passed since then counts.

    Raises
    ------
    PDCError
        The budget is too short for 2 epochs of one step, or the settings need more epochs.
    """
    assert spec.budget is not None
    most = min(len(data.train), spec.images or len(data.train))
    found = forecast_of(spec, model, data, teacher, clustered=True, patience=_PATIENCE * spec.budget)
    spent = found.share * (time.perf_counter() - began)
    size, classes = spec.training.batch_size, len(data.classes)
    length = fit_length(found, spec.budget, spent, most, size, classes)
    found = _of_length(found, spec.training, length.epochs * steps_per_epoch(length.images, size))
    length = fit_length(found, spec.budget, spent, most, size, classes)
    try:
        training = Training.model_validate({**spec.training.model_dump(), "epochs": length.epochs})
    except ValidationError as error:
        _, reason = first_reason(error)
        raise PDCError(
            f"A budget of {duration(spec.budget)} gives {length.epochs} epochs here, which the settings do not allow: "
            f"{reason}; give a longer budget."
        ) from error
    changes = {"budget": None, "budgeted": spec.budget, "images": length.images, "training": training}
    sentence = (
        f"A budget of {duration(spec.budget)}: {length.images:,} of {len(data.train):,} training images, "
        f"{length.epochs} epochs."
    )
    return spec.model_copy(update=changes), f"{sentence} {BUSY}" if found.busy else sentence
