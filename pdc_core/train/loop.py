"""The loop: epochs of gradient steps with the stage's hooks after each, resumable from a checkpoint.

Writes nothing itself: it tells a `Recorder` what happens and asks it whether to stop. Batch order and augmentation
derive from (seed, epoch, step), so a run can go on from any checkpoint.
"""

from __future__ import annotations

import copy
import math
import time
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pdc_core.data import Data
from pdc_core.errors import PDCError
from pdc_core.train.evaluation import evaluate
from pdc_core.train.recorder import Recorder, Stopped
from pdc_core.train.settings import Training
from pdc_core.train.stage import Stage


class Loop:
    """Epochs of gradient steps over a stage: the part that every method shares."""

    def __init__(self, data: Data, settings: Training, seed: int, recorder: Recorder) -> None:
        from lightning_fabric import Fabric

        if len(data.train) < 2:
            raise PDCError(f"{data.name} has {len(data.train)} training images; training needs at least 2.")
        self.data, self.settings, self.seed, self.recorder = data, settings, seed, recorder
        self.fabric = Fabric(accelerator=settings.accelerator, devices=1)
        self.device = self.fabric.device
        self.batches = _batches(len(data.train), settings.batch_size)
        self.steps = settings.epochs * self.batches
        self.history: list[dict[str, Any]] = []

    def run(self, stage: Stage) -> None:
        """Train for all epochs, from the recorder's checkpoint if it has one."""
        self.stage = stage
        student = stage.student.to(self.device)
        optimizer = torch.optim.SGD(
            student.parameters(),
            lr=self.settings.lr,
            momentum=self.settings.momentum,
            nesterov=self.settings.momentum > 0,
            weight_decay=self.settings.weight_decay,
        )
        self.network, self.optimizer = self.fabric.setup(student, optimizer)
        stage.place(self.device)
        for epoch in range(self._restore(), self.settings.epochs):
            self._epoch(epoch)

    def _epoch(self, epoch: int) -> None:
        began, sums = time.perf_counter(), 0.0
        order = torch.randperm(len(self.data.train), generator=_generator(self.seed, epoch))
        self.stage.before_epoch(epoch, epoch / self.settings.epochs)
        self.stage.student.train()
        for i in range(self.batches):
            step = epoch * self.batches + i
            if self.recorder.stopping():
                raise Stopped(f"Stopped at step {step} of {self.steps}.")
            parts = self._step(step, order[i * self.settings.batch_size : (i + 1) * self.settings.batch_size])
            self.stage.after_step((step + 1) / self.steps)
            sums += parts["loss"]
            if step % max(1, self.steps // 100) == 0 or step == self.steps - 1:
                row = {"epoch": (step + 1) / self.batches, "lr": self._lr(step), **self.stage.figures()}
                self._event({"kind": "train", "step": step + 1, **parts, **row})
            self.recorder.progress(step + 1, self.steps, epoch + 1, self.settings.epochs)
        self.stage.student.eval()
        measured = evaluate(self.stage.student, self.data, self.data.val)
        self._event(
            {
                "kind": "evaluation",
                "step": (epoch + 1) * self.batches,
                "epoch": epoch + 1,
                "val_accuracy": measured.accuracy,
                "val_loss": measured.loss,
                "train_loss": sums / self.batches,
                **self.stage.figures(),
                "seconds": time.perf_counter() - began,
            }
        )
        self.recorder.checkpoint(lambda: self._state(epoch + 1))

    def _step(self, step: int, chosen: Tensor) -> dict[str, float]:
        x = self.data.prepare(self._images(step, chosen).to(self.device))
        y = self.data.train.labels[chosen].to(self.device)
        for group in self.optimizer.param_groups:
            group["lr"] = self._lr(step)
        self.optimizer.zero_grad(set_to_none=True)
        parts = self.stage.loss(self.network, x, y)
        values = {name: float(part.detach()) for name, part in parts.items()}
        if not math.isfinite(values["loss"]):
            raise PDCError(
                f"The loss is {values['loss']} at step {step + 1} with learning rate {self._lr(step):.2g}; "
                "start again with a smaller learning rate."
            )
        self.fabric.backward(parts["loss"])
        self.optimizer.step()
        return values

    def _images(self, step: int, chosen: Tensor) -> Tensor:
        """Return a batch of training images, a share of them augmented; a function of (seed, step) alone."""
        images, generator = self.data.train.images[chosen], _generator(self.seed, step, 1)
        moved = self.data.augment(images, generator)
        pick = torch.rand(len(images), generator=generator) < self.settings.augment
        return torch.where(pick[:, None, None, None], moved, images)

    def _lr(self, step: int) -> float:
        return self.settings.lr * 0.5 * (1 + math.cos(math.pi * step / self.steps))

    def _event(self, record: dict[str, Any]) -> None:
        self.history.append(record)
        self.recorder.event(record)

    def _state(self, epoch: int) -> dict[str, Any]:
        return {
            "epoch": epoch,
            "model": self.stage.student.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "stage": self.stage.state_dict(),
            "history": copy.deepcopy(self.history),
        }

    def _restore(self) -> int:
        state = self.recorder.resume()
        if state is None:
            return 0
        self.stage.student.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.stage.load_state_dict(state["stage"])
        self.history = list(state["history"])
        return int(state["epoch"])


def _batches(images: int, batch_size: int) -> int:
    """Return the steps of an epoch; a last batch of a single image is left out, since batch norm needs two."""
    return max(1, images // batch_size + (images % batch_size > 1))


def _generator(*key: int) -> torch.Generator:
    """Return a generator that depends on the key alone, the same on every platform."""
    state = np.random.SeedSequence(key).generate_state(2, dtype=np.uint32)
    return torch.Generator().manual_seed(int(state[0]) << 31 ^ int(state[1]))
