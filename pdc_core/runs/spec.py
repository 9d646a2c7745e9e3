"""What a run was asked to do: run.yaml, made by `create_run` and read by `read_spec`."""

from __future__ import annotations

import json
import os
import platform
import secrets
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pdc_core.errors import PDCError
from pdc_core.plan import Plan
from pdc_core.runs.files import write
from pdc_core.train import Training

FORMAT = 2  # of run folders; a reader refuses those of a later one
_HEAD = "# A run of PDC: what was asked. `python -m pdc_core run FOLDER` does it.\n"
_END = "# end\n"  # a file that begins with our first line and does not end with this one was cut off


class RunSpec(BaseModel):
    """What a run was asked to do: the content of run.yaml and of recipes. People may write it by hand.

    Attributes
    ----------
    kind : "distil" (cluster, train under the teacher, fold) or "teach" (labels alone).
    method : of a distil run: "pdc", or what PDC is compared with (`pdc_core.baselines.METHODS`), which makes the small
        network first and trains it under the same teacher and losses.
    model, data, weights : as `load_model` and `load_data` take them.
    plan : clusters per group; or, in a recipe, `keep` (one keep ratio for every group) and `residual`.
    training, seed : see `Training`.
    created, versions, format : written by `create_run`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["distil", "teach"] = "distil"
    method: Literal["pdc", "l1", "fpgm", "random", "folding", "folding_bn", "scratch"] = "pdc"
    model: str = "resnet20"
    data: str = "digits"
    weights: bool | str = True
    plan: Plan | None = None
    keep: float | None = Field(None, gt=0, le=1)
    residual: Literal["internal", "shared", "gather"] = "internal"
    training: Training = Training()
    seed: int = Field(0, ge=0)
    created: str | None = None
    versions: dict[str, str] = {}
    format: int = FORMAT

    @model_validator(mode="after")
    def _distil_has_a_plan(self) -> RunSpec:
        if self.kind == "distil" and self.plan is None and self.keep is None:
            raise ValueError("a distil run needs a plan: group names and the clusters each keeps; or keep, one ratio")
        if self.plan is not None and self.keep is not None:
            raise ValueError("give plan or keep, not both")
        if self.kind == "teach" and self.method != "pdc":
            raise ValueError("a method is for distil runs; teach trains a network as it is")
        return self

    @property
    def title(self) -> str:
        """What a list calls it: its kind, or the method where that is another than PDC."""
        return self.kind if self.method == "pdc" else self.method

    @property
    def initial_weights(self) -> bool | str:
        """The weights to load: `teach` begins with random ones unless a file is named."""
        return self.weights if self.kind == "distil" or isinstance(self.weights, str) else False

    def with_plan(self) -> RunSpec:
        """Return the same run with `keep` spelt out as a plan, which needs the network but no weights."""
        if self.kind != "distil" or self.plan is not None:
            return self
        import torch

        from pdc_core.data import describe_data
        from pdc_core.graph import trace
        from pdc_core.models import load_model

        network = load_model(self.model, data=self.data, weights=False)
        graph = trace(network, torch.zeros(1, *describe_data(self.data).shape), residual=self.residual)
        plan = Plan.uniform(graph, self.keep or 1.0, model=self.model)
        return self.model_copy(update={"plan": plan, "keep": None})


def runs_root(root: str | Path | None = None) -> Path:
    """Return the folder of all runs: the argument, else the environment variable PDC_RUNS, else ./runs."""
    return Path(root or os.environ.get("PDC_RUNS") or "runs")


def create_run(spec: RunSpec, root: str | Path | None = None, folder: str | Path | None = None) -> Path:
    """Write a new run folder that a worker can take up, and return it.

    Parameters
    ----------
    root : folder of all runs; the run gets a name of its own in it.
    folder : or the run folder itself. It may exist, but must not hold a run.

    Raises
    ------
    PDCError
        The folder holds a run already, or cannot be written.
    """
    import torch

    spec = spec.with_plan()
    created = datetime.now(UTC)
    name = f"{created:%Y%m%d-%H%M%S}-{spec.title}-{secrets.token_hex(2)}"  # never made from what a user typed
    path = Path(folder) if folder is not None else runs_root(root) / name
    if (path / "run.yaml").exists():
        raise PDCError(
            f"{path} holds a run already; choose another folder, or go on with it: python -m pdc_core run {path}"
        )
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    spec = spec.model_copy(update={"created": created.isoformat(timespec="seconds"), "versions": versions})
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PDCError(f"The run folder {path} cannot be written: {error.strerror}.") from error
    waiting = {"state": "queued", "heartbeat": time.time(), "message": "waiting for a worker"}
    write(path / "status.json", json.dumps(waiting))
    content = yaml.safe_dump(spec.model_dump(mode="json"), sort_keys=False)
    write(path / "run.yaml", f"{_HEAD}{content}{_END}", durable=True)
    return path


def read_spec(path: str | Path) -> RunSpec:
    """Read the run.yaml of a folder, or a recipe.

    Raises
    ------
    PDCError
        There is none, it is cut off or no run file, or a newer version of PDC wrote it; the message names the line.
    """
    path = Path(path)
    if path.is_dir() or path.suffix not in (".yaml", ".yml"):
        path, folder = path / "run.yaml", path
        kind = f"{folder} is not a run folder: {path.name}"
    else:
        kind = f"The recipe {path}"
    try:
        text = path.read_text(encoding="utf-8")
        raw = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise PDCError(f"{kind} cannot be read ({str(error).splitlines()[0]}).") from error
    if text.startswith(_HEAD) and not text.endswith(_END):
        raise PDCError(f"{path} is cut off, so it is not known what was asked; write it again or start a new run.")
    if isinstance(raw, dict) and isinstance(raw.get("format"), int) and raw["format"] > FORMAT:
        raise PDCError(
            f"{path} was written by a newer version of PDC (format {raw['format']}, this one reads {FORMAT}); upgrade "
            "PDC to go on with it."
        )
    try:
        return RunSpec.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise PDCError(
            f"{path} is not a valid run file: {where or 'the file'}: {first['msg'].removeprefix('Value error, ')}."
        ) from error
