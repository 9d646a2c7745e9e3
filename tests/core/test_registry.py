"""Registries: an entry is all that a new schedule, baseline or loss needs, to be checked, explained and run."""

from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic import ValidationError

import pdc_core as pdc
from pdc_core.baselines import METHOD_HELP, METHODS
from pdc_core.losses import FEATURES, LOGITS
from pdc_core.reconstruct.tying import Tying, TyingInput
from pdc_core.registry import Variant
from pdc_core.runs import RunSpec
from pdc_core.train import SCHEDULES, Training
from tests.training import FEW, MODEL, PLAN


class Linear(Tying):
    """A schedule of a user's own: the strength rises in a straight line."""

    def strength_at(self, progress: float) -> float:
        return min(1.0, progress / self.settings.tied_after)


def linear(given: TyingInput) -> Linear:
    """Make it, as a file of a new schedule would."""
    return Linear(given.model, given.graph, given.labels(), given.settings)


def test_an_entry_is_all_that_a_schedule_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValidationError, match="'linear' is unknown; choose progressive"):
        Training(schedule="linear")
    monkeypatch.setitem(SCHEDULES, "linear", Variant(linear, "in a straight line"))
    settings = Training(epochs=1, schedule="linear", tied_after=1.0)
    result = pdc.distil(MODEL, PLAN, FEW, settings=settings)
    steps = [row for row in result.history if row["kind"] == "train"]
    assert [row["strength"] for row in steps] == pytest.approx([row["step"] / steps[-1]["step"] for row in steps])
    assert result.report["same_predictions"]


def test_an_entry_is_all_that_a_loss_on_logits_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValidationError, match="'mse' is unknown; choose kd or dkd"):
        Training(kd_form="mse")
    loss = lambda student, teacher, y, temperature: (student - teacher).square().mean()  # noqa: E731
    monkeypatch.setitem(LOGITS, "mse", Variant(loss, "squared distance of the logits"))
    settings = Training(epochs=1, kd_form="mse", alpha=1.0, matching=0.0)
    first = pdc.distil(MODEL, PLAN, FEW, settings=settings).history[0]
    assert first["loss"] == first["kd"] > 0


def test_every_loss_on_features_is_a_setting() -> None:
    assert set(FEATURES) <= set(Training.model_fields)
    with pytest.raises(ValidationError, match="greater than or equal to 0"):
        Training(attention=-1.0)


def test_methods_are_those_of_the_table_and_pdc_itself() -> None:
    assert list(METHOD_HELP) == ["pdc", *METHODS]
    assert all(RunSpec(keep=0.5, method=name).method == name for name in METHOD_HELP)
    with pytest.raises(ValidationError, match=r"'magic' is unknown; choose pdc, l1, .* or whole"):
        RunSpec(keep=0.5, method="magic")


@pytest.mark.parametrize("registry", [SCHEDULES, METHODS, LOGITS, FEATURES])
def test_every_entry_has_one_line_of_help(registry: dict[str, Variant]) -> None:
    for name, variant in registry.items():
        assert 5 < len(variant.help) < 90, name
        assert not variant.help.endswith(".")


def test_the_command_line_explains_every_schedule_and_method() -> None:
    words = [sys.executable, "-m", "pdc_core", "distil", "--help"]
    help_text = subprocess.run(words, capture_output=True, text=True, check=True, timeout=120).stdout
    for name in (*SCHEDULES, *METHOD_HELP):
        assert f"{name}:" in help_text


def test_settings_alone_know_every_schedule() -> None:
    code = "from pdc_core.train.settings import Training; print(Training(schedule='recluster').schedule)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "recluster"
