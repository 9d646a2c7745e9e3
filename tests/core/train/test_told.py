"""What a recorder is told, in order: frames, labels, every step's progress, every epoch's evaluation, checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import pdc_core as pdc
from pdc_core.losses import comparable_blocks
from pdc_core.reconstruct.merging import _count
from pdc_core.train import Recorder, Training
from tests.training import FEW, GRAPH, MODEL, little

EPOCHS, PER_EPOCH = 2, 5


class Told(Recorder):
    """Writes down every call."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def event(self, record: dict[str, Any]) -> None:
        self.calls.append((record["kind"], record["step"], record["epoch"]))

    def progress(self, step: int, steps: int, epoch: int, epochs: int) -> None:
        self.calls.append(("progress", step, steps, epoch, epochs))

    def activity(self, what: str) -> None:
        self.calls.append(("activity", what))

    def frame(self, step: int, vectors: Callable[[], dict[str, Any]]) -> None:
        self.calls.append(("frame", step, {name: v.shape for name, v in vectors().items()}))

    def labels(self, labels: dict[str, Any]) -> None:
        self.calls.append(("labels", {name: np.asarray(a).tolist() for name, a in labels.items()}))

    def checkpoint(self, state: Callable[[], dict[str, Any]]) -> None:
        self.calls.append(("checkpoint", state()["step"]))


