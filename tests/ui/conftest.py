"""Fixtures of the page tests: a page in Streamlit's own test runner, its numbers, and a finished run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from streamlit.testing.v1 import AppTest

import pdc_core as pdc
from pdc_core.runs import RunSpec, create_run, run_worker
from pdc_core.train import Training

ROOT = Path(__file__).parents[2]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., AppTest]:
    """Open a page by name, with the runs of a folder (none by default) and an address.

    Unless the address names other data, it is that of the digits network, which is quick to measure and to train.
    """

    def open_page(name: str, runs: Path = tmp_path, **query: str) -> AppTest:
        query = {"data": "digits", **query}
        monkeypatch.setenv("PDC_RUNS", str(runs))
        app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=120)
        app.switch_page(str(ROOT / "pages" / f"{name}.py"))
        for key, value in query.items():
            app.query_params[key] = value
        return app.run()

    return open_page


@pytest.fixture
def metrics() -> Callable[[AppTest], dict[str, str]]:
    """Return the numbers on a page by their labels."""
    return lambda app: {metric.label: metric.value for metric in app.metric}


@pytest.fixture
def deltas() -> Callable[[AppTest], dict[str, str]]:
    """Return the differences beside the numbers on a page by their labels."""
    return lambda app: {metric.label: metric.delta for metric in app.metric}


@pytest.fixture
def press() -> Callable[[AppTest, str], AppTest]:
    """Press the button of a label; the page shows no exception then."""

    def press_button(app: AppTest, label: str) -> AppTest:
        next(button for button in app.button if button.label == label).click().run()
        assert not app.exception
        return app

    return press_button


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of one epoch, alone in its folder of runs; to be read only."""
    model, data = pdc.load_model("resnet20", data="digits"), pdc.load_data("digits")
    plan = pdc.Plan.uniform(pdc.trace(model, torch.zeros(1, *data.shape)), keep=0.25)
    spec = RunSpec(plan=plan, training=Training(epochs=1, batch_size=64))
    folder = create_run(spec, root=tmp_path_factory.mktemp("runs"))
    run_worker(folder)
    return folder
