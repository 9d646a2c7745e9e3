"""The report of a run with types: what report.json says, for readers that do not want to know its keys.

`Result.report` and report.json stay plain dicts, which notebooks and other programs index; this reads them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from pdc_core.errors import PDCError, first_reason
from pdc_core.runs.waiting import read_json

NETWORKS = ("before", "reconstructed", "folded", "taught")


class _Read(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow")  # what a later version adds is kept


class Accuracies(_Read):
    """Accuracies of a network on the test and the validation split.

    Attributes
    ----------
    test_accuracy : float
        Top-1 accuracy on the test split, 0 to 1.
    val_accuracy : float
        Top-1 accuracy on the validation split, 0 to 1.
    test_top5 : float or None
        Share of test images whose class is among the five likeliest, 0 to 1; None below 100 classes.
    test_agreement : float or None
        Share of test images that get the teacher's class, 0 to 1; None without a teacher.
    """

    test_accuracy: float
    val_accuracy: float
    test_top5: float | None = None
    test_agreement: float | None = None


class NetworkReport(Accuracies):
    """What the report says of one network.

    Attributes
    ----------
    macs : int
        Multiply-accumulates for one image.
    params : int
        Parameters.
    latency : dict of str to float
        Seconds per batch, by its number of images.
    """

    macs: int
    params: int
    latency: dict[str, float] = {}


class EpochReport(Accuracies):
    """What the report says of an epoch.

    Attributes
    ----------
    epoch : float
        Epochs done, from 1; not whole if the run finished early.
    """

    epoch: float


class TeacherReport(Accuracies):
    """What the report says of a teacher that is not the network itself.

    Attributes
    ----------
    name : str
        As the run names it, such as "resnet56:published".
    """

    name: str


class Width(_Read):
    """Output channels of a layer.

    Attributes
    ----------
    name : str
        The layer.
    before : int
        Channels of the trained network.
    after : int
        Channels of the folded network.
    """

    name: str
    before: int
    after: int


class FinishedEarly(_Read):
    """Where a run was asked to finish.

    Attributes
    ----------
    step : int
        Steps made.
    steps : int
        Steps of the whole run.
    """

    step: int
    steps: int


class Report(_Read):
    """The results of a run.

    Attributes
    ----------
    before : NetworkReport
        The network at the start.
    reconstructed : NetworkReport or None
        The trained network at full width, filters tied; None for "teach", like the next.
    folded : NetworkReport or None
        The small network.
    taught : NetworkReport or None
        The trained network of "teach"; None otherwise.
    max_abs_diff : float or None
        Largest difference between logits of the reconstructed and the folded network; None for "teach".
    relative_diff : float or None
        The same, divided by the largest |logit| of the reconstructed network; None for "teach".
    compared_images : int or None
        Test images on which both were found; None for "teach", and in reports of early versions.
    same_predictions : bool or None
        Whether both give every test image the same class; None for "teach".
    teacher : TeacherReport or None
        The network that taught; None if the network taught itself, and for "teach".
    train_images : int or None
        Images that the run trained on; None in reports of early versions, like the next.
    test_images : int or None
        Images of the test split.
    residual : str or None
        How residual sums were treated; None for "teach".
    widths : tuple of Width
        Output channels of every layer, in the order of the forward pass; empty for "teach".
    last : EpochReport or None
        The last epoch; None in reports of early versions, like the next.
    best : EpochReport or None
        The best epoch by validation.
    ended_early : FinishedEarly or None
        Where the run was asked to finish, if it was.
    new_head : str or None
        The last layer, if it was new and random at the start because the weights were for other classes.
    seconds : float or None
        Duration of the whole run.
    """

    before: NetworkReport
    reconstructed: NetworkReport | None = None
    folded: NetworkReport | None = None
    taught: NetworkReport | None = None
    max_abs_diff: float | None = None
    relative_diff: float | None = None
    compared_images: int | None = None
    same_predictions: bool | None = None
    teacher: TeacherReport | None = None
    train_images: int | None = None
    test_images: int | None = None
    residual: str | None = None
    widths: tuple[Width, ...] = ()
    last: EpochReport | None = None
    best: EpochReport | None = None
    ended_early: FinishedEarly | None = None
    new_head: str | None = None
    seconds: float | None = None

    @classmethod
    def of(cls, content: dict[str, Any]) -> Report:
        """Return a report with types.

        Parameters
        ----------
        content : dict
            The content of report.json, or `Result.report`.

        Raises
        ------
        PDCError
            It is not a report; the message names the entry.
        """
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            where, reason = first_reason(error)
            raise PDCError(f"This is not a report of a run: {where or 'the file'}: {reason}.") from error

    @property
    def networks(self) -> dict[str, NetworkReport]:
        """The networks that were measured, by name, in the order in which they arise."""
        return {name: found for name in NETWORKS if (found := getattr(self, name)) is not None}

    @property
    def result(self) -> NetworkReport:
        """The network that the run was for: the folded one, or the taught one."""
        return self.folded or self.taught or self.before

    @property
    def was_folded(self) -> bool:
        """Whether tied filters were folded away; baselines remove filters before they train."""
        whole, small = self.reconstructed, self.folded
        return whole is not None and small is not None and whole.macs > small.macs

    @property
    def compared(self) -> str:
        """On what the logits of the reconstructed and the folded network were compared, in words."""
        some = self.compared_images is not None and self.compared_images != self.test_images
        return f"{self.compared_images:,} test images" if some else "the test images"

    @property
    def macs_cut(self) -> float:
        """Share of the MACs that was cut, 0 to below 1."""
        return 1 - self.result.macs / self.before.macs


def read_report(path: str | Path) -> Report:
    """Read the report of a finished run.

    Parameters
    ----------
    path : str or Path
        A run folder, or its report.json.

    Raises
    ------
    PDCError
        There is none yet, or it is not a report.

    Examples
    --------
    >>> read_report("nowhere")
    Traceback (most recent call last):
    pdc_core.errors.PDCError: nowhere/report.json holds no report; the run may not be done.
    """
    path = Path(path)
    file = path if path.suffix == ".json" else path / "report.json"
    content = read_json(file)
    if content is None:
        raise PDCError(f"{file} holds no report; the run may not be done.")
    return Report.of(content)
