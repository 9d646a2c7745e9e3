"""From a run to the command line that starts it again: the one place that knows how options are written.

Reading the printed command gives a run with an equal run.yaml, its date and versions aside.
"""

from __future__ import annotations

import json
import shlex
from typing import Any

from pdc_core.data import is_custom_data
from pdc_core.models import is_custom
from pdc_core.models.load import RANDOM
from pdc_core.runs.spec import RunSpec
from pdc_core.train import Training

# Settings that have an option of their own on the command line; every other one is given by --setting NAME=VALUE.
_OWN_OPTIONS = {
    "distil": ("epochs", "batch_size", "lr", "augment", "temperature", "alpha", "schedule", "tied_after"),
    "teach": ("epochs", "batch_size", "lr"),
}


def default_training(kind: str, data: str, weights: str = RANDOM) -> Training:
    """Return the settings of a run for which none are given.

    Parameters
    ----------
    kind : {"distil", "teach"}
        The kind of run.
    data : str
        The data set; a distillation has other defaults on digits than elsewhere.
    weights : str, default "random"
        Where the first weights come from; "teach" has other defaults for trained ones.
    """
    return Training.for_teaching(weights) if kind == "teach" else Training.for_data(data)


def run_command(spec: RunSpec, plan_file: str = "plan.json") -> str:
    """Return the command that starts a run like this one.

    Parameters
    ----------
    spec : RunSpec
        The run. If it has a plan, the command reads it from a file, which is the caller's to write (`Plan.save`).
    plan_file : str, default "plan.json"
        The name of that file.

    Returns
    -------
    str
        One line for a POSIX shell. Epochs and seed are always named, other settings where they are not the default.

    Examples
    --------
    >>> run_command(RunSpec(keep=0.25, method="l1", training=Training(alpha=0.3)))
    'pdc distil --model resnet20 --data digits --method l1 --keep 0.25 --epochs 8 --alpha 0.3 --seed 0'
    """
    teach = spec.kind == "teach"
    words = ["pdc", spec.kind, *([spec.model] if teach else ["--model", spec.model]), "--data", spec.data]
    if is_custom(spec.model):  # a function of the user's own, which is imported only where a person names it
        words += ["--build", spec.model]
    if is_custom_data(spec.data):
        words += ["--build-data", spec.data]
    if spec.weights != RunSpec(kind=spec.kind, keep=None if teach else 1.0).weights:
        words += ["--weights", spec.weights]
    if spec.method != "pdc":
        words += ["--method", spec.method]
    if spec.plan is not None:
        words += ["--plan", plan_file]
    elif spec.keep is not None:
        words += ["--keep", repr(spec.keep)]
        words += ["--residual", spec.residual] if spec.residual != "internal" else []
        words += ["--inside", spec.inside] if spec.inside else []
    if spec.allow_weak_teacher and not teach:
        words.append("--allow-weak-teacher")
    words += ["--teacher", spec.teacher] if spec.teacher is not None else []
    words += ["--images", str(spec.images)] if spec.images is not None else []
    words += ["--budget", f"{spec.budget!r}s"] if spec.budget is not None else []
    default = default_training(spec.kind, spec.data, spec.weights)
    own = _OWN_OPTIONS[spec.kind]
    for name in (*own, *(name for name in Training.model_fields if name not in own)):
        value = getattr(spec.training, name)
        if name == "epochs" or value != getattr(default, name):
            if name in own and value is not None:
                words += [f"--{name.replace('_', '-')}", _text(value)]
            else:
                words += ["--setting", f"{name}={_text(value)}"]
    return shlex.join([*words, "--seed", str(spec.seed)])


def _text(value: Any) -> str:
    """Return a setting as `cli` reads it back: words as they are, all else as JSON."""
    return value if isinstance(value, str) else json.dumps(value)
