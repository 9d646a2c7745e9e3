"""The description of a run: run.yaml, made by `create_run` and read by `read_spec`."""

from __future__ import annotations

import json
import os
import platform
import secrets
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from pdc_core.baselines import METHOD_HELP, WHOLE
from pdc_core.data import describe_data
from pdc_core.durations import seconds_of
from pdc_core.errors import PDCError, first_reason
from pdc_core.handwritten import no_booleans, parse_yaml
from pdc_core.models.load import SHIPPED, weights_source
from pdc_core.plan import Plan, check_mergeable
from pdc_core.registry import name_in
from pdc_core.runs.files import make_folder, write
from pdc_core.runs.teachers import load_teacher, written_teacher
from pdc_core.seeds import MOST
from pdc_core.train import Training, check_teacher

if TYPE_CHECKING:
    from pdc_core.graph import ChannelGraph

FORMAT = 2  # of run folders; a reader refuses those of a later one
_HEAD = "# A run of PDC: what was asked. `pdc run FOLDER` does it.\n"
_HEADS = (
    _HEAD,
    "# A run of PDC: what was asked. `python -m pdc_core run FOLDER` does it.\n",
)  # format 1 wrote the second
_END = "# end\n"  # a file that begins with our first line and does not end with this one was cut off


def _seconds(budget: Any) -> float:
    try:
        return seconds_of(budget)
    except PDCError as error:
        raise ValueError(str(error).removesuffix(".")) from error