def test_a_recorder_is_told_everything_once_and_in_order() -> None:
    net, told = little(), Told()
    graph = pdc.trace(net, torch.zeros(1, 1, 8, 8))
    result = pdc.distil(net, pdc.Plan.uniform(graph, 0.5), FEW, settings=Training(epochs=EPOCHS), recorder=told)
    shapes = {g.name: pdc.filter_vectors(net, g).shape for g in graph.clusterable}
    expected: list[tuple[Any, ...]] = [
        ("activity", f"measuring on {len(FEW.val)} validation images"),
        ("activity", "preparing the first step"),
        ("frame", 0, shapes),
        ("labels", {n: a.tolist() for n, a in result.labels.items()}),
    ]
    for step in range(1, EPOCHS * PER_EPOCH + 1):
        expected += [("train", step, step / PER_EPOCH), ("frame", step, shapes)]
        expected += [("progress", step, EPOCHS * PER_EPOCH, -(-step // PER_EPOCH), EPOCHS)]
        if step % PER_EPOCH == 0:
            expected += [("evaluation", step, step // PER_EPOCH), ("checkpoint", step)]
    expected += [("activity", f"measuring on {len(FEW.test)} test images")]
    assert told.calls == [*expected, ("activity", "timing forward passes")]


@pytest.mark.parametrize("fold", [False, True])
def test_frames_show_filters_from_before_the_first_merge_to_the_end_also_once_they_are_folded(fold: bool) -> None:
    frames: dict[int, dict[str, np.ndarray]] = {}

    class Films(Recorder):
        def frame(self, step: int, vectors: Callable[[], dict[str, np.ndarray]]) -> None:
            frames[step] = vectors()

    net = little()
    graph = pdc.trace(net, torch.zeros(1, 1, 8, 8))
    settings = Training(epochs=EPOCHS, merges=1, fold_when_tied=fold)
    result = pdc.distil(net, pdc.Plan.uniform(graph, 0.5), FEW, settings=settings, recorder=Films())
    for name, a in result.labels.items():
        np.testing.assert_array_equal(frames[0][name], pdc.filter_vectors(net, graph.group(name)))
        for step in range(1, EPOCHS * PER_EPOCH + 1):
            now = frames[step][name]
            np.testing.assert_allclose(now, now[np.unique(a, return_index=True)[1][a]], atol=1e-6)
            assert not np.allclose(now, frames[step - 1][name])
        np.testing.assert_allclose(now, pdc.filter_vectors(result.reconstructed, graph.group(name)), atol=1e-6)


@pytest.mark.parametrize("every", [1, 2, 3])
def test_a_checkpoint_comes_after_so_many_steps_and_after_every_epoch(every: int) -> None:
    net, told = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).eval(), Told()
    pdc.teach(net, FEW, settings=Training(epochs=EPOCHS, checkpoint_steps=every), recorder=told)
    steps = EPOCHS * PER_EPOCH
    expected = [step for step in range(1, steps + 1) if step % PER_EPOCH == 0 or step % every == 0]
    assert [call[1] for call in told.calls if call[0] == "checkpoint"] == expected


def test_blocks_are_compared_that_stand_in_a_sequence_and_whose_output_stays_whole() -> None:
    every = {f"layer{i}.{j}" for i in (1, 2, 3) for j in (0, 1, 2)}
    inside = {g.name: np.arange(g.size) // 2 for g in GRAPH.clusterable}  # `internal` leaves the sums whole
    assert set(comparable_blocks(MODEL, GRAPH, inside)) == every
    shared = pdc.trace(MODEL, torch.zeros(1, 1, 8, 8), residual="shared")
    whole = {g.name: np.arange(g.size) for g in shared.clusterable}
    assert set(comparable_blocks(MODEL, shared, whole)) == every, "labels that merge nothing change no block"
    sums = {g.name: np.arange(g.size) // 2 for g in shared.clusterable}
    assert set(comparable_blocks(MODEL, shared, sums)) == set()


@pytest.mark.parametrize("blocks", [1, 4])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 1.0])
def test_a_merge_leaves_a_count_that_the_groups_blocks_allow(blocks: int, share: float) -> None:
    net = nn.Sequential(nn.Conv2d(4, 32, 1), nn.Conv2d(32, 8, 1, groups=blocks), nn.Conv2d(8, 2, 1)).eval()
    group = pdc.trace(net, torch.zeros(1, 4, 4, 4)).group("0")
    assert group.blocks == blocks
    k = 8
    exact = 32 * (k / 32) ** share
    counted = _count(group, k, share)
    assert counted % blocks == 0
    assert counted == k if share == 1 else k <= counted <= 32 and abs(counted - exact) <= blocks / 2


def test_defaults_of_the_data_sets_are_those_that_the_results_were_made_with() -> None:
    digits, others, taught = Training.for_data("digits"), Training.for_data("cifar10"), Training.for_teaching()
    assert (digits.lr, digits.batch_size, digits.augment, digits.merges) == (0.05, 32, 0.0, 6)
    assert (others.lr, others.batch_size, others.augment, others.merges) == (None, 128, 1.0, None)
    assert [others.for_steps(steps).lr for steps in (None, 312, 349, 350, 10_560)] == [0.02, 0.02, 0.02, 0.05, 0.05]
    assert (Training.for_data("cifar10", lr=0.3).for_steps(10_560).lr, digits.for_steps(60).lr) == (0.3, 0.05)
    assert (taught.epochs, taught.lr, taught.batch_size, taught.augment) == (30, 0.1, 64, 1.0)
    assert Training.for_data("cifar10", lr=0.3).lr == 0.3
    assert Training.for_teaching(epochs=2).epochs == 2
    tuned = Training.for_teaching("torchvision")
    assert (tuned.epochs, tuned.lr, tuned.batch_size, tuned.augment) == (10, 0.01, 64, 1.0)


@pytest.mark.parametrize(("n", "size"), [(0, 8), (12, 8), (160, 16), (639, 32), (640, 64), (60_000, 64)])
def test_few_images_get_small_batches_so_that_an_epoch_has_some_steps(n: int, size: int) -> None:
    usual = Training.for_teaching()
    fitted = usual.for_images(n)
    assert fitted.batch_size == size
    assert fitted.lr == pytest.approx(usual.lr * (size / 64) ** 0.5)
    assert fitted.model_copy(update={"batch_size": 64, "lr": usual.lr}) == usual
    assert Training(batch_size=3).for_images(1).batch_size == 3


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("epochs", 0), ("batch_size", 1), ("lr", 0.0), ("momentum", -0.1), ("momentum", 1.0), ("weight_decay", -1e-9),
        ("lr_gamma", 0.0), ("lr_gamma", 1.1), ("warmup", -1.0), ("clip_grad_norm", 0.0), ("label_smoothing", 1.0),
        ("temperature", 0.0), ("alpha", -0.1), ("alpha", 1.1), ("matching", -1.0), ("attention", -1.0),
        ("feature_decay", -1.0), ("recluster_until", 1.1), ("merges", 0), ("merge_decay", 0.0), ("n_images", 1),
        ("tied_after", 0.0), ("tied_after", 1.1), ("augment", 1.1), ("recalibrate", -1), ("recalibrate", 1),
        ("devices", 0), ("workers", -1), ("checkpoint_seconds", 0.0), ("checkpoint_steps", 0), ("warmup", 8.0),
        ("milestones", (0.5, 0.2)), ("milestones", (0.0,)), ("milestones", (1.0,)),
    ],
)  # fmt: skip
def test_a_setting_just_out_of_range_is_refused(name: str, wrong: Any) -> None:
    with pytest.raises(ValueError, match=name):
        Training(**{name: wrong})


@pytest.mark.parametrize("precision", ["16-mixed", "bf16-mixed"])
def test_half_precision_needs_a_gpu_and_bfloat16_does_not(precision: Any) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).eval()
    settings = Training(epochs=1, precision=precision, accelerator="cpu")
    if precision == "16-mixed":
        with pytest.raises(pdc.PDCError, match="needs a GPU"):
            pdc.teach(net, FEW, settings=settings)
    else:
        rounded = pdc.teach(net, FEW, settings=settings).history[0]["loss"]
        exact = pdc.teach(net, FEW, settings=Training(epochs=1, accelerator="cpu")).history[0]["loss"]
        assert 0 < abs(rounded - exact) < 0.05 * exact


@pytest.mark.parametrize("epochs", [1, 30, 80])
def test_about_a_hundred_single_steps_are_written_down_and_always_the_last(epochs: int) -> None:
    net, told = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).eval(), Told()
    result = pdc.teach(net, FEW, settings=Training(epochs=epochs, warmup=0.0), recorder=told)
    steps = epochs * PER_EPOCH
    every = max(1, steps // 100)
    expected = [step for step in range(1, steps + 1) if (step - 1) % every == 0 or step == steps]
    assert [call[1] for call in told.calls if call[0] == "train"] == expected
    written = [row for row in result.history if row["kind"] == "train"]
    assert {(row["strength"], row["deviation"]) for row in written} == {(0.0, 0.0)}, "nothing is pulled together"


def test_a_schedules_earlier_name_is_no_other_settings_name() -> None:
    from pdc_core.train.settings import with_present_names

    given = {"schedule": "soft", "teacher_precision": "soft", "tied_gradients": "asymptotic"}
    assert with_present_names(given) == {**given, "schedule": "recluster"}


def test_the_teacher_is_not_trained_and_what_is_folded_is_tied_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    from pdc_core.train import run
    from pdc_core.train.tasks.pdc import PDCTask

    seen: list[nn.Module] = []
    finish = PDCTask.finish

    def shaken(task: PDCTask) -> tuple[nn.Module, nn.Module]:
        seen.append(task.distillation.teacher.network)
        with torch.no_grad():
            for p in task.student.parameters():
                p.add_(1e-2 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
        return finish(task)

    monkeypatch.setattr(PDCTask, "finish", shaken)
    net = little()
    plan = pdc.Plan.uniform(pdc.trace(net, torch.zeros(1, 1, 8, 8)), 0.5)
    assert run.distil is pdc.distil
    result = pdc.distil(net, plan, FEW, settings=Training(epochs=1))
    assert result.report["same_predictions"]
    assert not any(p.requires_grad for p in seen[0].parameters())


class Several:
    """The fabric of one of two processes; the other has the same numbers, plus 1."""

    world_size = 2

    def __init__(self, fabric: Any) -> None:
        self.fabric = fabric

    def __getattr__(self, name: str) -> Any:
        return getattr(self.fabric, name)

    def all_reduce(self, mine: torch.Tensor, reduce_op: str) -> torch.Tensor:
        assert reduce_op == "mean"
        return (mine + (mine + 1)) / 2


def test_processes_record_the_mean_of_their_losses_and_share_the_mean_of_their_norm_statistics() -> None:
    from pdc_core.train.loop import Loop
    from pdc_core.train.tasks.supervised import SupervisedTask

    made = []
    for several in (False, True):
        loop = Loop(FEW, Training(epochs=1), 0, Recorder())
        loop.task = SupervisedTask(little().requires_grad_(True), loop.settings)
        loop._set_up(None)
        loop.task.student.train()
        if several:
            loop.fabric = Several(loop.fabric)
        losses = loop._step(*next(iter(loop.batches.epoch(0))))
        made.append((losses, dict(loop.task.student.named_buffers())))
    (alone, own), (recorded, shared) = made
    assert recorded == pytest.approx({name: loss + 0.5 for name, loss in alone.items()})
    for name, t in own.items():
        assert torch.allclose(shared[name], t + 0.5 if t.is_floating_point() else t), name


@pytest.mark.parametrize(("world", "local"), [(1, None), (2, None), (4, "2")])
def test_the_processes_that_torchrun_started_are_joined_and_a_single_one_starts_none(
    world: int, local: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pdc_core.train.fabric import open_fabric

    class Noted:
        device = torch.device("cpu")
        launched = False

        def __init__(self, **given: Any) -> None:
            self.given = given

        def launch(self) -> None:
            self.launched = True

    monkeypatch.setattr("lightning_fabric.Fabric", Noted)
    monkeypatch.setenv("WORLD_SIZE", str(world))
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    if local:
        monkeypatch.setenv("LOCAL_WORLD_SIZE", local)
    fabric = open_fabric(Training())
    here = int(local or world)
    assert (fabric.given["devices"], fabric.given["num_nodes"]) == (here, world // here)
    assert fabric.given["strategy"] == ("ddp" if world > 1 else "auto")
    assert fabric.launched is (world > 1)


@pytest.mark.parametrize(
    ("world", "asked", "said"), [(2, "pause", "Paused"), (2, "stop", "Stopped"), (1, "pause", None)]
)
def test_what_the_first_process_is_asked_holds_in_all(world: int, asked: Any, said: str | None) -> None:
    from pdc_core.train.loop import REQUESTS, Loop

    class Second:
        """The fabric of the second of two processes, whose own recorder is asked nothing."""

        world_size = world

        def broadcast(self, value: torch.Tensor) -> torch.Tensor:
            assert REQUESTS[int(value)] is None
            return torch.tensor(REQUESTS.index(asked))

    loop, saved = Loop.__new__(Loop), []
    loop.fabric, loop.recorder, loop.done, loop.steps = Second(), Recorder(), 3, 9
    loop._checkpoint = lambda: saved.append(loop.done)  # type: ignore[method-assign]
    if said is None:
        assert loop._asked() is None
        return
    with pytest.raises(pdc.train.Stopped, match=f"{said} after step 3 of 9"):
        loop._asked()
    assert saved == [3]
