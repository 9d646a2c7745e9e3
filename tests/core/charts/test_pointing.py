"""Pictures that explain themselves: what they say of a pixel is what the network computes there."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pdc_core import charts, lesson
from pdc_core.data import load_data

IMAGE = load_data("digits").test.images[3:4] / 255.0
NUMBER = r"\(?\N{MINUS SIGN}?\d+\.\d\d\)?"


def read(text: str) -> float:
    """Return a number as the picture writes it."""
    return float(text.strip("()").replace("\N{MINUS SIGN}", "-"))


def total(line: str) -> float:
    """Return a written sum of products."""
    return sum(read(a) * read(b) for a, b in re.findall(rf"({NUMBER}) · ({NUMBER})", line))


@pytest.fixture(scope="module", params=[0.0, 0.4, 1.0])
def pointed(request: pytest.FixtureRequest) -> tuple[charts.Pointed, lesson.Seen]:
    model = lesson.pull(lesson.small_network(), request.param)
    seen, (scales, shifts) = lesson.look(model, IMAGE), lesson.norm_at_inference(model)
    picture = charts.explained_filters(
        IMAGE[0, 0].numpy(), seen.kernels, seen.channels, seen.output, "Three filters",
        scales=scales, shifts=shifts, v=model.reader.weight.flatten().tolist(),
    )  # fmt: skip
    return picture, seen


def test_the_products_of_every_pixel_add_up_to_what_the_network_computes(
    pointed: tuple[charts.Pointed, lesson.Seen],
) -> None:
    picture, seen = pointed
    assert len(picture.cells) == 4 * 64
    for i, r, c in np.ndindex(3, 8, 8):
        _, *products, end = picture.cells[4 + i, r, c].lines
        said = re.fullmatch(rf"sum = ({NUMBER}); norm: (.+) = ({NUMBER}); ReLU: ({NUMBER})", end)
        assert said is not None
        assert sum(line.count("·") for line in products) == 9
        assert sum(map(total, products)) == pytest.approx(read(said[1]), abs=0.15)  # nine rounded numbers
        assert read(said[4]) == pytest.approx(seen.channels[i, r, c], abs=0.0051)
        assert read(said[4]) == max(read(said[3]), 0.0)
    for r, c in np.ndindex(8, 8):
        found = picture.cells[7, r, c]
        assert read(found.lines[1].split(" = ")[1]) == pytest.approx(seen.output[r, c], abs=0.0051)
        assert [(m.panel, m.row, m.column) for m in found.marks] == [(4, r, c), (5, r, c), (6, r, c), (7, r, c)]


def test_the_outlined_window_is_what_the_pixel_depends_on(pointed: tuple[charts.Pointed, lesson.Seen]) -> None:
    picture, _ = pointed
    x = IMAGE.double().clone().requires_grad_()
    ones = F.conv2d(x, torch.ones(1, 1, 3, 3, dtype=torch.float64), padding=1)
    for r, c in ((0, 0), (0, 4), (3, 7), (7, 7), (4, 4)):
        (gradient,) = torch.autograd.grad(ones[0, 0, r, c], x, retain_graph=True)
        outlined, window = torch.zeros(8, 8), picture.cells[4, r, c].marks[0]
        outlined[window.row : window.row + window.rows, window.column : window.column + window.columns] = 1
        assert window.panel == 0
        assert torch.equal(outlined, gradient[0, 0].float())


def test_marks_and_start_lie_within_the_panels(pointed: tuple[charts.Pointed, lesson.Seen]) -> None:
    added = charts.added_columns(
        lesson.reader_kernels().numpy(), lesson.added_kernels(lesson.reader_kernels()).numpy(), "V' = V M"
    )
    for picture in (pointed[0], added):
        assert picture.start in picture.cells
        for (panel, row, column), found in picture.cells.items():
            for mark in (charts.Mark(panel, row, column), *found.marks):
                place = picture.panels[mark.panel]
                assert 0 <= mark.row <= mark.row + mark.rows <= place.rows
                assert 0 <= mark.column <= mark.column + mark.columns <= place.columns
        for place in picture.panels:
            assert 0 <= place.x <= place.x + place.side <= picture.drawing.width
            assert 0 <= place.y <= place.y + place.side <= picture.drawing.height
        sent = picture.data()
        assert sent["start"] in sent["cells"]
        assert len(sent["cells"]) == len(picture.cells)


def test_added_kernels_read_one_channel_as_the_two_read_its_copies() -> None:
    v = lesson.reader_kernels()
    added = lesson.added_kernels(v)
    one, other = torch.randn(2, 1, 1, 9, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    wide = F.conv2d(torch.cat([one, one, other], dim=1), v)
    torch.testing.assert_close(F.conv2d(torch.cat([one, other], dim=1), added), wide)
    picture = charts.added_columns(v.numpy(), added.numpy(), "V' = V M")
    for o, r, c in np.ndindex(2, 3, 3):
        merged, kept = picture.cells[5 * o + 3, r, c], picture.cells[5 * o + 4, r, c]
        assert picture.cells[5 * o, r, c] is picture.cells[5 * o + 1, r, c] is merged
        a, b, both = map(read, re.findall(NUMBER, merged.lines[1]))
        assert a + b == pytest.approx(both) == pytest.approx(float(added[o, 0, r, c]))
        assert read(kept.lines[1].split()[0]) == float(v[o, 2, r, c])
