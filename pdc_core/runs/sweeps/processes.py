"""Runs in processes of their own, a given number at a time, the machine's cores and GPUs divided among them."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from pdc_core.models import build_environment


class Processes:
    """The processes that train runs; those still at work when the `with` block is left are ended.

    A run that is ended like that goes on from its last checkpoint when its sweep is continued.

    Parameters
    ----------
    jobs : int
        Most of them at the same time, 1 or more.
    """

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs
        self._slots: dict[int, tuple[str, subprocess.Popen[bytes]]] = {}

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_: object) -> None:
        left = [process for _, process in self._slots.values()]
        for process in left:
            process.terminate()
        for process in left:
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)

    @property
    def names(self) -> list[str]:
        """The runs under way, by the names of their folders."""
        return [name for name, _ in self._slots.values()]

    def start(self, folder: Path) -> None:
        """Train a run folder in a new process, with its share of the machine.

        Parameters
        ----------
        folder : Path
            The run folder.
        """
        slot = next(i for i in range(self.jobs) if i not in self._slots)
        with (folder / "worker.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "pdc_core", "run", str(folder.resolve())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=build_environment() | share_of_machine(slot, self.jobs),
            )
        self._slots[slot] = folder.name, process

    def that_ended(self) -> list[str]:
        """Return the runs whose processes ended since the last call."""
        over = [slot for slot, (_, process) in self._slots.items() if process.poll() is not None]
        return [self._slots.pop(slot)[0] for slot in over]


def share_of_machine(slot: int, jobs: int) -> dict[str, str]:
    """Return the environment variables that give one of several processes its share of cores and GPUs.

    Parameters
    ----------
    slot : int
        Which of the processes, 0 to below `jobs`.
    jobs : int
        How many there are. A single one gets everything.

    Examples
    --------
    >>> share_of_machine(0, 1)
    {}
    """
    if jobs == 1:
        return {}
    import torch

    threads = str(max(1, torch.get_num_threads() // jobs))
    share = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    visible = [each for each in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if each]
    devices = visible or [str(i) for i in range(torch.cuda.device_count())]
    return share | ({"CUDA_VISIBLE_DEVICES": devices[slot % len(devices)]} if len(devices) > 1 else {})
