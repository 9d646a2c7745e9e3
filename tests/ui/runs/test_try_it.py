"""Try it and the images of confusions, on the page Compare: the answers are those of both networks."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

import pdc_core as pdc
from pdc_core.analysis.answers import compare_answers, probabilities
from pdc_core.runs import read_run
from ui.runs import classes, try_it
from ui.runs.compare import Pair, image_by_image

Open = Callable[..., AppTest]
DATA = pdc.load_data("digits")


@pytest.fixture(scope="module")
def pair(finished: Path) -> Pair:
    job = image_by_image(read_run(finished))
    job.wait(120)
    assert job.value is not None
    return job.value


def _texts(app: AppTest) -> str:
    return " ".join(each.value for each in app.markdown)


def test_a_test_image_shows_both_answers_and_which_filters_fire(opened: Open, finished: Path, pair: Pair) -> None:
    app = opened("compare", runs=finished.parent, section="Try it")
    app.segmented_control(key="try_source").set_value("Test image").run()
    i = int(classes.by_disagreement(pair, np.arange(360))[0])
    app.number_input(key="tried_image").set_value(i).run()
    assert not app.exception
    networks = pdc.load_model("resnet20", data="digits"), pdc.load(finished / "folded.safetensors")
    one, other = (probabilities(network, DATA, DATA.test.images[i : i + 1])[0] for network in networks)
    assert (
        f"Original: **{one.argmax()}** ({one.max():.0%}). Folded: **{other.argmax()}** ({other.max():.0%})"
        in _texts(app)
    )
    assert f"is {0.5 * np.abs(one - other).sum():.2f}" in _texts(app)
    assert f"True class: {int(DATA.test.labels[i])}." in _texts(app)
    found = re.search(r"layer1.0.conv1: \*\*(\d+) of 16\*\* .* \*\*(\d+) of 4\*\*", _texts(app))
    assert found is not None
    assert all(int(count) > 0 for count in found.groups())


def test_networks_and_distances_are_compared_on_every_test_image(finished: Path, pair: Pair) -> None:
    networks = pdc.load_model("resnet20", data="digits"), pdc.load(finished / "folded.safetensors")
    found = compare_answers(*networks, DATA, DATA.test.images)
    assert np.array_equal(pair.before, found.first)
    assert np.array_equal(pair.folded, found.second)
    assert np.array_equal(pair.distance, found.distance)


def test_a_confusion_lists_its_images_by_disagreement(opened: Open, finished: Path, pair: Pair) -> None:
    cells = classes.confused(pair)
    true, named = cells[-1]
    app = opened("compare", runs=finished.parent, section="Classes")
    app.session_state[classes._WANTED] = 10 * true + named  # what a click on the cell leaves
    app.run()
    assert not app.exception
    assert app.selectbox(key=classes.CELL).value.startswith(f"{true} called {named}: ")
    images = classes.by_disagreement(pair, classes.images_of(pair, true, named))
    naive = [
        i for i in range(360)
        if pair.truth[i] == true and named in (pair.before[i], pair.folded[i])
    ]  # fmt: skip
    assert sorted(images) == naive
    assert list(pair.distance[images]) == sorted(pair.distance[naive], reverse=True)
    counts = [[int(((pair.truth == a) & (said == b)).sum()) for said in (pair.before, pair.folded)] for a, b in cells]
    assert [sum(c) for c in counts] == sorted((sum(c) for c in counts), reverse=True)
    assert all(sum(c) for c in counts)


def test_a_drawing_of_the_sheet_is_read_and_anything_else_refused() -> None:
    ink = np.zeros((20, 20), dtype=np.uint8)
    ink[3:9, 4] = 255
    buffer = io.BytesIO()
    Image.fromarray(ink).save(buffer, "PNG")
    address = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    assert np.array_equal(try_it.drawing_of(address), ink)
    for wrong in ("file:///etc/passwd", address[:60] + "!", "data:image/png;base64," + "A" * 3_000_000):
        with pytest.raises(pdc.PDCError, match="clear the sheet"):
            try_it.drawing_of(wrong)


def test_disagreement_is_said() -> None:
    said = try_it.answer_sentence(("cat", "dog"), np.array([0.75, 0.25]), np.array([0.25, 0.75]), None)
    assert "Original: **cat** (75%). Folded: **dog** (75%). **They disagree**" in said
    assert "is 0.50" in said
    assert "They agree" in try_it.answer_sentence(("cat", "dog"), np.array([0.9, 0.1]), np.array([0.8, 0.2]), "cat")