class RunSpec(BaseModel):
    """The description of a run: the content of run.yaml and of recipes. It may be written by hand.

    Attributes
    ----------
    kind : {"distil", "teach"}
        Cluster, train under the teacher and fold; or train on labels alone.
    method : str, default "pdc"
        Of a distil run: "pdc", or one of `pdc_core.baselines.METHODS`, which makes the small network first and trains
        it with the same teacher and losses. "whole" prunes nothing: it needs no plan and keeps every filter.
    model : str, default "resnet20"
        The network, as `load_model` takes it.
    data : str, default "digits"
        The data set, as `load_data` takes it.
    weights : str
        Where the run's first weights come from: "shipped", "random", "published", "torchvision", "timm" or the path of
        a checkpoint. "shipped" if left out, and "random" for "teach". True and False are read too: "shipped" and
        "random" for "distil", always "random" for "teach".
    plan : Plan, optional
        Clusters kept per group.
    keep : float, optional
        In a recipe, in place of a plan: one keep ratio for every group, above 0 to 1.
    residual : {"internal", "shared", "gather"}
        What happens to summed channels; a plan says so itself.
    inside : str, default ""
        Dotted name of the part of the network that is clustered; a plan says so itself.
    allow_weak_teacher : bool, default False
        Of a distil run: whether it may learn from a network that is hardly better than guessing on the validation
        images (`train.chance_level`).
    teacher : str, optional
        Of a distil run: the network that teaches, if it is not the network itself: "resnet56:published", a file, or a
        finished run (`written_teacher`).
    images : int, optional
        Training images to use, stratified by class and chosen by `seed`; all if left out.
    budget : float, optional
        Seconds that the run may take; "2min" is read too. Its worker times some steps, replaces it by `images` and
        `training.epochs`, writes these into run.yaml and begins. So a run that resumes makes the same steps.
    budgeted : float, optional
        The budget by which these were chosen; written by the worker.
    training : Training
        All settings.
    seed : int, default 0
        Seed of clustering, choice of images, batch order and augmentation, 0 to 2^32 - 1.
    created : str, optional
        Written by `create_run`, like the next two: date and time in ISO 8601.
    versions : dict of str to str
        Of Python and torch.
    format : int
        Version of the run folder.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["distil", "teach"] = "distil"
    method: Annotated[str, name_in(METHOD_HELP)] = "pdc"
    model: str = "resnet20"
    data: str = "digits"
    weights: str = SHIPPED
    plan: Plan | None = None
    keep: float | None = Field(None, gt=0, le=1)
    residual: Literal["internal", "shared", "gather"] = "internal"
    inside: str = ""
    allow_weak_teacher: bool = False
    teacher: str | None = Field(None, min_length=1)
    images: int | None = Field(None, ge=2)
    budget: Annotated[float, BeforeValidator(_seconds)] | None = None
    budgeted: float | None = None
    training: Training = Training()
    seed: int = Field(0, ge=0, le=MOST)
    created: str | None = None
    versions: dict[str, str] = {}
    format: int = FORMAT

    @model_validator(mode="before")
    @classmethod
    def _in_its_one_form(cls, given: Any) -> Any:
        """Write the weights as one of their names or a path, and take the treatment of sums from the plan."""
        if not isinstance(given, dict):
            return given
        no_booleans({name: field for name, field in cls.model_fields.items() if name != "training"}, given)
        weights, plan = given.get("weights", True), given.get("plan")
        if given.get("kind") == "teach" and isinstance(weights, bool):
            weights = False
        try:
            given = {**given, "weights": weights_source(weights)}
        except PDCError as error:
            raise ValueError(str(error)) from error
        if plan is not None:
            found = plan.model_dump() if isinstance(plan, Plan) else plan if isinstance(plan, dict) else {}
            given |= {"residual": found.get("residual", "internal"), "inside": found.get("inside", "")}
        return given

    @model_validator(mode="after")
    def _distil_has_a_plan(self) -> RunSpec:
        if self.kind == "distil" and self.plan is None and self.keep is None and self.method != WHOLE:
            raise ValueError("a distil run needs a plan (group names and the clusters each keeps) or keep, one ratio")
        if self.plan is not None and self.keep is not None:
            raise ValueError("give plan or keep, not both")
        if self.kind == "teach" and self.method != "pdc":
            raise ValueError("a method is for distil runs; teach trains a network as it is")
        if self.kind == "teach" and self.teacher is not None:
            raise ValueError("a teacher is for distil runs; teach trains on labels alone")
        if self.budget is not None and self.training.devices > 1:
            raise ValueError("a budget is timed in one process; for several devices give images and epochs")
        return self

    @property
    def title(self) -> str:
        """What a list calls it: its kind, or its method if that is not PDC."""
        return self.kind if self.method == "pdc" else self.method

    def with_plan(self) -> RunSpec:
        """Return the same run with `keep` written out as a plan, which needs the network but no weights.

        A plan that does not say how many filters its groups have says it then. Under the method "whole" the plan keeps
        every filter.

        Raises
        ------
        PDCError
            The network is unknown, the plan does not fit it, or nothing can be merged in it.
        """
        if self.kind != "distil":
            return self
        plan = self.plan
        if plan is None:
            plan = self._uniform_plan()
        elif not plan.counts.keys() <= plan.sizes.keys():
            plan = plan.sized(self._graph())
        return self.model_copy(update={"plan": plan.whole() if self.method == WHOLE else plan, "keep": None})

    def _uniform_plan(self) -> Plan:
        graph = self._graph()
        plan = Plan.uniform(graph, self.keep or 1.0, model=self.model)
        if self.method != WHOLE:
            check_mergeable(plan, graph)
        return plan

    def _graph(self) -> ChannelGraph:
        from pdc_core.graph import trace
        from pdc_core.models import load_model

        network = load_model(self.model, data=self.data, weights="random")
        return trace(network, describe_data(self.data).example, residual=self.residual, inside=self.inside)


def runs_root(root: str | Path | None = None) -> Path:
    """Return the folder of all runs: the argument, else the environment variable PDC_RUNS, else ./runs.

    Parameters
    ----------
    root : str or Path, optional
        The folder, if it is known.
    """
    return Path(root or os.environ.get("PDC_RUNS") or "runs")


def create_run(spec: RunSpec, root: str | Path | None = None, folder: str | Path | None = None) -> Path:
    """Write a new run folder that a worker can take up, and return it.

    Parameters
    ----------
    spec : RunSpec
        What is asked; a keep ratio is written out as a plan.
    root : str or Path, optional
        Folder of all runs (see `runs_root`); the run gets a name of its own in it.
    folder : str or Path, optional
        The run folder itself, in place of `root`: a new or an empty one.

    Returns
    -------
    Path
        The run folder.

    Raises
    ------
    PDCError
        The folder holds a run already or cannot be written, nothing can be merged in the network, or the teacher cannot
        teach on the data.
    """
    import torch

    spec = spec.with_plan()
    if spec.teacher is not None:
        spec = spec.model_copy(update={"teacher": written_teacher(spec.teacher, runs_root(root))})
        check_teacher(load_teacher(str(spec.teacher), spec.model, spec.data), describe_data(spec.data))
    created = datetime.now(UTC)
    name = f"{created:%Y%m%d-%H%M%S}-{spec.title}-{secrets.token_hex(2)}"  # never made from what a user typed
    path = Path(folder) if folder is not None else runs_root(root) / name
    make_folder(path, "run")
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    spec = spec.model_copy(update={"created": created.isoformat(timespec="seconds"), "versions": versions})
    waiting = {"state": "queued", "heartbeat": time.time(), "message": "waiting for a worker"}
    write(path / "status.json", json.dumps(waiting))
    write_spec(path, spec)
    return path


def write_spec(folder: Path, spec: RunSpec) -> None:
    """Write run.yaml whole or not at all.

    Parameters
    ----------
    folder : Path
        The run folder.
    spec : RunSpec
        Its content.
    """
    content = yaml.safe_dump(spec.model_dump(mode="json"), sort_keys=False)
    write(folder / "run.yaml", f"{_HEAD}{content}{_END}", durable=True)


def read_spec(path: str | Path) -> RunSpec:
    """Read the run.yaml of a folder, or a recipe.

    Parameters
    ----------
    path : str or Path
        A run folder, or a file that ends in .yaml or .yml.

    Returns
    -------
    RunSpec
        With today's names of settings, whichever version of PDC wrote the file.

    Raises
    ------
    PDCError
        There is none, it is cut off or no run file, or a newer version of PDC wrote it; the message names the entry.
    """
    path = Path(path)
    if path.is_dir() or path.suffix not in (".yaml", ".yml"):
        path, folder = path / "run.yaml", path
        kind = f"{folder} is not a run folder: {path.name}"
    else:
        kind = f"The recipe {path}"
    try:
        text = path.read_text(encoding="utf-8")
        raw = parse_yaml(text)
    except (OSError, ValueError) as error:
        raise PDCError(f"{kind} cannot be read ({str(error).splitlines()[0]}).") from error
    if text.startswith(_HEADS) and not text.endswith(_END):
        raise PDCError(f"{path} is cut off, so the run is not known; write the file again, or start a new run.")
    if isinstance(raw, dict) and isinstance(raw.get("format"), int) and raw["format"] > FORMAT:
        raise PDCError(
            f"{path} was written by a newer version of PDC (format {raw['format']}, this one reads {FORMAT}); upgrade "
            "PDC to go on with it."
        )
    try:
        return RunSpec.model_validate(raw)
    except ValidationError as error:
        where, reason = first_reason(error)
        raise PDCError(f"{path} is not a valid run file: {where or 'the file'}: {reason}.") from error
