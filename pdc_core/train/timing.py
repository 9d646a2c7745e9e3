"""A forecast of a run, from ten of its steps that are timed and thrown away."""

from __future__ import annotations

import copy
import statistics
import time
from dataclasses import dataclass

import torch
from torch import nn

from pdc_core.clustering.assignment import deal_out
from pdc_core.costs import cost, plan_cost
from pdc_core.data import Data
from pdc_core.graph import trace
from pdc_core.plan import Plan
from pdc_core.train.evaluation import evaluate
from pdc_core.train.loop import Loop
from pdc_core.train.recorder import Recorder
from pdc_core.train.settings import Training
from pdc_core.train.tasks.base import TrainingTask
from pdc_core.train.tasks.pdc import PDCTask
from pdc_core.train.tasks.supervised import SupervisedTask

TIMED = 10  # steps, after two that warm up


@dataclass(frozen=True)
class Forecast:
    """What a run would do and take.

    Attributes
    ----------
    epochs : int
        Passes over the training images.
    steps : int
        Steps of the whole run.
    images : int
        Training images, of all processes together.
    macs_before : int
        MACs of one image before.
    macs_after : int
        MACs of one image of the folded network; the same if nothing is folded.
    params_before : int
        Parameters before.
    params_after : int
        Parameters of the folded network; the same if nothing is folded.
    step_seconds : float
        Median of the timed steps on this machine, of one process with its share of the images.
    seconds : float
        Of the whole run on this machine, evaluations included, without loading, clustering and folding.
    memory : int
        Most bytes in use at once: of the GPU if there is one, else of this process.
    device : str
        Where the steps were timed.
    """

    epochs: int
    steps: int
    images: int
    macs_before: int
    macs_after: int
    params_before: int
    params_after: int
    step_seconds: float
    seconds: float
    memory: int
    device: str


def forecast(model: nn.Module, data: Data, settings: Training, plan: Plan | None = None, seed: int = 0) -> Forecast:
    """Time ten steps of `distil` (with a plan) or `teach` (without) and estimate the whole run.

    Nothing is written. Filters are dealt out to clusters in turn rather than clustered; a step costs the same.

    Parameters
    ----------
    model : Module
        The network; not changed.
    data : Data
        What it would be trained on.
    settings : Training
        All settings.
    plan : Plan, optional
        Clusters kept per group.
    seed : int, default 0
        Seed of the timed steps, 0 or more.

    Raises
    ------
    PDCError
        The plan does not fit, the data cannot be trained on, or the device is not here.
    """
    example = data.example
    before = after = cost(model, example)
    task: TrainingTask
    if plan is None:
        task = SupervisedTask(copy.deepcopy(model).requires_grad_(True), settings)
    else:
        teacher = copy.deepcopy(model).eval()
        graph = trace(teacher, example, residual=plan.residual, inside=plan.inside)
        after = plan_cost(graph, plan)
        tied = settings.model_copy(update={"schedule": "tied"})  # a step costs the same under every schedule
        task = PDCTask(teacher, graph, deal_out(graph, plan), tied)
    share = max(2, settings.batch_size // settings.devices)  # of each of several processes
    loop = Loop(data, settings.model_copy(update={"batch_size": share}), seed, Recorder())
    timed = list(loop.trial(task, TIMED + 2))
    rest = len(data.train) % settings.batch_size
    steps = settings.epochs * max(1, len(data.train) // settings.batch_size + (rest >= 2 * settings.devices))
    each = statistics.median(timed[2:] or timed)
    split = data.val if len(data.val) else data.test
    began = time.perf_counter()
    measured = min(len(split), 512)
    task.student.eval()
    evaluate(task.student, data, split.first(measured))
    evaluation = (time.perf_counter() - began) / measured * len(data.val)
    return Forecast(
        epochs=settings.epochs,
        steps=steps,
        images=len(data.train),
        macs_before=before.macs,
        macs_after=after.macs,
        params_before=before.params,
        params_after=after.params,
        step_seconds=each,
        seconds=steps * each + settings.epochs * evaluation,
        memory=_memory(loop.device),
        device=str(loop.device),
    )


def _memory(device: torch.device) -> int:
    """Return the most bytes that were in use: of the GPU, else of this process since it began."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    import resource
    import sys

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
