"""A forecast of a run, from ten of its steps that are timed and thrown away."""

from __future__ import annotations

import copy
import os
import statistics
import time
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from pdc_core.clustering import Labels, assign
from pdc_core.clustering.assignment import deal_out
from pdc_core.costs import cost, latency, plan_cost
from pdc_core.data import Data
from pdc_core.graph import ChannelGraph, trace
from pdc_core.plan import Plan
from pdc_core.train.evaluation import evaluate
from pdc_core.train.loop import Loop
from pdc_core.train.recorder import Recorder
from pdc_core.train.settings import Training
from pdc_core.train.tasks.base import TrainingTask
from pdc_core.train.tasks.pdc import PDCTask
from pdc_core.train.tasks.supervised import SupervisedTask

TIMED = 10  # steps, after two that warm up
FREE = 0.8  # of a core that this process gets where nothing else runs, at least
_COMPARED = 4096  # images of the check that folding changed nothing, of both networks together


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
        Of the run besides its epochs: merging, folding and measuring; clustering if it was timed.
    seconds : float
        Of the whole run on this machine, without loading, and without clustering unless it was timed.
    share : float
        Share of a core that this process got while it was timed, 1 where the machine is free. All times are already
        those of a free machine.
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

    Raises
    ------
    PDCError
        The plan does not fit, the data cannot be trained on, or the device is not here.
    """
    example = data.example
    before = after = cost(model, example)
    per_process = max(2, settings.batch_size // settings.devices)  # images of each of several processes
    timed_settings = settings.model_copy(update={"batch_size": per_process})
    began, worked = time.perf_counter(), time.thread_time()
    if plan is None:
        timed = _time_teaching(model, data, timed_settings, seed)
    else:
        start = copy.deepcopy(model).eval()
        graph = trace(start, example, residual=plan.residual, inside=plan.inside)
        tracing = time.perf_counter() - began
        after = plan_cost(graph, plan)
        timed = _time_distilling(start, graph, plan, data, timed_settings, seed, teacher, small, clustered)
        timed = replace(timed, setup=timed.setup + 3 * tracing)  # a run traces before training and twice to fold
    share = free_share(time.perf_counter() - began, time.thread_time() - worked)
    image, timing = _measuring(model, data, example), _latency(model, example)
    sizes = 2 if plan is None else 2 + after.macs / max(1, before.macs)  # networks measured at the end
    if teacher is not None:
        sizes += cost(teacher, example).macs / max(1, before.macs)
    compared = 0 if plan is None else min(_COMPARED, 2 * len(data.test))
    measured = sizes * (len(data.val) + len(data.test)) + compared
    epoch = share * (image * len(data.val) + timed.again)
    fixed = share * (timed.setup + image * measured + sizes * timing)
    rest = len(data.train) % settings.batch_size
    steps = settings.epochs * max(1, len(data.train) // settings.batch_size + (rest >= 2 * settings.devices))
    return Forecast(
        epochs=settings.epochs,
        steps=steps,
        images=len(data.train),
        macs_before=before.macs,
        macs_after=after.macs,
        params_before=before.params,
        params_after=after.params,
        step_seconds=share * timed.step,
        mean_seconds=share * timed.mean,
        epoch_seconds=epoch,
        fixed_seconds=fixed,
        seconds=steps * share * timed.mean + settings.epochs * epoch + fixed,
        share=share,
        memory=_memory(timed.device),
        device=str(timed.device),
    )


@dataclass(frozen=True)
class _Timed:
    """Seconds of a step, of one averaged over a run, before the first, and of clustering again per epoch."""

    step: float
    mean: float
    setup: float
    again: float
    device: torch.device


def _time_teaching(model: nn.Module, data: Data, settings: Training, seed: int) -> _Timed:
    place, step, device = _timed(
        SupervisedTask(copy.deepcopy(model).requires_grad_(True), settings), data, settings, seed
    )
    return _Timed(step, step, place, 0.0, device)


def _time_distilling(
    start: nn.Module,
    graph: ChannelGraph,
    plan: Plan,
    data: Data,
    settings: Training,
    seed: int,
    teacher: nn.Module | None,
    small: bool,
    clustered: bool,
) -> _Timed:
    wide = settings.model_copy(update={"fold_when_tied": False})
    tied = {"schedule": "tied"}  # a step costs the same under every schedule
    began = time.perf_counter()
    if clustered:
        task = _clustered(start, graph, plan, data, wide, seed, teacher)
    else:
        task = PDCTask(start, graph, deal_out(graph, plan), wide.model_copy(update=tied), guide=teacher)
    made = time.perf_counter() - began
    place, step, device = _timed(task, data, wide, seed)
    mean = step
    if (settings.fold_when_tied or small) and settings.optimizer == "sgd":
        folding = wide.model_copy(update={"fold_when_tied": True, **tied})
        _, late, _ = _timed(PDCTask(start, graph, deal_out(graph, plan), folding, guide=teacher), data, folding, seed)
        tied_for = 1.0 if small else 1 - settings.tied_after
        mean = tied_for * min(late, step) + (1 - tied_for) * step
    merges = settings.merges if settings.schedule == "merge" and clustered else 1
    again = settings.recluster_until * made if settings.schedule == "recluster" and clustered else 0.0
    return _Timed(step, mean, made + merges * place, again, device)


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
    images: Tensor = data.prepare(next(iter(data.train.batches(settings.n_images)))[0])

    def cluster(network: nn.Module) -> Labels:
        return assign(network, graph, plan, seed=seed, images=images.to(next(network.parameters()).device))

    return PDCTask(start, graph, cluster, settings, images, teacher)


def _timed(task: TrainingTask, data: Data, settings: Training, seed: int) -> tuple[float, float, torch.device]:
    """Return the seconds until the first step begins, the median of those that are warm, and where they ran."""
    loop = Loop(data, settings, seed, Recorder())
    began, steps = time.perf_counter(), iter(loop.trial(task, TIMED + 2))
    first = next(steps)
    place = max(0.0, time.perf_counter() - began - first)
    timed = [first, *steps]
    task.student.eval()
    return place, statistics.median(timed[2:] or timed), loop.device


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


def _measuring(model: nn.Module, data: Data, example: Tensor) -> float:
    """Return the seconds that measuring takes for one image."""
    split = data.val if len(data.val) else data.test
    measured = min(len(split), 512)
    network = copy.deepcopy(model).eval()
    began = time.perf_counter()
    evaluate(network, data, split.first(measured))
    return (time.perf_counter() - began) / measured


def _latency(model: nn.Module, example: Tensor) -> float:
    """Return the seconds that timing one network for the report takes: 12 runs of each batch, from 3 of them."""
    began = time.perf_counter()
    latency(copy.deepcopy(model).eval(), example, repeats=1)
    return 4 * (time.perf_counter() - began)


def _memory(device: torch.device) -> int:
    """Return the most bytes that were in use: of the GPU, else of this process since it began."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    import resource
    import sys

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
