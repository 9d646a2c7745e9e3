"""The page Learn: every step has its picture and a question, and answers are judged by the lesson's own numbers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from streamlit.testing.v1 import AppTest

Open = Callable[..., AppTest]
# step, the right answer and a wrong one, as a person would find them from the pictures
ANSWERS = {
    "Alike": ("0 and 1", "1 and 2"),
    "Pull": (0.0, 0.7),
    "Remove": ("merge it into filter 0", "delete it"),
    "Add": (1.3, 0.65),
    "Norm": ("no, the statistics are part of the function", "yes, they only matter in training"),
    "Sum": ("no, b0 and b1 still differ", "yes, one tied layer is enough"),
    "Hurt": ("unknown: training alone may have done that", "yes, by 0.8 points"),
}


def _answer(app: AppTest, step: str, value: str | float) -> AppTest:
    key = f"answer_{step}"
    widget = app.radio(key=key) if isinstance(value, str) else app.number_input(key=key)
    return widget.set_value(value).run()


@pytest.mark.parametrize("step", ANSWERS)
def test_a_link_opens_a_step_and_its_question_is_checked(opened: Open, step: str) -> None:
    right, wrong = ANSWERS[step]
    app = opened("learn", step=step)
    assert not app.exception
    assert app.subheader[0].value.startswith(f"{list(ANSWERS).index(step) + 1}. ")
    assert app.get("plotly_chart") or app.get("bidi_component")
    assert app.latex
    assert not app.success
    assert not app.warning
    app = _answer(app, step, wrong)
    assert app.warning[0].value.startswith("Not yet.")
    app = _answer(app, step, right)
    assert app.success[0].value.startswith("Right.")
    assert "1 of 7 questions answered" in [caption.value for caption in app.caption]


def test_a_strength_in_the_address_is_taken_and_shared_by_the_steps(opened: Open) -> None:
    app = opened("learn", step="Pull", strength="0.25")
    assert app.slider(key="strength").value == 0.25
    app.slider(key="strength").set_value(1.0).run()
    app.segmented_control(key="step").set_value("Remove").run()
    assert app.slider(key="strength").value == 1.0
    assert not app.exception
