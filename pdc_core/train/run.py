"""`distil` and `teach`: make the task, run the loop, fold, measure, report."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from pdc_core.clustering import Labels, assign
from pdc_core.copies import twin
from pdc_core.costs import cost, latency, plan_cost
from pdc_core.data import Data
from pdc_core.folding import check_equal
from pdc_core.graph import ChannelGraph, trace
from pdc_core.models import model_info
from pdc_core.norms import recalibrate_
from pdc_core.plan import Plan, check_mergeable
from pdc_core.train.batches import steps_per_epoch
from pdc_core.train.evaluation import Evaluation, chance_level, evaluate
from pdc_core.train.loop import Loop
from pdc_core.train.recorder import Recorder
from pdc_core.train.settings import Training
from pdc_core.train.tasks.base import TrainingTask
from pdc_core.train.tasks.pdc import PDCTask
from pdc_core.train.tasks.supervised import SupervisedTask
from pdc_core.train.teacher import check_teacher

RECALIBRATED = 2048  # training images for norm statistics where filters had to be merged after the last step
COMPARED = 2048  # images on which the logits of the folded network are compared with those of the unfolded one


@dataclass(frozen=True)
class Result:
    """The results of a run.

    Attributes
    ----------
    folded : Module
        The small network, in eval mode. After `teach`, the trained one.
    reconstructed : Module
        The same function at full width, its filters tied.
    labels : dict of str to int array, shape (n,)
        The cluster of every filter, by group.
    history : list of dict
        One per recorded step and per evaluation, in order.
    report : dict
        Accuracies, MACs, parameters and latency before, reconstructed and folded, how the last two agree, and the
        accuracies of the best epoch by validation. `runs.Report` describes its keys.
    best : Module or None
        The small network of the best epoch; None if that is the last one. `folded` is always the last.
    """

    folded: nn.Module
    reconstructed: nn.Module
    labels: Labels
    history: list[dict[str, Any]] = field(repr=False)
    report: dict[str, Any] = field(repr=False)
    best: nn.Module | None = None


def distil(
    model: nn.Module,
    plan: Plan,
    data: Data,
    *,
    teacher: nn.Module | None = None,
    epochs: int = 8,
    seed: int = 0,
    settings: Training | None = None,
    recorder: Recorder | None = None,
) -> Result:
    """Run PDC's single stage: cluster, train under the teacher while filters are merged, fold. No fine-tuning.

    Parameters
    ----------
    model : Module
        The trained network, in eval mode. It is the student's start and, by default, its teacher; it is not changed.
    plan : Plan
        Clusters kept per group.
    data : Data
        Training, validation and test images. The test split is read once, at the end.
    teacher : Module, optional
        Another network for the classes and images of the data, in eval mode; not changed. Outputs of its blocks are
        compared where their shapes agree (`losses.matched_blocks`). If the teacher is hardly better than guessing
        (`chance_level`), the recorder is told, and without one there is a warning.
    epochs : int, default 8
        Passes over the training images; ignored when `settings` are given.
    seed : int, default 0
        Seed of the clustering, the batch order and the augmentation, 0 or more.
    settings : Training, optional
        All settings; by default those for the data set.
    recorder : Recorder, optional
        Called with what happens, and asked for requests.

    Returns
    -------
    Result
        The folded network, its report and history.

    Raises
    ------
    PDCError
        The plan does not fit the network, nothing can be merged in it, the data is empty or has other classes, the
        teacher is for others, or the loss stops being finite.

    Source: Niu et al., Image and Vision Computing 2023 (doi 10.1016/j.imavis.2023.104743), its abstract. Clustering
    vectors, schedule, ties of the norms and loss weights are our choice.
    """
    settings = settings or Training.for_data(data.name, epochs=epochs)
    settings = settings.for_steps(settings.epochs * steps_per_epoch(len(data.train), settings.batch_size))
    start = twin(model).eval()
    graph = trace(start, data.example, residual=plan.residual, inside=plan.inside)
    check_mergeable(plan, graph)
    if teacher is not None:
        check_teacher(teacher, data)
    images = data.prepare(data.train.sample(settings.n_images).images)

    def cluster(network: nn.Module) -> Labels:
        return assign(network, graph, plan, seed=seed, images=images.to(next(network.parameters()).device))

    task = PDCTask(start, graph, cluster, settings, images, teacher)
    return run_task(task, model, data, settings, seed=seed, recorder=recorder, graph=graph, plan=plan, teacher=teacher)


def teach(
    model: nn.Module,
    data: Data,
    *,
    epochs: int = 30,
    seed: int = 0,
    settings: Training | None = None,
    recorder: Recorder | None = None,
) -> Result:
    """Train a network from its present weights on labels alone.

    Parameters
    ----------
    model : Module
        The network; not changed.
    data : Data
        Training, validation and test images. The test split is read once, at the end.
    epochs : int, default 30
        Passes over the training images; ignored when `settings` are given.
    seed : int, default 0
        Seed of the batch order and the augmentation, 0 or more.
    settings : Training, optional
        All settings; by default those for teaching.
    recorder : Recorder, optional
        Called with what happens, and asked for requests.

    Returns
    -------
    Result
        The trained network as `folded`, its report and history.

    Raises
    ------
    PDCError
        The data is empty or has other classes, or the loss stops being finite.
    """
    settings = settings or Training.for_teaching(epochs=epochs)
    task = SupervisedTask(twin(model).requires_grad_(True), settings)
    return run_task(task, model, data, settings, seed=seed, recorder=recorder)


def run_task(
    task: TrainingTask,
    model: nn.Module,
    data: Data,
    settings: Training,
    *,
    seed: int = 0,
    recorder: Recorder | None = None,
    graph: ChannelGraph | None = None,
    plan: Plan | None = None,
    teacher: nn.Module | None = None,
) -> Result:
    """Run the loop over a task, finish it and report: what `distil`, `teach` and every baseline have in common.

    Parameters
    ----------
    task : TrainingTask
        What to train, and by which rule.
    model : Module
        The network as it was before, for the report; not changed.
    data : Data
        Training, validation and test images. The test split is read here, at the end, and nowhere else.
    settings : Training
        All settings.
    seed : int, default 0
        Seed of the batch order and the augmentation, 0 or more.
    recorder : Recorder, optional
        Called with what happens, and asked for requests.
    graph : ChannelGraph, optional
        The trace of a network that gets smaller; None if nothing is folded.
    plan : Plan, optional
        Its plan; the report then names the widths.
    teacher : Module, optional
        The network that the task learns from, if it is not `model`; the report then measures it as well.

    Returns
    -------
    Result
        With a plan, the report measures "before", "reconstructed" and "folded"; without one "before" and "taught".
    """
    example = data.example
    loop = Loop(data, settings, seed, recorder or Recorder())
    before = twin(model).eval().to(loop.device)
    loop.recorder.activity(f"measuring on {len(data.val):,} validation images")
    first = evaluate(before, data, data.val, fabric=loop.fabric)  # also refuses a network for other classes at once
    other = None if teacher is None else twin(teacher).eval().to(loop.device)
    guiding = first if other is None else evaluate(other, data, data.val, fabric=loop.fabric)
    if task.teacher is not None:
        loop.teacher = guiding.predictions
        chance, least = chance_level(data.val.labels)
        if guiding.accuracy <= least:
            loop.recorder.weak_teacher(
                f"The network to learn from names the class of {guiding.accuracy:.1%} of {len(data.val):,} validation "
                f"images of {data.name}; guessing names {chance:.1%}, so there is nothing to learn from it."
            )
    loop.recorder.activity("preparing the first step")
    loop.run(task)
    loop.activity(f"measuring on {len(data.test):,} test images")
    full, small = _finished(task, loop)
    best, epoch = None, loop.done / loop.batches.per_epoch
    if loop.best is not None and loop.best["epoch"] != epoch:
        full, small = twin(full), twin(small)
        task.student.load_state_dict(loop.best["model"])
        best = _finished(task, loop)[1]

    measure = _Measure(loop)  # from here on, and nowhere before, the test split is looked at
    test = measure(before, first)
    guide = test if other is None else measure(other, guiding)
    report: dict[str, Any] = {"train_images": len(data.train)}
    if other is not None:
        report["teacher"] = {"name": name_of(other), **guide.record}
    info = model_info(model)
    if info is not None and info.new_head:  # by now it has been trained
        report["new_head"] = info.new_head
        for network in (full, small, *([best] if best is not None else [])):
            setattr(network, "card", replace(info, new_head=""))  # noqa: B010
    if plan is None or graph is None:
        report["before"], report["taught"] = test.record, measure(small).record
        latencies = {"before": small, "taught": small}  # one architecture, so it is measured once
    else:
        unfolded = measure(full, teacher=guide)
        folded = measure(small, teacher=guide, like=unfolded)
        report |= {"before": test.record, "reconstructed": unfolded.record, "folded": folded.record}
        report |= _comparison(full, small, graph, plan, data) | {"same_predictions": folded.like == 1.0}
        report["test_images"] = len(data.test)
        latencies = {"before": before, "reconstructed": full, "folded": small}
    end = report.get("folded") or report["taught"]
    report["last"] = {"epoch": epoch} | {k: v for k, v in end.items() if "val" in k or "test" in k}
    report["best"] = report["last"]
    if best is not None and loop.best is not None:
        record = measure(best, teacher=guide if task.teacher is not None else None).record
        report["best"] = {"epoch": loop.best["epoch"]} | {k: v for k, v in record.items() if "val" in k or "test" in k}
    if loop.done < loop.steps:
        report["ended_early"] = {"step": loop.done, "steps": loop.steps}
    loop.activity("timing forward passes")
    timed = {id(network): latency(network.to("cpu"), example) for network in latencies.values()}
    for name, network in latencies.items():  # timed right after one another, so that they meet the same machine
        report[name]["latency"] = {str(batch): each for batch, each in timed[id(network)].items()}
    report["seconds"] = loop.elapsed
    return Result(small, full, task.labels, loop.history, report, best)


def name_of(network: nn.Module) -> str:
    """Return what a report calls a network: its name for `load_model`, or its class."""
    info = model_info(network)
    return info.model if info is not None else type(network).__name__


def _finished(task: TrainingTask, loop: Loop) -> tuple[nn.Module, nn.Module]:
    """Return the task's networks; norm statistics are re-estimated if the settings say so or the run ended early.

    A run that ended before its clusters were tied still merges filters here, which changes the input of every norm.
    """
    images = loop.settings.recalibrate or (0 if task.settled else RECALIBRATED)
    if images:
        task.settle_()
        recalibrate_(task.student, loop.data, images, seed=loop.seed)
    return task.finish()


@dataclass(frozen=True)
class _Measured:
    """The report's numbers of a network, its predictions, and how many of them are another network's as well."""

    record: dict[str, Any]
    test: Evaluation
    val: Evaluation
    like: float | None


class _Measure:
    """Measure networks on the device and in the processes of a run, on the validation and the test split."""

    def __init__(self, loop: Loop) -> None:
        self.loop, self.example = loop, loop.data.example

    def __call__(
        self,
        network: nn.Module,
        val: Evaluation | None = None,
        *,
        teacher: _Measured | None = None,
        like: _Measured | None = None,
    ) -> _Measured:
        data, fabric = self.loop.data, self.loop.fabric
        network = network.to(self.loop.device)
        guide = (teacher.val.predictions, teacher.test.predictions) if teacher else (None, None)
        val = val or evaluate(network, data, data.val, teacher=guide[0], fabric=fabric)
        test = evaluate(network, data, data.test, teacher=guide[1], fabric=fabric)
        network.to("cpu")
        price = cost(network, self.example)
        record = {**test.record("test_"), **val.record("val_"), "macs": price.macs, "params": price.params}
        same = None
        if like is not None:
            counts = torch.tensor(
                [float((test.predictions == like.test.predictions).sum()), float(len(test.predictions))],
                device=self.loop.device,
            )
            right, seen = (fabric.all_reduce(counts, reduce_op="sum") if fabric.world_size > 1 else counts).tolist()
            same = right / seen
        return _Measured(record, test, val, same)


def _comparison(full: nn.Module, small: nn.Module, graph: ChannelGraph, plan: Plan, data: Data) -> dict[str, Any]:
    """Return how well two networks that should be one function agree, and the widths before and after."""
    images = data.test.sample(COMPARED).images
    check = check_equal(full, small, data.prepare(images))
    return {
        "compared_images": len(images),
        "max_abs_diff": check.max_abs_diff,
        "relative_diff": check.relative,
        "residual": plan.residual,
        "widths": [
            {"name": a.name, "before": a.out_channels, "after": b.out_channels}
            for a, b in zip(graph.layers, plan_cost(graph, plan).layers, strict=True)
            if a.kind != "fixed"
        ],
    }
