"""The loop: epochs of gradient steps with the task's hooks around each, resumable from any step.

Writes nothing itself: it reports to a `Recorder` and asks it for requests. Batch order, augmentation and
dropout derive from (seed, epoch, step), so a run that resumes from a checkpoint makes the steps it would have made.
"""

from __future__ import annotations

import copy
import itertools
import math
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from pdc_core.data import Data
from pdc_core.errors import PDCError
from pdc_core.seeds import seed_of
from pdc_core.train.batches import Batches
from pdc_core.train.evaluation import Evaluation, evaluate
from pdc_core.train.fabric import make_optimizer, open_fabric
from pdc_core.train.rates import rate
from pdc_core.train.recorder import Recorder, Request, Stopped
from pdc_core.train.settings import Training
from pdc_core.train.tasks.base import TrainingTask

REQUESTS: tuple[Request | None, ...] = (None, "stop", "pause", "finish")
POINTS = 100  # records of single steps in a run's history, besides the evaluations


class Loop:
    """Epochs of gradient steps over a task: the part that every method shares.

    Parameters
    ----------
    data : Data
        Training and validation images.
    settings : Training
        All settings.
    seed : int
        Seed of batch order, augmentation and dropout, 0 or more.
    recorder : Recorder
        Called by the first process only.

    Attributes
    ----------
    fabric : Fabric
        Lightning Fabric, set up for the processes that torchrun started, if it did.
    task : TrainingTask
        What is trained; set by `run`.
    history : list of dict
        One per recorded step and per evaluation, in order.
    best : dict or None
        "epoch", "val_accuracy" and "model" of the best epoch whose network could be the result.
    done : int
        Steps made; fewer than `steps` if the run was asked to finish early.
    teacher : Tensor, shape (n,), or None
        The teacher's predicted classes of the validation images, for the agreement; set before `run`.
    """

    def __init__(self, data: Data, settings: Training, seed: int, recorder: Recorder) -> None:
        self.data, self.settings, self.seed, self.recorder = data, settings, seed, recorder
        self.fabric = open_fabric(settings)
        if self.fabric.global_rank > 0:
            self.recorder = Recorder()
        self.device = self.fabric.device
        self.batches = Batches(data, settings, seed, self.device, self.fabric.global_rank, self.fabric.world_size)
        self.steps = settings.epochs * self.batches.per_epoch
        self.history: list[dict[str, Any]] = []
        self.best: dict[str, Any] | None = None
        self.done, self.sum, self.seconds = 0, 0.0, 0.0
        self.began, self.earlier = time.perf_counter(), 0.0  # of this process; seconds of those that it goes on from
        self.teacher: Tensor | None = None

    @property
    def elapsed(self) -> float:
        """Seconds that the run has taken so far, those before its last checkpoint included."""
        return self.earlier + time.perf_counter() - self.began

    def run(self, task: TrainingTask) -> None:
        """Train for all epochs, from the recorder's checkpoint if it has one.

        Parameters
        ----------
        task : TrainingTask
            What to train, and by which rule.

        Raises
        ------
        Stopped
            The recorder asked for it; it has been given a checkpoint.
        PDCError
            The loss or a weight stopped being finite.
        """
        self.task = task
        state = self._common(self.recorder.resume())
        if state is not None:
            task.load_state_dict(state["stage"])
        self._set_up(None)
        if state is not None:
            self._restore(state)
        if self.done == 0:
            self.recorder.frame(0, task.vectors)  # before the first merge
        task.place(self.device)
        self._share_task()
        self.recorder.labels(task.labels)
        with self._own_randomness():
            for epoch in range(self.done // self.batches.per_epoch, self.settings.epochs):
                if not self._epoch(epoch):
                    break

    def trial(self, task: TrainingTask, steps: int) -> Iterator[float]:
        """Make the first steps of a run and yield the seconds that each takes, reading its images included.

        Nothing is recorded. Two trials can be interleaved, so that they run on the machine in the same state.

        Parameters
        ----------
        task : TrainingTask
            What to train; it is changed.
        steps : int
            Steps to make, at most those of the whole run.
        """
        self.task = task
        self._set_up(None)
        task.place(self.device)
        task.before_epoch(0, 0.0)
        task.student.train()
        coming = itertools.chain.from_iterable(map(self.batches.epoch, range(self.settings.epochs)))
        with self._own_randomness():
            for _ in range(min(steps, self.steps)):
                began = time.perf_counter()
                self._step(*next(coming))
                self.done += 1
                yield time.perf_counter() - began

    def _own_randomness(self) -> AbstractContextManager[None]:
        """Leave torch's global random state as it was; every step seeds it again."""
        return torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else [])

    def _set_up(self, momentum: dict[nn.Parameter, Tensor] | None) -> None:
        """Wrap the student for device, precision and processes, and make its optimiser."""
        student = self.task.student.to(self.device)
        if self.settings.channels_last:
            student = student.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = make_optimizer(student, self.settings)
        for p, buffer in (momentum or {}).items():
            optimizer.state[p]["momentum_buffer"] = buffer
        network = torch.compile(student) if self.settings.compile else student
        self.network, self.optimizer = self.fabric.setup(network, optimizer)
        self.task.student, self.task.optimizer = student, optimizer

    def _epoch(self, epoch: int) -> bool:
        """Train one epoch, or the rest of it, and measure; return False where the run is to end here."""
        task, first = self.task, self.done % self.batches.per_epoch
        began = time.perf_counter() - self.seconds
        if self._asked() == "finish":  # before the epoch is prepared: a run that resumes here prepares it again
            return False
        if first == 0:
            task.before_epoch(epoch, epoch / self.settings.epochs)
            self._share_task()
        task.student.train()
        for x, y in self.batches.epoch(epoch, first):
            self.seconds = time.perf_counter() - began
            if self.done % self.batches.per_epoch:
                if self._asked() == "finish":
                    return False
                if self._checkpoint_due():
                    self._checkpoint()
            parts = self._step(x, y)
            self.sum += parts["loss"]
            self.done += 1
            if (self.done - 1) % max(1, self.steps // POINTS) == 0 or self.done == self.steps:
                row = {"epoch": self.done / self.batches.per_epoch, "lr": self._rate(), **task.figures()}
                self._event({"kind": "train", "step": self.done, **parts, **row})
                self.recorder.frame(self.done, task.vectors)
            self.recorder.progress(self.done, self.steps, epoch + 1, self.settings.epochs)
        task.student.eval()
        measured = self._evaluate(task.student)
        self._event(
            {
                "kind": "evaluation",
                "step": self.done,
                "epoch": epoch + 1,
                **measured.record("val_"),
                "train_loss": self.sum / self.batches.per_epoch,
                **task.figures(),
                "seconds": time.perf_counter() - began,
            }
        )
        if task.settled and (self.best is None or measured.accuracy > self.best["val_accuracy"]):
            weights = {name: t.detach().cpu().clone() for name, t in task.student.state_dict().items()}
            self.best = {"epoch": epoch + 1, "val_accuracy": measured.accuracy, "model": weights}
        self.sum, self.seconds = 0.0, 0.0
        self._checkpoint()
        return True

    def _step(self, x: Tensor, y: Tensor) -> dict[str, float]:
        torch.manual_seed(seed_of(self.seed, self.done, 2, self.fabric.global_rank))  # of dropout and the like
        self.optimizer.zero_grad(set_to_none=True)
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate(self.done)
        with self.fabric.autocast():
            parts = self.task.loss(self.network, x, y)
        stacked = torch.stack([part.detach() for part in parts.values()])
        if self.fabric.world_size > 1:
            stacked = self.fabric.all_reduce(stacked.double(), reduce_op="mean")
        values = dict(zip(parts, stacked.tolist(), strict=True))
        if not math.isfinite(values["loss"]):
            raise self._not_finite(f"The loss is {values['loss']}", self.done + 1)
        self.fabric.backward(parts["loss"])
        self.task.before_step()
        if self.settings.clip_grad_norm is not None:
            self.fabric.clip_gradients(self.task.student, self.optimizer, max_norm=self.settings.clip_grad_norm)
        self.optimizer.step()
        if self.fabric.world_size > 1:
            self._share_statistics()
        self.task.after_step((self.done + 1) / self.steps)
        momentum = self.task.fold_mid_run()
        if momentum is not None:
            self._set_up(momentum)
        return values

    @torch.no_grad()
    def _share_statistics(self) -> None:
        """Give all processes the mean of their norm statistics, so that they stay equal to the last bit."""
        buffers = [b for b in self.task.student.buffers() if b.is_floating_point()]
        if buffers:
            flat = self.fabric.all_reduce(torch.cat([b.reshape(-1) for b in buffers]), reduce_op="mean")
            for b, mean in zip(buffers, flat.split([b.numel() for b in buffers]), strict=True):
                b.copy_(mean.reshape(b.shape))

    def _share_task(self) -> None:
        """Let whatever the first process chose, such as labels, hold for all."""
        if self.fabric.world_size > 1:
            self.task.load_state_dict(self._common(self.task.state_dict()))
            self.task.place(self.device)

    def _evaluate(self, network: nn.Module) -> Evaluation:
        with self.fabric.autocast():
            return evaluate(network, self.data, self.data.val, teacher=self.teacher, fabric=self.fabric)

    def _rate(self, step: int | None = None) -> float:
        return rate(self.settings, self.done - 1 if step is None else step, self.steps)

    def _event(self, record: dict[str, Any]) -> None:
        self.history.append(record)
        self.recorder.event(record)

    # -- requests and checkpoints ------------------------------------------------------------------------

    def _asked(self, keep: bool = True) -> Request | None:
        """Return what the recorder asks, the same in all processes; raise if that is to stop or to pause."""
        number = torch.tensor(REQUESTS.index(self.recorder.requested()))  # cheaper to send at every step than a word
        asked = REQUESTS[int(self._common(number))]
        if asked in ("stop", "pause"):
            if keep:
                self._checkpoint()
            state = "paused" if asked == "pause" else "stopped"
            raise Stopped(f"{state.capitalize()} after step {self.done} of {self.steps}.", state)
        return asked

    def activity(self, what: str) -> None:
        """Say what the run does now that its steps are made; stop if that is asked, with the last checkpoint kept.

        Parameters
        ----------
        what : str
            In a few words.

        Raises
        ------
        Stopped
            The recorder asked for it.
        """
        self.recorder.activity(what)
        self._asked(keep=False)

    def _common(self, value: Any) -> Any:
        """Return the first process's value, in all processes."""
        return self.fabric.broadcast(value) if self.fabric.world_size > 1 else value

    def _checkpoint_due(self) -> bool:
        every = self.settings.checkpoint_steps
        return (every is not None and self.done % every == 0) or self.recorder.due()

    def _checkpoint(self) -> None:
        if self.fabric.global_rank == 0:
            bad = [name for name, t in self.task.student.state_dict().items() if not t.isfinite().all()]
            if bad:
                raise self._not_finite(f"{bad[0]} holds numbers that are not finite", self.done)
            self.recorder.checkpoint(self._state)

    def _not_finite(self, what: str, step: int) -> PDCError:
        return PDCError(
            f"{what} at step {step} of {self.steps} with learning rate {self._rate(step - 1):.2g}; start again with a "
            f"smaller learning rate, or set clip_grad_norm. Last good checkpoint: {self.recorder.last_checkpoint()}."
        )

    def _state(self) -> dict[str, Any]:
        return {
            "step": self.done,
            "steps": self.steps,
            "sum": self.sum,
            "seconds": self.seconds,
            "elapsed": self.elapsed,
            "model": self.task.student.state_dict(),
            "optimizer": self.task.optimizer.state_dict(),
            "precision": self.fabric.strategy.precision.state_dict(),
            "stage": self.task.state_dict(),
            "best": self.best,
            "history": copy.deepcopy(self.history),
        }

    def _restore(self, state: dict[str, Any]) -> None:
        """Go on from a state; the task has its own already."""
        if state["steps"] != self.steps:
            raise PDCError(
                f"The checkpoint is of a run of {state['steps']} steps, but the settings now say {self.steps}; a run "
                "can only resume with the settings it began with. Set them back, or start a new run."
            )
        self.task.student.load_state_dict(state["model"])
        self.task.optimizer.load_state_dict(state["optimizer"])
        self.fabric.strategy.precision.load_state_dict(state["precision"])
        self.done, self.sum, self.seconds = int(state["step"]), float(state["sum"]), float(state["seconds"])
        self.earlier = float(state.get("elapsed", 0.0))
        self.best, self.history = state["best"], list(state["history"])
