"""A power cut or a kill at any moment of a write leaves the old file or the new one; what was written stays written.

Of every public function that writes a file whole: a child process is killed at each line that runs while it writes, in
our modules and in pathlib; and a fake layer between Python and the system counts what is flushed, and when.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch
from torch import nn

import pdc_core as pdc
from pdc_core import runs
from pdc_core.runs import RunSpec
from pdc_core.runs.checkpoint import newest_checkpoint, write_checkpoint
from pdc_core.train import Training

OURS = ("pdc_core/files.py", "pdc_core/runs/checkpoint.py")
PATHLIB = {
    "write_bytes",
    "write_text",
    "open",
    "replace",
    "rename",
    "unlink",
}  # where a file is opened and not filled yet


def network(value: float) -> nn.Module:
    net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Flatten(), nn.Linear(2, 2)).eval()
    with torch.no_grad():
        for p in net.parameters():
            p.fill_(value)
    return net


def save_network(folder: Path, value: float) -> None:
    pdc.save(network(value), folder / "network.safetensors")


def read_network(folder: Path) -> float:
    build = lambda: network(0.0)  # noqa: E731
    return float(pdc.load(folder / "network.safetensors", build=build)[0].bias.detach()[0])


def save_plan(folder: Path, value: float) -> None:
    pdc.Plan(counts={"layer": int(value)}).save(folder / "plan.json")


def read_plan(folder: Path) -> float:
    return float(pdc.Plan.load(folder / "plan.json").counts["layer"])


def save_checkpoint(folder: Path, value: float) -> None:
    write_checkpoint(folder, {"step": value, "model": torch.zeros(10)})


def read_checkpoint(folder: Path) -> float:
    found = newest_checkpoint(folder)
    assert found is not None
    return float(found[1]["step"])


WRITERS: dict[str, tuple[Callable[[Path, float], None], Callable[[Path], float]]] = {
    "network": (save_network, read_network),
    "plan": (save_plan, read_plan),
    "checkpoint": (save_checkpoint, read_checkpoint),
}


class Killer:
    """Ends the process, as a kill does, at the n-th line of ours or of pathlib that runs."""

    def __init__(self, at: int) -> None:
        self.left = at

    def enter(self, frame: FrameType, event: str, argument: Any) -> Any:
        code = frame.f_code
        ours = code.co_filename.endswith(OURS) or ("pathlib" in code.co_filename and code.co_name in PATHLIB)
        return self.line if ours else None

    def line(self, frame: FrameType, event: str, argument: Any) -> Any:
        self.left -= event == "line"
        if self.left <= 0:
            os._exit(9)  # nothing is flushed, no finally runs
        return self.line


def killed_at(line: int, write: Callable[[], None]) -> bool:
    """Write in a fork that is killed at some line; return whether it was."""
    child = os.fork()
    if child == 0:
        sys.settrace(Killer(line).enter)
        try:
            write()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.parametrize("name", WRITERS)
def test_a_writer_killed_at_any_line_leaves_the_old_file_or_the_new_one(name: str, tmp_path: Path) -> None:
    write, read = WRITERS[name]
    found = []
    for line in range(1, 500):
        folder = tmp_path / str(line)
        folder.mkdir()
        write(folder, 1.0)
        killed = killed_at(line, lambda folder=folder: write(folder, 2.0))
        found.append(read(folder))
        write(folder, 3.0)
        assert read(folder) == 3.0, "what was left of a killed writer stands in the way"
        if not killed:
            break
    assert set(found) == {1.0, 2.0}
    assert found[0] == 1.0
    assert found[-1] == 2.0
    assert 10 < len(found) < 499, "kills fell between the steps of a write"
    assert found == sorted(found), "once the new file is there, it stays"


class Layer:
    """What is asked of the system, in order: ("flush", inode, bytes), ("rename", from, to)."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def promised(self, path: Path) -> bool:
        """Whether all that a file holds now, and its name, are on the disk: flushed, renamed, the folder flushed."""
        file, folder = path.stat(), path.parent.stat().st_ino
        whole = [i for i, call in enumerate(self.calls) if call == ("flush", file.st_ino, file.st_size)]
        named = [i for i, call in enumerate(self.calls) if call[0] == "rename" and call[2] == str(path)]
        kept = [i for i, call in enumerate(self.calls) if call[:2] == ("flush", folder)]
        return bool(whole and named and kept) and whole[0] < named[-1] < kept[-1]


@pytest.fixture
def layer(monkeypatch: pytest.MonkeyPatch) -> Layer:
    made, fsync = Layer(), os.fsync

    def flush(handle: int) -> None:
        status = os.fstat(handle)
        made.calls.append(("flush", status.st_ino, status.st_size))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", flush)
    for name in ("rename", "replace"):
        real = getattr(os, name)

        def rename(source: Any, target: Any, real: Any = real, **more: Any) -> None:
            made.calls.append(("rename", str(source), str(target)))
            real(source, target, **more)

        monkeypatch.setattr(os, name, rename)
    return made


@pytest.mark.skipif(os.name != "posix", reason="folders are flushed on POSIX systems")
@pytest.mark.parametrize(
    ("name", "file"), [("network", "network.safetensors"), ("plan", "plan.json"), ("checkpoint", "last.ckpt")]
)
def test_what_was_written_survives_a_power_cut(name: str, file: str, tmp_path: Path, layer: Layer) -> None:
    for value in (1.0, 2.0):
        layer.calls.clear()
        WRITERS[name][0](tmp_path, value)
        assert layer.promised(tmp_path / file)


@pytest.mark.skipif(os.name != "posix", reason="folders are flushed on POSIX systems")
def test_a_run_that_says_done_has_its_request_network_and_report_on_the_disk(tmp_path: Path, layer: Layer) -> None:
    training = Training(epochs=1, batch_size=512, augment=0.0)
    folder = pdc.create_run(RunSpec(kind="teach", training=training), folder=tmp_path / "run")
    assert layer.promised(folder / "run.yaml")
    runs.run_worker(folder)
    for name in ("last.ckpt", "folded.safetensors", "report.json"):
        assert layer.promised(folder / name), name
    order = [Path(call[2]).name for call in layer.calls if call[0] == "rename"]
    assert order.index("folded.safetensors") < order.index("report.json"), "a report is of a network that is there"
