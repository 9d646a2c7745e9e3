"""Figures of runs and of the lesson: drawn is what was given, exactness is named, the front is the front."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from pdc_core import charts, lesson

_STAGES = pd.DataFrame(
    {
        "run": ["a", "a", "a", "b", "b", "b"],
        "stage": ["before", "reconstructed", "folded"] * 2,
        "cost": [4.0, 4.0, 1.0, 4.0, 4.0, 2.0],
        "accuracy": [0.9, 0.8, 0.8, 0.9, 0.7, 0.7],
    }
)
_COUNTS = np.array([[8, 2], [1, 9]]), np.array([[7, 3], [0, 10]])
_MOVING = np.linspace(0, 1, 2 * 5 * 80).reshape(80, 5, 2)
_FIGURES = {
    "accuracy_against": lambda: charts.accuracy_against(_STAGES, "MACs", "of one image [millions]", "a"),
    "class_changes": lambda: charts.class_changes(["cat", "dog"], np.array([0.8, 0.9]), np.array([0.7, 1.0])),
    "confusion_change": lambda: charts.confusion_change(["cat", "dog"], *_COUNTS),
    "answer_bars": lambda: charts.answer_bars(["cat", "dog"], np.array([0.9, 0.1]), np.array([0.4, 0.6])),
    "speed_up": lambda: charts.speed_up({1: (0.02, 0.01), 64: (0.4, 0.1)}, 5.0),
    "motion": lambda: charts.motion(_MOVING, np.array([0, 0, 1, 1, 2]), np.arange(80), "conv1", 0.5),
    "error_bars": lambda: charts.error_bars({"delete": 0.5, "merge": 1e-16}, "What is lost"),
    "sum_bars": lambda: charts.sum_bars({"three": {"a": 1.0, "b": -0.5, "c": 2.0}}, "One pixel"),
    "pulling_curves": lambda: charts.pulling_curves([0, 0.5, 1], [2, 1, 0], [0, 0.1, 0.2], 0.5),
}


@pytest.mark.parametrize("name", _FIGURES)
def test_every_figure_says_what_it_shows_and_survives_dark_mode(name: str) -> None:
    figure = _FIGURES[name]()
    assert len(figure.layout.title.text) > 8
    assert figure.layout.title.text in figure.layout.meta["alt"]
    assert len(figure.layout.meta["alt"]) > len(figure.layout.title.text) + 10
    assert figure.layout.paper_bgcolor == figure.layout.plot_bgcolor == "rgba(0,0,0,0)"


def test_runs_are_joined_from_before_to_folded_and_the_front_holds_the_best() -> None:
    front, first, second = _FIGURES["accuracy_against"]().data
    assert list(zip(front.x, front.y, strict=True)) == [(1.0, 80.0), (4.0, 90.0), (4.0, 90.0)]
    assert list(first.x) == [4.0, 4.0, 1.0]
    assert list(second.y) == [90.0, 70.0, 70.0]
    assert first.opacity == 1.0 > second.opacity


def test_the_class_that_lost_most_is_on_top_and_right_answers_are_no_confusions() -> None:
    (bars,) = _FIGURES["class_changes"]().data
    assert list(bars.y) == ["cat", "dog"]
    assert list(bars.x) == pytest.approx([-10.0, 10.0])
    figure = _FIGURES["confusion_change"]()
    assert figure.layout.title.text == "Confusions: 1 more, 1 fewer than before"
    assert np.array_equal(figure.data[0].z, [[0, 1], [-1, 0]])
    cells = figure.data[1]
    named = list(zip(cells.y, cells.x, cells.customdata, cells.text, strict=True))
    assert named == [("cat", "dog", 1, "2 before, 3 folded"), ("dog", "cat", 2, "1 before, 0 folded")]


@pytest.mark.parametrize(
    ("classes", "angle"),
    [("0 1 2 3 4 5 6 7 8 9", 0), ("T-shirt Trouser Pullover Dress Coat Sandal Shirt", -60), ("a " * 24, -60)],
)
def test_names_of_classes_are_level_where_they_fit_side_by_side(classes: str, angle: int) -> None:
    names = classes.split()
    counts = np.ones((len(names), len(names)), dtype=int)
    assert charts.confusion_change(names, counts, counts).layout.xaxis.tickangle == angle


def test_answers_are_paired_and_the_likeliest_class_of_either_is_on_top() -> None:
    classes = [str(i) for i in range(12)]
    before, folded = np.eye(12)[3] * 0.6, np.eye(12)[5] * 0.7
    figure = charts.answer_bars(classes, before, folded)
    assert [list(bars.y[:2]) for bars in figure.data] == [["5", "3"], ["5", "3"]]
    assert [list(bars.x[:2]) for bars in figure.data] == [pytest.approx([0, 60]), pytest.approx([70, 0])]
    assert len(figure.data[0].y) == 10


def test_speed_ups_are_ratios_of_times() -> None:
    bars, line = _FIGURES["speed_up"]().data
    assert list(bars.y) == pytest.approx([2.0, 4.0])
    assert list(line.y) == [5.0, 5.0]


def test_an_animation_has_at_most_sixty_frames_first_and_last_among_them() -> None:
    figure = _FIGURES["motion"]()
    names = [frame.name for frame in figure.frames]
    assert len(names) == 60
    assert (names[0], names[-1]) == ("0", "79")
    assert [step.label for step in figure.layout.sliders[0].steps] == names
    low, high = figure.layout.xaxis.range
    assert low < _MOVING[..., 0].min() < _MOVING[..., 0].max() < high  # nothing ever leaves the picture


def test_what_is_exact_is_called_exact() -> None:
    (bars,) = _FIGURES["error_bars"]().data
    assert list(bars.text) == ["0.500", "0 (exact)"]
    assert bars.marker.color[0] != bars.marker.color[1]


def test_the_lesson_draws_every_filter_channel_and_output() -> None:
    image = np.arange(64.0).reshape(8, 8)
    import torch

    seen = lesson.look(lesson.small_network(), torch.tensor(image)[None, None])
    drawing = charts.three_filters(image, seen.kernels, seen.channels, seen.output, "Three <filters> on an image")
    root = ElementTree.fromstring(f"<div>{drawing.html}</div>")
    picture = root.find(".//svg")
    assert picture is not None
    assert len(picture.findall("rect")) == 64 + 3 * 9 + 3 * 64 + 64
    names = ["image x", *(f"{what} {i}" for what in ("filter", "channel") for i in range(3)), "output y"]
    assert [text.text for text in picture.findall("text") if text.get("fill") == "currentColor"] == names
    written = [text.text for text in picture.findall("text") if text.get("fill") != "currentColor"]
    assert written == [f"{w:.2f}" for w in seen.kernels.ravel()]
    said = {title.text for title in picture.iter("title")}
    assert f"output y, row 7, column 3: {seen.output[7, 3]:.3f}" in said
    for rect in picture.findall("rect"):  # nothing is drawn outside
        assert 0 <= float(rect.get("x", -1)) <= drawing.width - float(rect.get("width", 0))
        assert 0 <= float(rect.get("y", -1)) <= drawing.height - float(rect.get("height", 0))
    assert picture.get("aria-label", "").startswith("Three <filters> on an image. ")
    assert drawing._repr_html_() == drawing.html


@pytest.mark.parametrize(("right", "n"), [(0, 5), (5, 5), (3, 4), (349, 360), (9_351, 10_000)])
def test_wilson_bounds_are_the_accuracies_that_the_measured_one_is_z_deviations_from(right: int, n: int) -> None:
    p = right / n
    lower, upper = charts.wilson_interval(p, n)
    for bound in (float(lower), float(upper)):
        # by definition: (p - bound)^2 = z^2 bound (1 - bound) / n
        assert (p - bound) ** 2 == pytest.approx(1.959963984540054**2 * bound * (1 - bound) / n, abs=1e-12)
    assert 0 <= lower <= p <= upper <= 1
    assert lower < upper


def test_wilson_bounds_by_hand() -> None:
    # p = 349/360, z = 1.96: centre (0.969444 + 0.005336) / 1.010671, reach 1.96 sqrt(0.0000823 + 0.0000074) / 1.010671
    lower, upper = charts.wilson_interval(349 / 360, 360)
    assert (float(lower), float(upper)) == pytest.approx((0.9461, 0.9829), abs=1e-4)


def test_bars_are_the_wilson_interval_of_each_point_and_only_with_a_count_of_images() -> None:
    _, first, second = charts.accuracy_against(_STAGES, "MACs", "of one image [millions]", n_test=360).data
    for line, own in ((first, _STAGES[:3]), (second, _STAGES[3:])):
        lower, upper = charts.wilson_interval(own["accuracy"], 360)
        assert list(line.y + line.error_y.array) == pytest.approx(list(100 * upper))
        assert list(line.y - line.error_y.arrayminus) == pytest.approx(list(100 * lower))
        assert line.error_y.visible
    assert not any(line.error_y.visible for line in _FIGURES["accuracy_against"]().data[1:])


@pytest.mark.parametrize("n_test", [None, 360, 10_000])
@pytest.mark.parametrize("accuracy", [(0.969, 0.967, 0.966), (1.0, 1.0, 1.0), (0.0, 0.001, 0.0), (0.9, 0.5, 0.1)])
def test_the_accuracy_axis_holds_all_bars_and_spans_two_points_at_least(
    accuracy: tuple[float, ...], n_test: int | None
) -> None:
    frame = _STAGES[:3].assign(accuracy=accuracy)
    figure = charts.accuracy_against(frame, "MACs", "of one image [millions]", n_test=n_test)
    low, high = figure.layout.yaxis.range
    assert high - low >= 2 - 1e-9
    at = frame["accuracy"].to_numpy()
    lower, upper = (at, at) if n_test is None else charts.wilson_interval(at, n_test)
    assert low < 100 * lower.min() <= 100 * upper.max() < high
    assert high - low <= max(2, 1.2 * 100 * (upper.max() - lower.min())) + 1e-9  # and not much more


def test_the_caption_says_which_interval_and_how_many_points_one_image_is() -> None:
    assert "95 % Wilson intervals for 360 test images; one image is 0.28 points" in charts.accuracy_caption(360)
    assert "10,000 test images; one image is 0.01 points" in charts.accuracy_caption(10_000)
