"""`distil` and `teach`: make the stage, run the loop, fold, measure, report."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from pdc_core.cluster import Labels, assign
from pdc_core.cost import Cost, cost, latency, plan_cost
from pdc_core.data import Data
from pdc_core.fold import check_equal
from pdc_core.graph import ChannelGraph, trace
from pdc_core.plan import Plan
from pdc_core.train.evaluation import evaluate
from pdc_core.train.loop import Loop
from pdc_core.train.recorder import Recorder
from pdc_core.train.settings import Training
from pdc_core.train.stage import Clustered, Stage, Taught


@dataclass(frozen=True)
class Result:
    """What a run leaves behind.

    Attributes
    ----------
    folded : the small network, eval mode. After `teach`, the taught one.
    reconstructed : the same function at full width, its filters tied.
    labels : {group name: int array (n,)}.
    history : one dict per recorded step and per evaluation, in order.
    report : accuracies, MACs, parameters and latency before, reconstructed and folded, and how the last two agree.
    """

    folded: nn.Module
    reconstructed: nn.Module
    labels: Labels
    history: list[dict[str, Any]] = field(repr=False)
    report: dict[str, Any] = field(repr=False)


def distil(
    model: nn.Module,
    plan: Plan,
    data: Data,
    *,
    epochs: int = 8,
    seed: int = 0,
    settings: Training | None = None,
    recorder: Recorder | None = None,
) -> Result:
    """Run PDC's single stage: cluster, train under the teacher while filters are pulled together, fold. No fine-tuning.

    Parameters
    ----------
    model : the trained network, in eval mode. It is the teacher and the student's start, and is not changed.
    plan : clusters kept per group.
    data : training, validation and test images. The test split is looked at once, at the end.
    epochs : passes over the training images; ignored when `settings` are given.
    seed : of the clustering, the batch order and the augmentation.
    settings : everything, see `Training`; by default those for the data set.
    recorder : told what happens; by default nobody is.

    Raises
    ------
    PDCError
        The plan does not fit the network, the data is empty or has other classes, or the loss stops being finite.

    Source: Niu et al., Image and Vision Computing 2023 (doi 10.1016/j.imavis.2023.104743), its abstract. Clustering
    vectors, schedule, ties of the norms and loss weights are our choice.
    """
    settings = settings or Training.for_data(data.name, epochs=epochs)
    teacher = copy.deepcopy(model).eval().requires_grad_(False)
    graph = trace(teacher, torch.zeros(1, *data.shape), residual=plan.residual)
    stage = Clustered(teacher, graph, assign(teacher, graph, plan, seed=seed), settings)
    return run_stage(stage, model, data, settings, seed=seed, recorder=recorder, graph=graph, plan=plan)


def teach(
    model: nn.Module,
    data: Data,
    *,
    epochs: int = 30,
    seed: int = 0,
    settings: Training | None = None,
    recorder: Recorder | None = None,
) -> Result:
    """Train a network from its present weights on labels alone; `model` itself is not changed.

    Parameters and errors are those of `distil`, without a plan and a teacher.
    """
    settings = settings or Training.for_teaching(epochs=epochs)
    stage = Taught(copy.deepcopy(model))
    return run_stage(stage, model, data, settings, seed=seed, recorder=recorder)


def run_stage(
    stage: Stage,
    model: nn.Module,
    data: Data,
    settings: Training,
    *,
    seed: int = 0,
    recorder: Recorder | None = None,
    graph: ChannelGraph | None = None,
    plan: Plan | None = None,
) -> Result:
    """Run the loop over a stage, finish it and report: what `distil`, `teach` and every other method have in common.

    Parameters
    ----------
    stage : what to train, and by which rule.
    model : the network as it was before, for the report; not changed.
    graph, plan : of a network that got smaller; the report then names its widths. None where nothing was folded.

    Returns
    -------
    With a plan, the report measures "before", "reconstructed" and "folded"; without one "before" and "taught". The
    test split is looked at here, at the end, and nowhere else.
    """
    recorder = recorder or Recorder()
    started = time.perf_counter()
    example = torch.zeros(1, *data.shape)
    before = copy.deepcopy(model).eval()
    evaluate(before, data, data.val)  # a network for other classes is refused before hours are spent
    recorder.labels(stage.labels)
    loop = Loop(data, settings, seed, recorder)
    loop.run(stage)
    full, small = stage.finish()
    if plan is None or graph is None:
        # one architecture, so its latency is measured once
        networks, latencies = {"before": before, "taught": small}, {"before": small, "taught": small}
        report: dict[str, Any] = {}
    else:
        networks = latencies = {"before": before, "reconstructed": full, "folded": small}
        report = _comparison(full, small, graph, plan, data)
    for name, network in networks.items():
        report[name] = _measured(network, data, cost(network, example))
    _add_latencies_(report, latencies, example)
    report["seconds"] = time.perf_counter() - started
    return Result(small, full, stage.labels, loop.history, report)


def _comparison(full: nn.Module, small: nn.Module, graph: ChannelGraph, plan: Plan, data: Data) -> dict[str, Any]:
    """Return how two networks that ought to be one function agree, and the widths before and after."""
    check = check_equal(full, small, data.prepare(data.test.images))
    return {
        "max_abs_diff": check.max_abs_diff,
        "relative_diff": check.relative,
        "same_predictions": check.same_predictions,
        "residual": plan.residual,
        "widths": [
            {"name": a.name, "before": a.out_channels, "after": b.out_channels}
            for a, b in zip(graph.layers, plan_cost(graph, plan).layers, strict=True)
        ],
    }


def _measured(model: nn.Module, data: Data, price: Cost) -> dict[str, Any]:
    return {
        "test_accuracy": evaluate(model, data, data.test).accuracy,
        "val_accuracy": evaluate(model, data, data.val).accuracy,
        "macs": price.macs,
        "params": price.params,
    }


def _add_latencies_(report: dict[str, Any], networks: dict[str, nn.Module], example: Tensor) -> None:
    """Measure the networks of a report one right after the other, so that they meet the same machine."""
    for name, model in networks.items():
        report[name]["latency"] = {str(batch): seconds for batch, seconds in latency(model, example).items()}
