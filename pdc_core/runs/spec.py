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
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from pdc_core.errors import PDCError
from pdc_core.plan import Plan
from pdc_core.runs.files import write
from pdc_core.train import Training


class RunSpec(BaseModel):
    """What a run was asked to do: the content of run.yaml. People may write it by hand."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["distil", "teach"] = "distil"
    model: str = "resnet20"
    data: str = "digits"
    weights: bool | str = True
    plan: Plan | None = None
    training: Training = Training()
    seed: int = 0
    created: str | None = None
    versions: dict[str, str] = {}

    @model_validator(mode="after")
    def _distil_has_a_plan(self) -> RunSpec:
        if self.kind == "distil" and self.plan is None:
            raise ValueError("a distil run needs a plan: group names and the clusters each keeps")
        return self


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

    created = datetime.now(UTC)
    name = f"{created:%Y%m%d-%H%M%S}-{spec.kind}-{secrets.token_hex(2)}"  # never made from what a user typed
    path = Path(folder) if folder is not None else runs_root(root) / name
    if (path / "run.yaml").exists():
        raise PDCError(
            f"{path} holds a run already; choose another folder, or go on with it: python -m pdc_core run {path}"
        )
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    spec = spec.model_copy(update={"created": created.isoformat(timespec="seconds"), "versions": versions})
    try:
        path.mkdir(parents=True, exist_ok=True)
        write(
            path / "status.json",
            json.dumps({"state": "queued", "heartbeat": time.time(), "message": "waiting for a worker"}),
        )
        write(path / "run.yaml", yaml.safe_dump(spec.model_dump(mode="json"), sort_keys=False))
    except OSError as error:
        raise PDCError(f"The run folder {path} cannot be written: {error.strerror}.") from error
    return path


def read_spec(folder: str | Path) -> RunSpec:
    """Read run.yaml.

    Raises
    ------
    PDCError
        There is none, or it is not a run file; the message names the line.
    """
    path = Path(folder) / "run.yaml"
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise PDCError(
            f"{folder} is not a run folder: {path.name} cannot be read ({str(error).splitlines()[0]})."
        ) from error
    try:
        return RunSpec.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise PDCError(
            f"{path} is not a valid run file: {where or 'the file'}: {first['msg'].removeprefix('Value error, ')}."
        ) from error
