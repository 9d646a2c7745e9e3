"""Times in words."""

from __future__ import annotations

import pytest

from pdc_core.durations import duration


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "1 s"),
        (0.4, "1 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (200, "3 min 20 s"),
        (3599, "59 min 59 s"),
        (3600, "1 h"),
        (7260, "2 h 1 min"),
    ],
)
def test_times_are_written_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words
