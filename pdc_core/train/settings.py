"""The settings of a run, validated: the same object in Python, in run.yaml and on the command line."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, create_model, model_validator

from pdc_core.handwritten import no_booleans
from pdc_core.losses import DEFAULT_WEIGHTS, FEATURES, LOGITS
from pdc_core.reconstruct import SCHEDULES
from pdc_core.registry import name_in

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
FEWEST_STEPS, SMALLEST_BATCH = 10, 8  # steps per epoch and images per step that `Training.for_images` aims at


def _none_or_several(images: int) -> int:
    if images == 1:
        raise ValueError("give 0, or at least 2 images: the variance of one says nothing")
    return images


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


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


# One weight, 0 or more, for each loss on features; so that a loss that is added to FEATURES is a setting at once.
_FeatureWeights: Any = create_model(
    "_FeatureWeights",
    __base__=_Settings,
    **{name: (float, Field(DEFAULT_WEIGHTS.get(name, 0.0), ge=0)) for name in FEATURES},  # type: ignore[call-overload]
)


LONG = 350  # steps from which on a run is long: benchmarks/README.md, «By the length of a run»


def merges_for(steps: int | None) -> int:
    """Return how many merges a run of some length should have under schedule "merge": 1 if it is short, else 6.

    A short run needs all its steps after the merge. In a long one both end level, and six merges are the gradual change
    that the paper describes.

    Parameters
    ----------
    steps : int or None
        Steps of the optimiser; None, where nobody knows, counts as short.

    Examples
    --------
    >>> merges_for(156), merges_for(1875), merges_for(None)
    (1, 6, 1)

    Source: our measurements.
    """
    return 6 if steps is not None and steps >= LONG else 1


def lr_for(steps: int | None) -> float:
    """Return the highest learning rate that a run of some length should have, in batches of 128: 0.02, or 0.05 if long.

    A short run has no time to recover from large steps. With six merges, a long one ends better for them.

    Parameters
    ----------
    steps : int or None
        Steps of the optimiser; None, where nobody knows, counts as short.

    Examples
    --------
    >>> lr_for(156), lr_for(1875), lr_for(None)
    (0.02, 0.05, 0.02)

    Source: our measurements.
    """
    return 0.05 if steps is not None and steps >= LONG else 0.02


class Training(_FeatureWeights):
    """The settings of a run. The defaults are those chosen for digits, on validation images and seeds 3 to 12.

    Attributes
    ----------
    matching : float, default 1.0
        Weight of the distance of the outputs of residual blocks to the teacher's, 0 or more; 0 leaves the loss out.
        Networks without blocks have none. See `losses.FEATURES` for this one and the next.
    attention : float, default 0.0
        Weight of the distance of attention maps to the teacher's, 0 or more.
    epochs : int, default 8
        Passes over the training images, 1 to 100,000.
    batch_size : int, default 32
        Images per step, of all processes together; 2 or more.
    optimizer : {"sgd", "adamw"}
        SGD (Nesterov where `momentum` is above 0), or AdamW (`momentum` is its beta 1).
    lr : float, optional, default 0.05
        Highest learning rate that the schedule reaches, above 0. None follows the length of the run (`lr_for`).
    momentum : float, default 0.9
        0 to below 1.
    weight_decay : float, default 5e-4
        0 or more.
    lr_schedule : {"cosine", "step", "onecycle", "constant"}
        "cosine" falls to 0; "step" multiplies by `lr_gamma` at every share of the run in `milestones`; "onecycle" rises
        to `lr` over the first 0.3 of the run as a cosine, then falls to 0.
    milestones : tuple of float, default (0.5, 0.75)
        Shares of the run, rising, each between 0 and 1.
    lr_gamma : float, default 0.1
        Factor of "step", above 0 to 1.
    warmup : float, default 0.0
        Epochs over which the learning rate first rises in a straight line, fewer than `epochs`; "onecycle" ignores it.
    clip_grad_norm : float, optional
        Largest norm of the gradient, above 0; None does not clip.
    label_smoothing : float, default 0.0
        Share of the label that is spread over all classes, 0 to below 1.
    temperature : float, default 4.0
        T of the loss (`losses.one_stage_loss`), above 0.
    alpha : float, default 0.5
        The teacher's share of the loss, 0 to 1.
    kd_form : str, default "kd"
        Form of the loss on the teacher's logits, a name in `losses.LOGITS`.
    feature_decay : float, default 0.0
        d, 0 or more: the weights of the losses on features fall over the run as (1 - progress)^d.
    schedule : str, default "merge"
        How filters become identical, a name in `train.SCHEDULES`.
    recluster_until : float, default 0.5
        Share of the run after which "recluster" keeps its clusters, 0 to 1.
    merges : int, optional, default 6
        Merge steps of "merge", 1 or more: the first before the first training step, the last at `tied_after`. None
        follows the length of the run (`merges_for`).
    merge_decay : float, default 1.0
        p of "merge", above 0: k_j = n (k/n)^((j/merges)^p) after step j. Below 1 more filters merge early,
        above 1 late.
    n_images : int, default 512
        Training images on which channels are measured, where clusters or readers look at data; 2 or more.
    tied_gradients : {"summed", "averaged"}
        While filters are tied: summed over a cluster, as in the folded network, or averaged.
    tied_after : float, default 0.3
        Share of the run after which all filters are tied, above 0 to 1.
    centroid : {"norm", "uniform", "medoid"}
        How filters count in a centroid: by their squared norm, equally, or the medoid alone.
    augment : float, default 0.0
        Share of the images of a step that are augmented (see `data`), 0 to 1. A short distillation on digits does
        better without: 8 epochs are too few to learn the shifted images as well.
    fold_when_tied : bool, default False
        Fold as soon as the filters are tied and train the small network on, with gradients scaled so that SGD makes the
        same steps (`shrink`). Saves work; not with "adamw", whose steps would differ.
    recalibrate : int, default 0
        Training images on which norm statistics are re-estimated at the end, at least 2. 0 leaves them as trained,
        unless the run ended before its clusters were tied.
    accelerator : str, default "auto"
        Where to train, as Lightning Fabric names it: "cpu", "gpu", ...
    devices : int, default 1
        Devices of this machine to train on, 1 or more.
    precision : {"32", "bf16-mixed", "16-mixed"}
        "16-mixed" needs a GPU.
    teacher_precision : {"same", "32", "bf16", "16"}
        Precision of the teacher alone; "same" as the student's, "16" needs a GPU.
    channels_last : bool, default False
        Memory layout of images and weights; speed only.
    compile : bool, default False
        Whether torch.compile is used; speed only.
    workers : int, default 0
        Threads per process that read images from files; 0 for one per core. Data in memory needs none.
    checkpoint_seconds : float, default 60.0
        A checkpoint is written at the latest after that many seconds, and after every epoch.
    checkpoint_steps : int, optional
        A checkpoint is written exactly every that many steps as well, 1 or more.
    """

    epochs: int = Field(8, ge=1, le=100_000)
    batch_size: int = Field(32, ge=2)
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: float | None = Field(0.05, gt=0)
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
    kd_form: Annotated[str, name_in(LOGITS)] = "kd"
    feature_decay: float = Field(0.0, ge=0)
    schedule: Annotated[str, name_in(SCHEDULES)] = "merge"
    recluster_until: float = Field(0.5, ge=0, le=1)
    merges: int | None = Field(6, ge=1)
    merge_decay: float = Field(1.0, gt=0)
    n_images: int = Field(512, ge=2)
    tied_gradients: Literal["averaged", "summed"] = "summed"
    tied_after: float = Field(0.3, gt=0, le=1)
    centroid: Literal["norm", "uniform", "medoid"] = "norm"
    augment: float = Field(0.0, ge=0, le=1)
    fold_when_tied: bool = False
    recalibrate: Annotated[int, AfterValidator(_none_or_several)] = Field(0, ge=0)
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
        return no_booleans(cls.model_fields, with_present_names(given) if isinstance(given, dict) else given)

    @model_validator(mode="after")
    def _fits_together(self) -> Training:
        if self.fold_when_tied and self.optimizer != "sgd":
            raise ValueError(f"fold_when_tied needs optimizer sgd, not {self.optimizer}, whose steps would differ")
        if self.centroid == "medoid" and self.tied_gradients == "averaged":
            raise ValueError("centroid medoid needs tied_gradients summed: a medoid's own gradient is not the average")
        if self.warmup >= self.epochs:
            raise ValueError(f"warmup of {self.warmup:g} epochs must be shorter than the {self.epochs} of the run")
        if not all(0 < a < 1 for a in self.milestones) or list(self.milestones) != sorted(self.milestones):
            raise ValueError(f"milestones {self.milestones} must be shares of the run, rising, between 0 and 1")
        return self

    @classmethod
    def for_data(cls, data: str, **changes: Any) -> Training:
        """Return the defaults of `distil` for a data set: digits has its own, all others those of CIFAR-10.

        For all others merges and learning rate follow the length of the run, and what is tied is folded, where the
        optimiser allows it: steps of a folded network are the same and take less time.

        Parameters
        ----------
        data : str
            Name of the data set, as `load_data` takes it.
        **changes : Any
            Settings by name that replace the defaults.
        """
        early = changes.get("optimizer", "sgd") == "sgd"
        cifar = {"lr": None, "batch_size": 128, "augment": 1.0, "merges": None}
        cifar |= {"channels_last": True, "fold_when_tied": early}
        return cls(**{**({} if data == "digits" else cifar), **changes})

    @classmethod
    def for_teaching(cls, start: str = "random", **changes: Any) -> Training:
        """Return the defaults of `teach`: from random weights 30 epochs at 0.1, from trained ones 10 at 0.01.

        Every image is augmented. Trained weights are fine-tuned: a high learning rate would undo what they know.

        Parameters
        ----------
        start : str, default "random"
            Where the first weights come from, as `RunSpec.weights` says it.
        **changes : Any
            Settings by name that replace the defaults.

        Examples
        --------
        >>> Training.for_teaching().lr, Training.for_teaching("torchvision").lr
        (0.1, 0.01)
        """
        pace = {"epochs": 30, "lr": 0.1} if start == "random" else {"epochs": 10, "lr": 0.01}
        return cls(**{**pace, "batch_size": 64, "augment": 1.0, **changes})

    def for_steps(self, steps: int | None) -> Training:
        """Return these settings with numbers where they were to follow the length of the run.

        Parameters
        ----------
        steps : int or None
            Steps of the optimiser in the whole run; None, where nobody knows, counts as short.

        Examples
        --------
        >>> settings = Training.for_data("cifar10")
        >>> [(each.merges, each.lr) for each in (settings, settings.for_steps(156), settings.for_steps(10_560))]
        [(None, None), (1, 0.02), (6, 0.05)]
        """
        merges = merges_for(steps) if self.merges is None else self.merges
        return self.model_copy(update={"merges": merges, "lr": self.highest_lr(steps)})

    def highest_lr(self, steps: int | None) -> float:
        """Return the highest learning rate of a run of some length.

        Parameters
        ----------
        steps : int or None
            Steps of the optimiser in the whole run; None, where nobody knows, counts as short.

        Examples
        --------
        >>> Training.for_data("cifar10").highest_lr(10_560), Training(lr=0.1).highest_lr(10_560)
        (0.05, 0.1)
        """
        return lr_for(steps) if self.lr is None else self.lr

    @property
    def wide_share(self) -> float:
        """Share of a run in which the student has all its filters, 0 to 1: until they are tied, where it then folds.

        Examples
        --------
        >>> [Training(fold_when_tied=fold, merges=m).wide_share for fold, m in ((False, 6), (True, 6), (True, 1))]
        [1.0, 0.3, 0.0]
        """
        if not self.fold_when_tied:
            return 1.0
        at_once = self.schedule == "tied" or (self.schedule == "merge" and self.for_steps(None).merges == 1)
        return 0.0 if at_once else self.tied_after

    def for_images(self, images: int) -> Training:
        """Return these settings with smaller batches where there are few images: an epoch should have some steps.

        The batch size is halved until there are 10 steps per epoch, but not below 8 images; the learning rate falls by
        the square root of that. Our choice.

        Parameters
        ----------
        images : int
            Training images, 0 or more.

        Examples
        --------
        >>> fitted = Training.for_teaching().for_images(200)
        >>> fitted.batch_size, fitted.lr
        (16, 0.05)
        >>> Training.for_teaching().for_images(6000) == Training.for_teaching()
        True
        """
        size = self.batch_size
        while size >= 2 * SMALLEST_BATCH and images < FEWEST_STEPS * size:
            size //= 2
        if size == self.batch_size:
            return self
        lr = self.highest_lr(self.epochs * (images // size))
        return self.model_copy(update={"batch_size": size, "lr": lr * math.sqrt(size / self.batch_size)})
