"""Questions of the lesson, whose answers the page checks, and the image that all its steps use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st
import torch

from pdc_core.data import load_data

_ANSWERED = "answered"


@dataclass(frozen=True)
class Choice:
    """A question with one right option; `why` is shown once it is found, `hint` until then."""

    text: str
    options: Sequence[str]
    right: str
    why: str
    hint: str


@dataclass(frozen=True)
class Number:
    """A question for a number, right within `tolerance`."""

    text: str
    right: float
    tolerance: float
    why: str
    hint: str


@st.cache_data(show_spinner=False)
def lesson_image(index: int = 3) -> torch.Tensor:
    """Return one handwritten digit, (1, 1, 8, 8), 0 to 1."""
    return load_data("digits").test.images[index : index + 1] / 255.0


def answered() -> set[str]:
    """Return the steps whose question was answered in this session."""
    found: set[str] = st.session_state.setdefault(_ANSWERED, set())
    return found


def ask(step: str, question: Choice | Number) -> None:
    """Ask a question, and say whether the answer is right."""
    with st.container(border=True):
        st.markdown(f"**Question.** {question.text}")
        right = _choose(step, question) if isinstance(question, Choice) else _type(step, question)
        if right is None:
            return
        if right:
            st.success(f"Right. {question.why}", icon=":material/check:")
            answered().add(step)
        else:
            st.warning(f"Not yet. {question.hint}", icon=":material/lightbulb:")


def _choose(step: str, question: Choice) -> bool | None:
    """Return whether the chosen option is right, None while there is none."""
    answer = st.radio(
        "Your answer",
        question.options,
        index=None,
        key=f"answer_{step}",
        persist_state="session",
        label_visibility="collapsed",
    )
    return None if answer is None else answer == question.right


def _type(step: str, question: Number) -> bool | None:
    """Return whether the typed number is right, None while there is none."""
    answer = st.number_input(
        "Your answer", value=None, step=0.1, format="%.2f", key=f"answer_{step}", persist_state="session", width=220
    )
    return None if answer is None else abs(answer - question.right) <= question.tolerance
