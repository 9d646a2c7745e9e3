"""Writes what the loop tells into a run folder, and reads requests from it."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pdc_core.cluster import Labels
from pdc_core.runs.files import write
from pdc_core.train import Recorder

HEARTBEAT_EVERY = 0.5  # seconds between writes of status.json


class FolderRecorder(Recorder):
    """Writes what the loop tells into a run folder, and reads requests from it."""

    def __init__(self, folder: Path, show: Callable[[int, int], None] | None = None) -> None:
        self.folder, self.show = folder, show
        self.began: tuple[float, int] | None = None
        self.written = 0.0
        self.status: dict[str, Any] = {"pid": os.getpid(), "host": platform.node(), "started": time.time()}

    def state(self, state: str, message: str = "", **more: Any) -> None:
        self.status.update(state=state, message=message, heartbeat=time.time(), **more)
        self.written = time.monotonic()
        write(self.folder / "status.json", json.dumps(self.status))

    def event(self, record: dict[str, Any]) -> None:
        with (self.folder / "events.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def progress(self, step: int, steps: int, epoch: int, epochs: int) -> None:
        now = time.monotonic()
        self.began = self.began or (now, step)
        done = step - self.began[1]
        eta = (now - self.began[0]) / done * (steps - step) if done else None
        if self.show is not None:
            self.show(step, steps)
        if step == steps or now - self.written >= HEARTBEAT_EVERY:
            self.state("running", "training", step=step, steps=steps, epoch=epoch, epochs=epochs, eta_seconds=eta)

    def labels(self, labels: Labels) -> None:
        np.savez(self.folder / "labels.npz", **labels)  # type: ignore[arg-type]

    def stopping(self) -> bool:
        return (self.folder / "request").exists()

    def checkpoint(self, state: Callable[[], dict[str, Any]]) -> None:
        import torch

        temporary = self.folder / ".last.ckpt.part"
        torch.save(state(), temporary)
        temporary.replace(self.folder / "last.ckpt")

    def resume(self) -> dict[str, Any] | None:
        import torch

        path = self.folder / "last.ckpt"
        state: dict[str, Any] | None = (
            torch.load(path, weights_only=True, map_location="cpu") if path.exists() else None
        )
        history = state["history"] if state else []  # events after the checkpoint will happen again
        write(self.folder / "events.jsonl", "".join(json.dumps(record) + "\n" for record in history))
        return state
