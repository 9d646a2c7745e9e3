"""A teacher near chance: where the line is, who is told, and that a run that has begun goes on."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch

import pdc_core as pdc
from pdc_core.runs import FolderRecorder, RunSpec, WeakTeacher, create_run, read_spec, run_worker
from pdc_core.runs.files import write
from pdc_core.train import Stopped, Training, chance_level
from tests.training import FEW, MODEL, PLAN, little


@pytest.mark.parametrize(
    ("counts", "chance", "least"),
    [
        ([500] * 10, 0.1, 0.145),  # a twentieth of the way to no mistake
        ([5] * 1000, 0.001, 0.001 + 0.05 * 0.999),
        ([36] * 10, 0.1, 0.1 + 3 * (0.09 / 360) ** 0.5),  # three standard errors are more than that
        ([900, 100], 0.9, 0.9 + 3 * (0.09 / 1000) ** 0.5),  # always naming the commonest class is guessing too
        ([3, 3], 0.5, 0.75),  # few images: half of the way is enough
        ([1, 1], 0.5, 0.75),
    ],
)
def test_the_line_between_guessing_and_knowing(counts: list[int], chance: float, least: float) -> None:
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    assert chance_level(labels) == pytest.approx((chance, least))


@pytest.mark.parametrize("classes", [2, 3, 10, 100])
@pytest.mark.parametrize("images", [1, 2, 5, 30, 1000])
def test_a_perfect_teacher_is_never_refused_and_guessing_always(classes: int, images: int) -> None:
    labels = torch.arange(images) % classes
    chance, least = chance_level(labels)
    assert chance <= least <= 1
    assert least < 1 or chance == 1


def test_the_library_warns_and_goes_on() -> None:
    net = little()
    plan = pdc.Plan.uniform(pdc.trace(net, FEW.example), 0.5)
    with pytest.warns(UserWarning, match="guessing names 10"):
        assert pdc.distil(net, plan, FEW, settings=Training(epochs=1, batch_size=65)).report["folded"]
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        pdc.distil(MODEL, PLAN, FEW, settings=Training(epochs=1, batch_size=65))


def test_a_run_that_had_begun_before_goes_on(tmp_path: Path) -> None:
    spec = RunSpec(weights="random", keep=0.5, training=Training(epochs=2, batch_size=512), allow_weak_teacher=True)
    folder = create_run(spec, root=tmp_path)
    with pytest.raises(Stopped):
        run_worker(folder, show=lambda step, _: pdc.request_pause(folder))
    text = (folder / "run.yaml").read_text()
    write(folder / "run.yaml", text.replace("allow_weak_teacher: true\n", ""))  # as an earlier version wrote it
    assert not read_spec(folder).allow_weak_teacher
    assert run_worker(folder).report["folded"]


def test_a_recorder_of_a_folder_refuses_unless_it_is_told_to(tmp_path: Path) -> None:
    with pytest.raises(WeakTeacher, match=r"^It guesses\. Train it first \(pdc teach\).*--allow-weak-teacher"):
        FolderRecorder(tmp_path).weak_teacher("It guesses.")
    FolderRecorder(tmp_path, allow_weak_teacher=True).weak_teacher("It guesses.")
