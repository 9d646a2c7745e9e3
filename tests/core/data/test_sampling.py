"""A part of the training images: stratified, seeded, and of files without reading them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from pdc_core.data import Split, load_data, subset
from pdc_core.data.image_files import ImageFiles
from pdc_core.errors import PDCError

DIGITS = load_data("digits")


def test_every_class_keeps_its_share_and_the_seed_alone_decides() -> None:
    few, again, other = (subset(DIGITS, 200, seed) for seed in (0, 0, 1))
    share = 200 / len(DIGITS.train) * torch.bincount(DIGITS.train.labels)
    assert (torch.bincount(few.train.labels) - share).abs().max() < 1
    assert torch.equal(few.train.images, again.train.images)
    assert not torch.equal(few.train.images, other.train.images)
    assert few.val is DIGITS.val
    whole = {image.numpy().tobytes() for image in DIGITS.train.images}
    assert all(image.numpy().tobytes() in whole for image in few.train.images)
    assert subset(DIGITS, len(DIGITS.train)).train is DIGITS.train


def test_one_image_of_each_class_is_the_least() -> None:
    assert torch.bincount(subset(DIGITS, 10).train.labels).tolist() == [1] * 10


@pytest.mark.parametrize("images", [9, 0, 1078])
def test_other_numbers_are_refused_with_those_that_are_allowed(images: int) -> None:
    with pytest.raises(PDCError, match=r"training images of digits .* give 10 \(one per class\) to 1,077 \(all\)"):
        subset(DIGITS, images)


def test_images_in_files_stay_there() -> None:
    labels = torch.arange(20) % 2
    files = ImageFiles([f"absent{i}.png" for i in range(20)], size=8, workers=3)
    data = replace(DIGITS, train=Split(files, labels), classes=("a", "b"))  # type: ignore[arg-type]
    few = subset(data, 6, seed=3)
    assert isinstance(few.train.images, ImageFiles)
    numbers = [int(name.removeprefix("absent").removesuffix(".png")) for name in few.train.images.paths]
    assert np.array_equal(np.array(numbers) % 2, few.train.labels.numpy())
    assert (few.train.images.workers, few.train.images.size) == (3, 8)
