"""Pictures of one's own: read without trust, cut as the data set's images are, drawn as large as they are."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

import pdc_core as pdc
from pdc_core.data.image_files import ImageFiles
from pdc_core.data.pictures import fit_drawing, fit_picture, looks_inverted, read_picture

DIGITS, CLOTHING = pdc.load_data("digits"), pdc.load_data("clothing")
PIXELS = np.random.default_rng(0).integers(0, 256, (30, 50, 3), dtype=np.uint8)


def _file(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_pixels_come_back_turned_as_the_camera_says_and_on_white() -> None:
    assert np.array_equal(read_picture(_file(Image.fromarray(PIXELS))), PIXELS)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright
    assert np.array_equal(read_picture(_file(Image.fromarray(PIXELS), exif=exif)), np.rot90(PIXELS, -1))
    glass = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    assert (read_picture(_file(glass)) == 255).all()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"no picture", "cannot be read"),
        (_file(Image.fromarray(PIXELS))[:200], "cannot be read"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "cannot be read"),
        (_file(Image.fromarray(np.zeros((4, 4), dtype=np.uint16))), "more than 8 bits"),
        (_file(Image.new("1", (9000, 6000))), "9,000 x 6,000 pixels"),
    ],
    ids=["text", "cut off", "a program", "16 bits", "huge"],
)
def test_what_cannot_be_read_is_one_sentence(content: bytes, said: str) -> None:
    with pytest.raises(pdc.PDCError, match=said):
        read_picture(content)


def test_a_picture_is_cut_as_a_folder_s_images_are(tmp_path: Path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    data = replace(CLOTHING, name=f"folder:{tmp_path}", shape=(3, 24, 24))
    assert torch.equal(fit_picture(PIXELS, data), ImageFiles([tmp_path / "a.png"], 24)[:1])


def test_the_middle_is_scaled_made_grey_and_inverted() -> None:
    colour = replace(CLOTHING, shape=(3, 30, 30))
    assert torch.equal(fit_picture(PIXELS, colour)[0], torch.from_numpy(PIXELS[:, 10:40]).permute(2, 0, 1))
    grey = fit_picture(PIXELS, CLOTHING)
    assert grey.shape == (1, 1, 28, 28)
    assert torch.equal(fit_picture(PIXELS, CLOTHING, invert=True), 255 - grey)


def test_ink_on_paper_is_told_from_what_the_set_shows() -> None:
    paper, night = np.full((40, 40, 3), 230, dtype=np.uint8), np.full((40, 40, 3), 10, dtype=np.uint8)
    assert looks_inverted(paper, DIGITS)
    assert not looks_inverted(night, DIGITS)
    assert not looks_inverted(paper, replace(DIGITS, shape=(3, 8, 8)))


@pytest.mark.parametrize("where", [(10, 10), (150, 90)])
@pytest.mark.parametrize("size", [40, 120])
def test_a_drawing_is_as_large_and_central_as_the_set_s_images_wherever_it_was_drawn(
    where: tuple[int, int], size: int
) -> None:
    sheet = Image.new("L", (280, 280))
    ImageDraw.Draw(sheet).rectangle([*where, where[0] + size // 2 - 1, where[1] + size - 1], fill=255)
    fitted = fit_drawing(np.array(sheet), DIGITS)
    assert fitted is not None
    expected = np.zeros((8, 8), dtype=np.uint8)
    expected[:, 2:6] = 255
    assert np.array_equal(fitted[0, 0].numpy(), expected)


def test_an_empty_sheet_is_no_drawing() -> None:
    assert fit_drawing(np.zeros((280, 280), dtype=np.uint8), DIGITS) is None
