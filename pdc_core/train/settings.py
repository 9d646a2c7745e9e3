"""The settings of a run, validated: the same object in Python, in run.yaml and on the command line."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

# Settings and schedules that had other names in run.yaml format 1 and before PDC 0.2; both are read.
EARLIER_NAMES = {
    "clip": "clip_grad_norm",
    "decay": "lr_gamma",
    "freeze": "recluster_until",
    "gradients": "tied_gradients",
    "images": "n_images",
    "logits": "kd_form",
    "ramp": "tied_after",
    "weights": "centroid",
}
EARLIER_SCHEDULES = {"asymptotic": "merge", "soft": "recluster"}


def with_present_names(given: dict[str, Any]) -> dict[str, Any]:
    """Return settings with every name of an earlier version replaced by today's.

    Parameters
    ----------
    given : dict
        Settings by name, earlier or present ones; not changed.

    Raises
    ------
    ValueError
        A setting is given under both of its names.

    Examples
    --------
    >>> with_present_names({"ramp": 0.5, "schedule": "soft", "lr": 0.1})
    {'tied_after': 0.5, 'schedule': 'recluster', 'lr': 0.1}
    """
    renamed: dict[str, Any] = {}
    for name, value in given.items():
        present = EARLIER_NAMES.get(name, name)
        if present in renamed or (present != name and present in given):
            raise ValueError(f"{name} is an earlier name of {present}; give {present} alone")
        renamed[present] = (
            EARLIER_SCHEDULES.get(value, value) if name == "schedule" and isinstance(value, str) else value
        )
    return renamed


class Training(BaseModel):
    """The settings of a run. Plain defaults are those chosen for digits, on validation images and seeds 3 to 12.

    Attributes
    ----------
    epochs, batch_size : passes over the training images, images a step (of all processes together).
    optimizer : "sgd" (Nesterov where `momentum` is above 0) or "adamw" (`momentum` is its beta 1).
    lr, momentum, weight_decay : of the optimiser; `lr` is the highest that the schedule reaches.
    lr_schedule : "cosine" to 0, "step" (times `lr_gamma` at every share of the run in `milestones`),
        "onecycle" (cosine up to `lr` over the first 0.3 of the run, then down to 0), or "constant".
    warmup : epochs over which the learning rate first rises in a straight line; not for "onecycle", which has its own.
    clip_grad_norm : largest norm of the gradient, or None.
    label_smoothing : share of the label that is spread over all classes, 0 to below 1.
    temperature, alpha : T and alpha of the loss (`distil.one_stage_loss`).
    kd_form : the form of the teacher's guidance by logits, "kd" or decoupled, "dkd".
    matching, attention : weights of the losses on the outputs of residual blocks (`distil.FEATURES`); 0 is none, and
        networks without blocks have none.
    feature_decay : d, by which these weights fall over the run as (1 - progress)^d.
    schedule, tied_after : how filters become identical, and after which share of the run they are tied. "progressive":
        the strength rises as a cube; "tied": it is 1 from the first step; "recluster": as progressive, with new
        clusters at every epoch until `recluster_until`; "merge": filters merge in `merges` steps, and the layers that
        read them are refitted after each.
    recluster_until : share of the run after which "recluster" keeps its clusters.
    merges : merge steps of "merge", the first before the first training step, the last at `tied_after`.
    merge_decay : p of "merge", k_j = n (k/n)^((j/merges)^p) after step j: below 1 more merges early, above 1 late.
    n_images : training images on which channels are measured, where clusters or readers look at data.
    tied_gradients : while filters are tied, "averaged" over a cluster or "summed" as in the folded network.
    centroid : how filters count in a centroid, by their squared norm, uniformly, or the medoid alone.
    augment : share of the images of a step that are augmented (see `data`). A short distillation on digits does
        better without: 8 epochs are too few to learn the moved images as well.
    fold_when_tied : fold as soon as the filters are tied and train the small network on, with gradients scaled so that
        SGD makes the same steps (`shrink`). Saves work; not with "adamw", whose steps would differ.
    recalibrate : training images over which norm statistics are estimated anew at the end; 0 leaves them as trained,
        unless the run ended before its clusters were tied.
    accelerator, devices : where to train and on how many devices of a machine, as Lightning Fabric names them.
    precision : "32", or "bf16-mixed" or "16-mixed" (GPU only) for faster products of less precision.
    teacher_precision : of the teacher alone: "same" as the student, "32", "bf16" or "16" (GPU only).
    channels_last, compile : memory layout of images and weights; whether torch.compile is used. Speed only.
    workers : threads a process that read images from files, 0 for one a core; data in memory needs none.
    checkpoint_seconds, checkpoint_steps : a checkpoint at the latest after so many seconds, or exactly every so many
        steps; one is written after every epoch in any case.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(8, ge=1, le=100_000)
    batch_size: int = Field(32, ge=2)
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: float = Field(0.05, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(5e-4, ge=0)
    lr_schedule: Literal["cosine", "step", "onecycle", "constant"] = "cosine"
    milestones: tuple[float, ...] = (0.5, 0.75)
    lr_gamma: float = Field(0.1, gt=0, le=1)
    warmup: float = Field(0.0, ge=0)
    clip_grad_norm: float | None = Field(None, gt=0)
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    temperature: float = Field(4.0, gt=0)
    alpha: float = Field(0.5, ge=0, le=1)
    kd_form: Literal["kd", "dkd"] = "kd"
    matching: float = Field(1.0, ge=0)
    attention: float = Field(0.0, ge=0)
    feature_decay: float = Field(0.0, ge=0)
    schedule: Literal["merge", "progressive", "recluster", "tied"] = "merge"
    recluster_until: float = Field(0.5, ge=0, le=1)
    merges: int = Field(6, ge=1)
    merge_decay: float = Field(1.0, gt=0)
    n_images: int = Field(512, ge=2)
    tied_gradients: Literal["averaged", "summed"] = "summed"
    tied_after: float = Field(0.3, gt=0, le=1)
    centroid: Literal["norm", "uniform", "medoid"] = "norm"
    augment: float = Field(0.0, ge=0, le=1)
    fold_when_tied: bool = False
    recalibrate: int = Field(0, ge=0)
    accelerator: str = "auto"
    devices: int = Field(1, ge=1)
    precision: Literal["32", "bf16-mixed", "16-mixed"] = "32"
    teacher_precision: Literal["same", "32", "bf16", "16"] = "same"
    channels_last: bool = False
    compile: bool = False
    workers: int = Field(0, ge=0)
    checkpoint_seconds: float = Field(60.0, gt=0)
    checkpoint_steps: int | None = Field(None, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _reads_earlier_names(cls, given: Any) -> Any:
        return with_present_names(given) if isinstance(given, dict) else given

    @model_validator(mode="after")
    def _fits_together(self) -> Training:
        if self.fold_when_tied and self.optimizer != "sgd":
            raise ValueError(f"fold_when_tied goes with optimizer sgd, not {self.optimizer}, whose steps would differ")
        if self.centroid == "medoid" and self.tied_gradients == "averaged":
            raise ValueError(
                "centroid medoid goes with tied_gradients summed: a medoid's own gradient is not the average"
            )
        if self.warmup >= self.epochs:
            raise ValueError(f"warmup of {self.warmup:g} epochs has to be shorter than the {self.epochs} of the run")
        if not all(0 < a < 1 for a in self.milestones) or list(self.milestones) != sorted(self.milestones):
            raise ValueError(f"milestones {self.milestones} have to be shares of the run, rising, between 0 and 1")
        return self

    @classmethod
    def for_data(cls, data: str, **changes: Any) -> Training:
        """Return the defaults of `distil` for a data set: digits its own, every other one those of CIFAR-10."""
        cifar = {"lr": 0.02, "batch_size": 128, "augment": 1.0, "merges": 1}
        return cls(**{**({} if data == "digits" else cifar), **changes})

    @classmethod
    def for_teaching(cls, **changes: Any) -> Training:
        """Return the defaults of `teach`: more epochs, a larger first step, every image augmented."""
        return cls(**{"epochs": 30, "lr": 0.1, "batch_size": 64, "augment": 1.0, **changes})
