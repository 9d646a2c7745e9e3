"""What a run trains: its data, networks and method, as run.yaml names them."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from pdc_core.baselines import train_baseline
from pdc_core.data import load_data, subset
from pdc_core.models import load_model, model_info
from pdc_core.runs.budget import within_budget
from pdc_core.runs.spec import RunSpec
from pdc_core.runs.teachers import load_teacher
from pdc_core.train import Recorder, Result, distil, teach

Say = Callable[[str], None]


def train_run(
    spec: RunSpec, recorder: Recorder, say: Say | None = None, choose: Callable[[RunSpec, str], None] | None = None
) -> Result:
    """Load what a run names and train it.

    Parameters
    ----------
    spec : RunSpec
        The run; with a budget, its images and epochs are chosen first.
    recorder : Recorder
        Called with what happens, and asked for requests.
    say : callable, optional
        Called with sentences about the network, such as that its last layer is new.
    choose : callable, optional
        Called with the run that a budget became and a sentence on it, before the first step.
    """
    began = time.perf_counter()
    data = load_data(spec.data)
    model = load_model(spec.model, data=spec.data, weights=spec.weights, seed=spec.seed)
    teacher = load_teacher(spec.teacher, spec.model, spec.data) if spec.teacher is not None else None
    info = model_info(model)
    if say is not None and info is not None and info.note:
        say(info.note)
    if spec.budget is not None:
        spec, sentence = within_budget(spec, model, data, teacher, began)
        if choose is not None:
            choose(spec, sentence)
    if spec.images is not None:
        data = subset(data, spec.images, spec.seed)
    if spec.kind == "teach":
        return teach(model, data, seed=spec.seed, settings=spec.training, recorder=recorder)
    plan = spec.with_plan().plan
    assert plan is not None
    train = distil if spec.method == "pdc" else partial(train_baseline, spec.method)
    result = train(model, plan, data, teacher=teacher, seed=spec.seed, settings=spec.training, recorder=recorder)
    if teacher is not None:
        result.report["teacher"]["name"] = spec.teacher
    return result
