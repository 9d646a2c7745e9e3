"""Checkpoints and the other files of a run survive being cut off anywhere; what is whole is found again."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import pdc_core as pdc
from pdc_core.runs import RunSpec, newest_checkpoint, read_run_checkpoint, run_worker
from pdc_core.runs.checkpoint import write_checkpoint
from pdc_core.train import Stopped, Training


def test_the_last_checkpoint_and_the_one_before_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        write_checkpoint(tmp_path, {"step": step, "model": {"w": torch.full((4,), float(step))}})
    assert read_run_checkpoint(tmp_path / "last.ckpt") is not None
    found = newest_checkpoint(tmp_path)
    assert found is not None
    assert (found[0].name, found[1]["step"]) == ("last.ckpt", 3)
    assert torch.equal(found[1]["model"]["w"], torch.full((4,), 3.0))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["last.ckpt", "previous.ckpt"]


@settings(max_examples=40, deadline=None)
@given(share=st.floats(0, 1, exclude_max=True), flip=st.booleans())
def test_a_damaged_checkpoint_is_noticed_and_the_one_before_is_used(
    tmp_path_factory: pytest.TempPathFactory, share: float, flip: bool
) -> None:
    folder = tmp_path_factory.mktemp("run")
    for step in (1, 2):
        write_checkpoint(folder, {"step": step, "model": {"w": torch.arange(100.0)}})
    content = bytearray((folder / "last.ckpt").read_bytes())
    at = int(share * len(content))
    if flip:
        content[at] ^= 1  # one bit that the disk got wrong
    (folder / "last.ckpt").write_bytes(content if flip else content[:at])
    found = newest_checkpoint(folder)
    assert found is not None
    assert (found[0].name, found[1]["step"]) == ("previous.ckpt", 1)


@pytest.mark.parametrize("part", [".last.ckpt.part", ".last.ckpt.0a1b2c3d.part"])  # the first: earlier versions
def test_a_kill_between_the_two_renames_loses_nothing(tmp_path: Path, part: str) -> None:
    for step in (1, 2):
        write_checkpoint(tmp_path, {"step": step})
    (tmp_path / "last.ckpt").rename(tmp_path / part)
    found = newest_checkpoint(tmp_path)
    assert found is not None
    assert found[1]["step"] == 2
    write_checkpoint(tmp_path, {"step": 3})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["last.ckpt", "previous.ckpt"]


@pytest.mark.parametrize("part", [".last.ckpt.part", ".last.ckpt.0a1b2c3d.part"])
def test_a_file_half_written_beside_a_checkpoint_is_not_used_and_goes_with_the_next(tmp_path: Path, part: str) -> None:
    write_checkpoint(tmp_path, {"step": 1})
    shutil.copy(tmp_path / "last.ckpt", tmp_path / part)
    found = newest_checkpoint(tmp_path)
    assert found is not None
    assert (found[0].name, found[1]["step"]) == ("last.ckpt", 1)
    write_checkpoint(tmp_path, {"step": 2})
    assert not (tmp_path / part).exists()


def test_without_a_checkpoint_there_is_nothing_to_go_on_from(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path) is None
    (tmp_path / "last.ckpt").write_bytes(b"\x80\x04\x95cos\nsystem\n")  # a pickle: not ours, and never run
    assert newest_checkpoint(tmp_path) is None


def test_a_full_disk_is_one_clear_error_and_the_checkpoints_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_checkpoint(tmp_path, {"step": 1})

    def no_space(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", no_space)
    with pytest.raises(pdc.PDCError, match=r"last\.ckpt cannot be written: No space left on device"):
        write_checkpoint(tmp_path, {"step": 2})
    found = newest_checkpoint(tmp_path)
    assert found is not None
    assert found[1]["step"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]


@pytest.fixture(scope="module")
def paused(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pdc.Result]:
    """A teaching run of six steps with a checkpoint after each, paused after the fifth; and the whole run."""
    root = tmp_path_factory.mktemp("runs")
    training = Training(epochs=2, batch_size=512, augment=0.0, checkpoint_steps=1)
    folder, other = (
        pdc.create_run(RunSpec(kind="teach", training=training), folder=root / name) for name in ("a", "b")
    )
    with pytest.raises(Stopped):
        run_worker(folder, show=lambda step, _: pdc.request_pause(folder) if step == 5 else None)
    return folder, run_worker(other)


@pytest.mark.parametrize("name", ["last.ckpt", "events.jsonl", "status.json", "history.csv", "labels.npz"])
def test_any_file_cut_off_anywhere_is_survived(tmp_path: Path, paused: tuple[Path, pdc.Result], name: str) -> None:
    source, whole = paused
    for attempt in range(6):
        folder = tmp_path / str(attempt)
        shutil.copytree(source, folder)
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: random.Random(attempt).randrange(len(content))])
        run = pdc.read_run(folder)
        assert run.state in ("paused", "interrupted")
        assert [e["step"] for e in run.events] == sorted(e["step"] for e in run.events)
        found = newest_checkpoint(folder)
        assert found is not None
        assert found[1]["step"] == (4 if name == "last.ckpt" else 5)  # at most one interval is lost
    result = run_worker(folder)
    pairs = zip(result.folded.state_dict().values(), whole.folded.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    drop = [{k: v for k, v in row.items() if k != "seconds"} for row in pdc.read_run(folder).events]
    assert drop == [{k: v for k, v in row.items() if k != "seconds"} for row in whole.history]


def test_what_came_out_is_made_again_from_the_last_checkpoint(tmp_path: Path, paused: tuple[Path, pdc.Result]) -> None:
    source, whole = paused
    folder = tmp_path / "run"
    shutil.copytree(source, folder)
    run_worker(folder)
    for name in ("report.json", "folded.safetensors"):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])
        assert pdc.read_run(folder).state in ("interrupted", "done")
        run_worker(folder)
        again = pdc.load(folder / "folded.safetensors")
        pairs = zip(again.state_dict().values(), whole.folded.state_dict().values(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)


def test_a_run_file_that_is_cut_off_is_not_taken_for_another_request(tmp_path: Path) -> None:
    folder = pdc.create_run(RunSpec(kind="teach", seed=123456), root=tmp_path)
    text = (folder / "run.yaml").read_text()
    for length in range(1, len(text) - 1):
        (folder / "run.yaml").write_text(text[:length])
        try:
            spec = pdc.read_run(folder).spec
        except pdc.PDCError:
            continue
        assert spec.seed == 123456
