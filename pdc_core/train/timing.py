"""A forecast of a run, from ten of its steps that are timed and thrown away."""

from __future__ import annotations

import math
import os
import statistics
import time
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from pdc_core.clustering import Labels, assign
from pdc_core.clustering.assignment import deal_out
from pdc_core.copies import twin
from pdc_core.costs import cost, latency, latency_passes, plan_cost
from pdc_core.data import Data
from pdc_core.graph import ChannelGraph, trace
from pdc_core.plan import Plan
from pdc_core.train.batches import steps_per_epoch
from pdc_core.train.evaluation import evaluate
from pdc_core.train.loop import Loop
from pdc_core.train.recorder import Recorder
from pdc_core.train.run import COMPARED
from pdc_core.train.settings import Training
from pdc_core.train.tasks.base import TrainingTask
from pdc_core.train.tasks.pdc import PDCTask
from pdc_core.train.tasks.supervised import SupervisedTask

TIMED = 10  # steps, after two that warm up
FREE = 0.8  # of a core that this process gets where nothing else runs, at least
_WARM = 16  # images before the evaluation that is timed


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
    mean_seconds : float
        The same, averaged over a run that folds on the way or begins small.
    epoch_seconds : float
        Of an epoch besides its steps: measuring on the validation images, clustering again.
    fixed_seconds : float
        Of the run besides its epochs: merging, folding and measuring; clustering if it was timed. Not the network of
        the best epoch, which is measured too where that is not the last.
    seconds : float
        Of the whole run on this machine, without loading, and without clustering unless it was timed.
    share : float
        Share of a core that this process got while steps were timed, 1 where the machine is free. All times are already
        those of a free machine.
    memory : int
        Most bytes in use at once: of the GPU if there is one, else of this process; 0 where the system does not say.
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
    mean_seconds: float
    epoch_seconds: float
    fixed_seconds: float
    seconds: float
    share: float
    memory: int
    device: str

    @property
    def busy(self) -> bool:
        """Whether other work fills the machine, so that the run takes longer than said while that lasts."""
        return self.share < 1


