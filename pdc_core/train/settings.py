"""The settings of a run, validated: the same object in Python, in run.yaml and on the command line."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Training(BaseModel):
    """The settings of a run. Plain defaults are those chosen for digits, on validation images and seeds 3 to 8.

    Attributes
    ----------
    epochs, batch_size : passes over the training images, images a step.
    lr, momentum, weight_decay : of SGD with Nesterov momentum; the learning rate falls as a cosine to 0.
    temperature, alpha : T and alpha of the loss (`distil.one_stage_loss`).
    schedule, ramp : how the strength rises, and after which share of the run the filters are tied.
    weights : how filters count in a centroid, by their squared norm or uniformly.
    augment : share of the images of a step that are augmented (see `data`). A short distillation on digits does
        better without: 8 epochs are too few to learn the moved images as well.
    accelerator : where to train, as Lightning Fabric names it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(8, ge=1, le=100_000)
    batch_size: int = Field(32, ge=2)
    lr: float = Field(0.05, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(5e-4, ge=0)
    temperature: float = Field(4.0, gt=0)
    alpha: float = Field(0.5, ge=0, le=1)
    schedule: Literal["progressive", "tied"] = "progressive"
    ramp: float = Field(0.5, gt=0, le=1)
    weights: Literal["norm", "uniform"] = "norm"
    augment: float = Field(0.0, ge=0, le=1)
    accelerator: str = "auto"

    @classmethod
    def for_data(cls, data: str, **changes: Any) -> Training:
        """Return the defaults of `distil` for a data set: digits its own, every other one those of CIFAR-10."""
        known = {} if data == "digits" else {"lr": 0.02, "batch_size": 128, "augment": 1.0}
        return cls(**{**known, **changes})

    @classmethod
    def for_teaching(cls, **changes: Any) -> Training:
        """Return the defaults of `teach`: more epochs, a larger first step, every image augmented."""
        return cls(**{"epochs": 30, "lr": 0.1, "batch_size": 64, "augment": 1.0, **changes})
