"""Sweep on the page Distil: what it starts, what it shows of a sweep, and that it goes on with one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from filelock import FileLock

from pdc_core.runs import RunSpec, SweepSpec, create_run, create_sweep, list_sweeps, read_sweep, run_sweep
from pdc_core.train import Training


@pytest.fixture(scope="module")
def finished_sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished sweep of two runs, alone in its folder of runs; to be read only."""
    base = RunSpec(keep=1.0, training=Training(epochs=1, batch_size=512))
    spec = SweepSpec(base=base, keeps=(0.5, 0.25), methods=("l1",))
    folder = create_sweep(spec, root=tmp_path_factory.mktemp("runs"))
    run_sweep(folder)
    return folder


def button(app, label: str):
    return next(each for each in app.button if each.label == label)


def test_a_sweep_is_started_with_the_settings_of_the_page(tmp_path: Path, monkeypatch, opened) -> None:
    launched: list[Path] = []
    monkeypatch.setattr("ui.runs.launching.launch", lambda folder, home: launched.append(folder))
    app = opened("distil", runs=tmp_path, data="digits")
    app.number_input(key="epochs").set_value(3).run()
    app.text_input(key="sweep_keeps").set_value("0.5, 0.25").run()
    app.text_input(key="sweep_seeds").set_value("4, 5").run()
    app.button_group(key="sweep_methods").set_value(["l1", "pdc"]).run()
    assert not app.exception
    assert any(caption.value.startswith("8 runs with the settings above. Takes about") for caption in app.caption)
    monkeypatch.setattr("ui.runs.launching.launch", lambda folder, home: launched.append(folder))
    button(app, "Start sweep").click().run()
    assert not app.exception
    (sweep,) = list_sweeps(tmp_path)
    assert launched == [sweep.folder]
    spec = sweep.spec
    assert (spec.keeps, spec.seeds, spec.methods, spec.rule) == ((0.5, 0.25), (4, 5), ("pdc", "l1"), "uniform")
    assert (spec.base.model, spec.base.data, spec.base.training.epochs) == ("resnet20", "digits", 3)


def test_what_cannot_be_a_sweep_is_said_and_not_started(tmp_path: Path, opened) -> None:
    app = opened("distil", runs=tmp_path, data="digits")
    for keeps, seeds, says in (
        ("0.5; 0.25", "0", "'0.5; 0.25' is no such number"),
        ("50", "0", "50 is not a keep ratio"),
        ("0.5", "", "at least one number"),
    ):
        app.text_input(key="sweep_keeps").set_value(keeps)
        app.text_input(key="sweep_seeds").set_value(seeds).run()
        assert says in app.error[0].value
        assert button(app, "Start sweep").disabled


def test_a_finished_sweep_shows_its_means_and_leads_to_compare(finished_sweep: Path, opened) -> None:
    app = opened("distil", runs=finished_sweep.parent, data="digits")
    assert not app.exception
    assert any(text.value.startswith("Done: 2 runs, started on") for text in app.success)
    table = app.dataframe[0].value
    assert list(table["keep ratio"]) == ["0.5", "0.25"]
    assert list(table["runs"]) == ["1 of 1", "1 of 1"]


def test_a_sweep_under_way_shows_how_far_it_is_and_can_be_paused(finished_sweep: Path, tmp_path: Path, opened) -> None:
    spec = read_sweep(finished_sweep).spec
    folder = create_sweep(spec.model_copy(update={"seeds": (0, 1)}), folder=tmp_path / "sweep")
    plan = read_sweep(finished_sweep).runs[0].spec.plan
    run = create_run(spec.run_of(spec.members[0], plan), folder=folder / spec.members[0].name)
    training = {"state": "running", "step": 1, "steps": 4, "eta_seconds": 30.0}
    (run / "status.json").write_text(json.dumps(training))
    (folder / "status.json").write_text(json.dumps({"state": "running", "message": "training"}))
    with FileLock(folder / "worker.lock"), FileLock(run / "worker.lock"):
        app = opened("distil", runs=tmp_path, data="digits")
        assert not app.exception
        (bar,) = app.get("progress")
        assert bar.proto.text.startswith("0 of 4 runs done, about")
        assert button(app, "Queue sweep")
        button(app, "Pause it anyway").click().run()
    assert (folder / "request").read_text() == "pause"


def test_a_sweep_that_ended_early_is_continued(finished_sweep: Path, tmp_path: Path, monkeypatch, opened) -> None:
    folder = create_sweep(read_sweep(finished_sweep).spec, folder=tmp_path / "sweep")
    (folder / "status.json").write_text(json.dumps({"state": "paused", "message": "why"}))
    app = opened("distil", runs=tmp_path, data="digits")
    assert any(text.value == "This sweep is paused, with 0 of 2 runs done. why" for text in app.warning)
    resumed: list[Path] = []
    monkeypatch.setattr("pdc_core.runs.sweeps.worker.launch", lambda path, home=None: resumed.append(path) or 1)
    button(app, "Continue sweep").click().run()
    assert resumed == [folder]