def forecast(
    model: nn.Module,
    data: Data,
    settings: Training,
    plan: Plan | None = None,
    seed: int = 0,
    *,
    teacher: nn.Module | None = None,
    small: bool = False,
    clustered: bool = False,
    patience: float | None = None,
) -> Forecast:
    """Time ten steps of `distil` (with a plan) or `teach` (without) and estimate the whole run.

    Nothing is written. While other work fills the machine, the times are those that a free machine would take, as far
    as the processor time of this process shows them.

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
    teacher : Module, optional
        Another network that teaches.
    small : bool, default False
        Whether the network is small from the first step, as it is for most baselines.
    clustered : bool, default False
        Whether filters are clustered as in the run, and the time of that counts. Else they are dealt out to clusters in
        turn; a step costs the same.
    patience : float, optional
        Seconds after which no further step is timed, once there are two that are warm.

    Raises
    ------
    PDCError
        The plan does not fit, the data cannot be trained on, or the device is not here.
    """
    example = data.example
    steps = settings.epochs * steps_per_epoch(len(data.train), settings.batch_size, settings.devices)
    settings = settings.for_steps(steps)
    before = after = cost(model, example)
    per_process = max(2, settings.batch_size // settings.devices)  # images of each of several processes
    timed_settings = settings.model_copy(update={"batch_size": per_process})
    trial = _Trial(data, timed_settings, seed, math.inf if patience is None else patience)
    if plan is None:
        timed = trial.of(SupervisedTask(twin(model).requires_grad_(True), timed_settings))
    else:
        with Clock() as tracing:
            start = twin(model).eval()
            graph = trace(start, example, residual=plan.residual, inside=plan.inside)
        after = plan_cost(graph, plan)
        timed = _time_distilling(start, graph, plan, trial, teacher, small, clustered)
        timed = replace(timed, setup=timed.setup + tracing.free)
    full = _measuring(model, data)
    folded = full if plan is None or timed.small is None else _measuring(timed.small, data)
    val, test = len(data.val), len(data.test)
    measured = (val + test) * (full + folded)
    if plan is not None:  # unfolded and folded, which are also compared
        measured += (val + test) * full + min(COMPARED, test) * (full + folded)
    timing = (1 if plan is None else 2 + after.macs / max(1, before.macs)) * _latency(model, example)
    if teacher is not None:
        measured += (val + test) * full * cost(teacher, example).macs / max(1, before.macs)
    epoch = full * val + timed.again
    fixed = timed.setup + timed.finish + measured + timing
    return Forecast(
        epochs=settings.epochs,
        steps=steps,
        images=len(data.train),
        macs_before=before.macs,
        macs_after=after.macs,
        params_before=before.params,
        params_after=after.params,
        step_seconds=timed.step,
        mean_seconds=timed.mean,
        epoch_seconds=epoch,
        fixed_seconds=fixed,
        seconds=steps * timed.mean + settings.epochs * epoch + fixed,
        share=timed.share,
        memory=_memory(timed.device),
        device=str(timed.device),
    )


class Clock:
    """Seconds of a block by the clock, and those that it would take on a free machine.

    Attributes
    ----------
    wall : float
        Seconds that passed.
    share : float
        Share of a core that the thread got (`free_share`).
    """

    wall, share = 0.0, 1.0

    def __enter__(self) -> Clock:
        self._began, self._worked = time.perf_counter(), time.thread_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall = time.perf_counter() - self._began
        self.share = free_share(self.wall, time.thread_time() - self._worked)

    @property
    def free(self) -> float:
        """Seconds on a free machine."""
        return self.wall * self.share


@dataclass(frozen=True)
class _Timed:
    """Seconds on a free machine, the share of a core that the steps got, where they ran, and the folded network.

    `step` is of one step, `mean` of one averaged over the run, `setup` of all before the first, `finish` of folding
    after the last, `again` of clustering again, per epoch.
    """

    step: float
    mean: float
    setup: float
    share: float
    device: torch.device
    finish: float = 0.0
    again: float = 0.0
    small: nn.Module | None = None


@dataclass(frozen=True)
class _Trial:
    """Steps of a run that are timed and thrown away."""

    data: Data
    settings: Training
    seed: int
    patience: float

    def of(self, task: TrainingTask, **changes: Any) -> _Timed:
        """Return what the steps of a task take, after two that warm up, and what comes before them."""
        loop = Loop(self.data, self.settings.model_copy(update=changes), self.seed, Recorder())
        coming = iter(loop.trial(task, TIMED + 2))
        steps: list[float] = []
        shares: list[float] = []
        first, passed = 0.0, 0.0
        while passed <= self.patience or len(steps) < 4:
            with Clock() as clock:
                seconds = next(coming, None)
            if seconds is None:
                break
            if not steps:  # the task is placed before its first step
                first = clock.share * max(0.0, clock.wall - seconds)
            steps.append(clock.share * seconds)
            shares.append(clock.share)
            passed += clock.wall
        task.student.eval()
        step, share = (statistics.median(each[2:] or each) for each in (steps, shares))
        return _Timed(step, step, first, share, loop.device)


def _time_distilling(
    start: nn.Module,
    graph: ChannelGraph,
    plan: Plan,
    trial: _Trial,
    teacher: nn.Module | None,
    small: bool,
    clustered: bool,
) -> _Timed:
    settings, tied = trial.settings, {"schedule": "tied"}  # a step costs the same under every schedule
    wide = settings.model_copy(update={"fold_when_tied": False})
    with Clock() as making:
        if clustered:
            task = _clustered(start, graph, plan, trial.data, wide, trial.seed, teacher)
        else:
            task = PDCTask(start, graph, deal_out(graph, plan), wide.model_copy(update=tied), guide=teacher)
    timed = trial.of(task, fold_when_tied=False)
    with Clock() as finishing:
        _, folded = task.finish()
    mean = timed.step
    if (settings.fold_when_tied or small) and settings.optimizer == "sgd":
        folding = wide.model_copy(update={"fold_when_tied": True, **tied})
        late = trial.of(PDCTask(start, graph, deal_out(graph, plan), folding, guide=teacher), fold_when_tied=True)
        tied_for = 1.0 if small else 1 - settings.wide_share
        mean = tied_for * min(late.step, timed.step) + (1 - tied_for) * timed.step
    merges = (settings.merges or 1) if settings.schedule == "merge" and clustered else 1
    again = settings.recluster_until * making.free if settings.schedule == "recluster" and clustered else 0.0
    setup = making.free + merges * timed.setup
    return replace(timed, mean=mean, setup=setup, finish=finishing.free, again=again, small=folded)


def _clustered(
    start: nn.Module,
    graph: ChannelGraph,
    plan: Plan,
    data: Data,
    settings: Training,
    seed: int,
    teacher: nn.Module | None,
) -> PDCTask:
    """Return the task of a run, its filters clustered as the run clusters them."""
    images = data.prepare(data.train.sample(settings.n_images).images)

    def cluster(network: nn.Module) -> Labels:
        return assign(network, graph, plan, seed=seed, images=images.to(next(network.parameters()).device))

    return PDCTask(start, graph, cluster, settings, images, teacher)


def overfull() -> bool:
    """Return whether this machine has more to do than it has cores, over the last minute; False where it cannot say."""
    return hasattr(os, "getloadavg") and os.getloadavg()[0] >= (os.cpu_count() or 1)


def free_share(wall: float, worked: float) -> float:
    """Return the share of a core that a thread got, to tell what its work takes on a free machine.

    Parameters
    ----------
    wall : float
        Seconds that passed.
    worked : float
        Seconds that the thread worked (`time.thread_time`).

    Returns
    -------
    float
        Above 0 to 1; 1 unless the machine is overfull. A thread also waits for files or a GPU, and that stays so.
    """
    share = worked / wall if wall > 0 and overfull() else 1.0
    return 1.0 if share >= FREE else max(share, 0.01)


def _measuring(model: nn.Module, data: Data) -> float:
    """Return the seconds that measuring takes for one image on a free machine."""
    split = data.val if len(data.val) else data.test
    measured = min(len(split), 512)
    network = twin(model).eval()
    evaluate(network, data, split.first(_WARM))
    with Clock() as clock:
        evaluate(network, data, split.first(measured))
    return clock.free / measured


def _latency(model: nn.Module, example: Tensor) -> float:
    """Return the seconds that timing one network for the report takes, from one pass of each batch size."""
    with Clock() as clock:
        found = latency(twin(model).eval(), example, repeats=1)
    free = [clock.share * seconds for seconds in found.values()]
    return sum(seconds * latency_passes(seconds) for seconds in free)


def _memory(device: torch.device) -> int:
    """Return the most bytes that were in use: of the GPU, else of this process since it began; 0 if unknown."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    import sys

    try:
        import resource
    except ImportError:  # on Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
