"""The page Distil: estimates, states, runs of others, and filters that end in one point."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from streamlit.testing.v1 import AppTest

import pdc_core as pdc
from pdc_core import charts
from pdc_core.analysis.trajectories import read_trajectory
from pdc_core.runs import RunSpec, create_run, read_run, run_worker
from ui.network import load_network
from ui.runs.progress import by_network, duration

PAGES = Path(__file__).parents[3] / "pages"
Open = Callable[..., AppTest]
Texts = Callable[[AppTest], dict[str, str]]
Press = Callable[[AppTest, str], AppTest]


def _plan() -> pdc.Plan:
    model, data = pdc.load_model("resnet20", data="digits"), pdc.load_data("digits")
    return pdc.Plan.uniform(pdc.trace(model, torch.zeros(1, *data.shape)), keep=0.25)


def _status(folder: Path, **status: object) -> None:
    (folder / "status.json").write_text(json.dumps({"heartbeat": time.time(), **status}))


def test_filters_of_a_cluster_end_in_one_point_and_began_apart(finished: Path) -> None:
    found = read_trajectory(finished / "trajectory.npz")
    with np.load(finished / "labels.npz") as file:
        labels = {name: file[name] for name in file.files}
    assert found.steps[0] == 0
    assert found.steps[-1] == read_run(finished).status["steps"]
    for name, points in found.points.items():
        for cluster in range(labels[name].max() + 1):
            members = labels[name] == cluster
            assert np.ptp(points[-1, members], axis=0).max() < 1e-5
        assert np.ptp(points[0], axis=0).min() > 0.01


def test_a_finished_run_can_be_played_again(finished: Path, opened: Open) -> None:
    app = opened("distil", runs=finished.parent)
    assert not app.exception
    group = app.selectbox(key="moving").value
    assert group in _plan().counts
    found = read_trajectory(finished / "trajectory.npz")
    labels = np.load(finished / "labels.npz")[group]
    drawn = charts.motion(found.points[group], labels, found.steps, group, found.share[group])
    assert [frame.name for frame in drawn.frames][:1] == ["0"]
    assert len(drawn.frames) <= 60
    np.testing.assert_array_equal(drawn.data[1].x, found.points[group][-1, :, 0])
    assert not charts.motion(found.points[group], labels, found.steps, group, 0.5, animated=False).frames


def test_the_estimate_grows_with_the_epochs_and_comes_from_runs_like_it(finished: Path, opened: Open) -> None:
    app = opened("distil", runs=finished.parent)
    app.number_input(key="batch_32").set_value(64).run()
    app.number_input(key="epochs").set_value(600).run()
    (seconds,) = [e["seconds"] for e in read_run(finished).events if e["kind"] == "evaluation"]

    said = f"Takes about {duration(600 * seconds)} on this machine."
    assert any(c.value.startswith(said) for c in app.caption)


@pytest.mark.parametrize("state", ["paused", "stopped", "failed", "interrupted"])
def test_a_run_that_ended_early_says_so_and_can_be_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str, opened: Open
) -> None:
    folder = create_run(RunSpec(plan=_plan()), root=tmp_path)
    # a killed worker leaves «running» behind, and nobody holds the lock
    _status(folder, state="running" if state == "interrupted" else state, message="why", pid=1, host="elsewhere")
    app = opened("distil", runs=tmp_path)
    assert not app.exception
    said = "Its process is gone." if state == "interrupted" else "why"
    assert app.warning[0].value == f"This run is {state}. {said}"
    launched = []
    monkeypatch.setattr("ui.runs.launching.resume", lambda path, home: launched.append(path))
    next(button for button in app.button if button.label == "Continue").click().run()
    assert launched == [folder]


def test_a_run_that_was_kept_early_says_after_which_step(finished: Path, tmp_path: Path, opened: Open) -> None:
    shutil.copytree(finished, tmp_path / "kept")
    report = json.loads((finished / "report.json").read_text())
    assert "Finished early" not in opened("distil", runs=finished.parent).success[0].value
    report["ended_early"] = {"step": 139, "steps": 1020}
    (tmp_path / "kept" / "report.json").write_text(json.dumps(report))
    app = opened("distil", runs=tmp_path)
    assert app.success[0].value.endswith("Finished early, after step 139 of 1,020.")


def test_a_run_copied_from_another_machine_appears_and_says_where_it_was(
    finished: Path, tmp_path: Path, opened: Open
) -> None:
    shutil.copytree(finished, tmp_path / "from-the-cluster")
    status = json.loads((finished / "status.json").read_text())
    _status(tmp_path / "from-the-cluster", **{**status, "host": "node17"})
    app = opened("distil", runs=tmp_path)
    assert not app.exception
    assert any("started on node17" in caption.value for caption in app.caption)
    assert app.success[0].value.startswith("Done.")


def test_lecture_mode_shows_fewer_settings(tmp_path: Path, opened: Open) -> None:
    def settings(app: AppTest) -> set[str | None]:
        return {widget.key for widget in [*app.number_input, *app.slider, *app.selectbox]}

    full, lecture = settings(opened("distil", runs=tmp_path)), settings(opened("distil", runs=tmp_path, lecture="1"))
    assert {"epochs", "lr_0.05", "budget"} <= lecture < full
    assert "seed" in full - lecture


def test_settings_of_one_network_are_not_those_of_another_that_needs_others(opened: Open) -> None:
    app = opened("distil")
    assert app.number_input(key="lr_0.05").value == 0.05
    app.session_state["choice"] = replace(app.session_state["choice"], data="clothing")
    app.run()
    assert app.number_input(key="batch_128").value == 128


def test_the_learning_rate_follows_the_length_of_the_run_until_it_is_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened: Open, press: Press
) -> None:
    launched: list[Path] = []
    monkeypatch.setattr("ui.runs.launching.launch", lambda folder, home: launched.append(folder))
    app = opened("distil", runs=tmp_path, data="clothing")
    assert app.number_input(key="lr_0.05").value == 0.05  # 8 epochs of 47 steps
    app.number_input(key="epochs").set_value(2).run()
    assert app.number_input(key="lr_0.02").value == 0.02
    press(app, "Start")
    app.number_input(key="lr_0.02").set_value(0.03).run()
    press(app, "Queue")
    assert not app.exception
    assert [read_run(folder).spec.training.lr for folder in launched] == [None, 0.03]


def test_a_baseline_is_started_with_the_same_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened: Open
) -> None:
    launched: list[Path] = []
    monkeypatch.setattr("ui.runs.launching.launch", lambda folder, home: launched.append(folder))
    app = opened("distil", runs=tmp_path)
    app.selectbox(key="method").set_value("l1").run()
    next(button for button in app.button if button.label == "Start").click().run()
    assert not app.exception
    (folder,) = launched
    assert read_run(folder).spec.method == "l1"
    run_worker(folder)
    shown = opened("distil", runs=tmp_path)
    assert not shown.exception
    assert any("smallest L1 norm" in caption.value for caption in shown.caption)
    app.switch_page(str(PAGES / "compare.py")).run()
    assert not app.exception
    assert any("removes filters **before** it trains" in text.value for text in app.markdown)
    logits = next(metric for metric in app.metric if metric.label == "Largest logit change")
    assert logits.value == "–"


def test_the_newest_run_of_the_open_network_comes_first_and_one_of_another_network_says_so(
    opened: Open, finished: Path, tmp_path: Path
) -> None:
    shutil.copytree(finished, tmp_path / finished.name)
    other = create_run(RunSpec(model="resnet20", data="digits", weights="random", plan=_plan()), root=tmp_path)
    _status(other, state="stopped", message="", pid=1, host="elsewhere")
    assert next(iter(pdc.list_runs(tmp_path))).id == other.name, "the other network's run is the newest"
    app = opened("distil", runs=tmp_path)
    assert not app.exception
    assert app.selectbox(key="run_choice").value == finished.name
    assert not app.info
    app.selectbox(key="run_choice").set_value(other.name).run()
    assert app.info[0].value.startswith("This run is of another network: ResNet-20 on digits, random weights.")
    app = opened("distil", runs=tmp_path, weights="random")
    assert app.selectbox(key="run_choice").value == other.name
    assert not app.info


def test_runs_of_the_open_network_come_first_and_among_them_the_one_that_is_training(finished: Path) -> None:
    network = load_network("resnet20", "digits")
    done = read_run(finished)
    training, queued = (replace(done, folder=Path(state), state=state) for state in ("running", "queued"))
    other = replace(training, folder=Path("other"), spec=done.spec.model_copy(update={"weights": "random"}))
    newest_first = {run.id: run for run in (other, queued, done, training)}
    assert list(by_network(newest_first, network)) == ["running", "queued", done.id, "other"]


def test_a_budget_and_a_teacher_are_written_into_the_run(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened: Open, press: Press
) -> None:
    shutil.copytree(finished, tmp_path / finished.name)
    launched: list[Path] = []
    monkeypatch.setattr("ui.runs.launching.launch", lambda folder, home: launched.append(folder))
    app = opened("distil", runs=tmp_path)
    app.number_input(key="epochs").set_value(5).run()
    app.selectbox(key="budget").set_value("2 min").run()
    assert app.number_input(key="epochs").disabled, "the time sets the epochs"
    assert app.number_input(key="epochs").value == 5
    assert any(c.value.startswith("Takes about 2 min: images and epochs are chosen") for c in app.caption)
    assert app.selectbox(key="teacher").options == [finished.name]
    app.selectbox(key="teacher").set_value(finished.name).run()
    press(app, "Start")
    (folder,) = launched
    spec = read_run(folder).spec
    assert (spec.budget, spec.teacher) == (120, str(tmp_path / finished.name))
    assert any("length still to be chosen, taught by " in c.value for c in app.caption)
