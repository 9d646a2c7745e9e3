"""Data of one's own by a function: every form of it gives the same images; what is no data set is one sentence."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import pdc_core as pdc
from pdc_core.data import custom
from pdc_core.models import build_environment

GREY = np.random.default_rng(0).integers(0, 256, (12, 6, 5), dtype=np.uint8)
COLOUR = np.random.default_rng(1).integers(0, 256, (12, 6, 5, 3), dtype=np.uint8)
LABELS = np.arange(12) % 3


class MapStyle:
    """A map-style data set as torch describes it."""

    def __init__(self, images: list[Any], classes: list[str] | None = None) -> None:
        self.images = images
        if classes:
            self.classes = classes

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> tuple[Any, int]:
        return self.images[i], int(LABELS[i])


class Mappings(MapStyle):
    """A data set as Hugging Face's `datasets` gives it: an example is a dict, names stand in its features."""

    def __init__(self, images: list[Any]) -> None:
        super().__init__(images)
        self.features = {"image": object(), "label": SimpleNamespace(names=["ant", "bee", "cat"])}

    def __getitem__(self, i: int) -> dict[str, Any]:  # type: ignore[override]
        return {"image": self.images[i], "label": int(LABELS[i])}


FORMS = {
    "arrays": lambda x: (x, LABELS),
    "tensors": lambda x: (torch.from_numpy(x), torch.from_numpy(LABELS)),
    "floats": lambda x: (torch.from_numpy(x) / 255, torch.from_numpy(LABELS)),
    "pictures": lambda x: MapStyle([Image.fromarray(each) for each in x]),
    "single arrays": lambda x: MapStyle(list(x)),
    "single tensors": lambda x: MapStyle(
        [torch.from_numpy(each if each.ndim == 2 else each.transpose(2, 0, 1)) / 255 for each in x]
    ),
    "classes": lambda x: MapStyle([Image.fromarray(each) for each in x], ["ant", "bee", "cat"]),
    "mappings with classes": lambda x: Mappings([Image.fromarray(each) for each in x]),
}


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Return the name of a data set whose function returns what is given."""
    known = dict(custom._KNOWN)

    def make(returned: Any) -> str:
        module = type(sys)("mydata_here")
        module.make = returned if callable(returned) else lambda: returned  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "mydata_here", module)
        return pdc.register_data("mydata_here:make")

    yield make
    custom._KNOWN.clear()
    custom._KNOWN.update(known)
    custom._MADE.clear()


@pytest.mark.parametrize("images", [GREY, COLOUR], ids=["grey", "colour"])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_images(form: str, images: np.ndarray, made: Any) -> None:
    parts = [images[a:b] for a, b in ((0, 6), (6, 9), (9, 12))]
    data = pdc.load_data(made(tuple(FORMS[form](images) for _ in parts)))
    expected = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
    for split in (data.train, data.val, data.test):
        assert np.array_equal(split.images.numpy(), expected)
        assert np.array_equal(split.labels.numpy(), LABELS)
    assert data.shape == expected.shape[1:]
    assert data.classes == (("ant", "bee", "cat") if form.endswith("classes") else ("0", "1", "2"))
    assert np.allclose(data.mean, expected.mean((0, 2, 3)) / 255)
    assert np.allclose(data.std, expected.std((0, 2, 3)) / 255)
    assert pdc.describe_data("mydata_here:make").shape == data.shape


class Named:
    """A key that is no string, as Hugging Face's NamedSplit."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __str__(self) -> str:
        return self.name


HALF = LABELS[:6]
NAMES = np.array(["ant", "bee", "cat"] * 4)
GIVEN = {"train": (GREY, LABELS), "validation": (GREY[:6], HALF), "test": (GREY[6:], HALF)}


@pytest.mark.parametrize(
    ("returned", "sizes"),
    [
        (GIVEN, (12, 6, 6)),
        ({"Test": GIVEN["test"], "TRAIN": GIVEN["train"], "valid": GIVEN["validation"], "extra": None}, (12, 6, 6)),
        ({"train": GIVEN["train"], "validation": GIVEN["test"]}, (11, 1, 6)),
        ({Named("train"): GIVEN["train"], Named("test"): GIVEN["test"], None: ()}, (11, 1, 6)),
        ((GIVEN["train"], GIVEN["test"]), (11, 1, 6)),
        ([MapStyle(list(GREY)), MapStyle(list(GREY[6:]))], (11, 1, 6)),
    ],
)
def test_splits_by_name_or_without_validation_images(returned: Any, sizes: tuple[int, int, int], made: Any) -> None:
    data = pdc.load_data(made(returned))
    assert (len(data.train), len(data.val), len(data.test)) == sizes
    assert np.array_equal(data.test.images.numpy(), GREY[6:, None])
    known = np.concatenate([data.train.images.numpy(), data.val.images.numpy()]) if sizes[0] < 12 else data.train.images
    assert sorted(map(bytes, np.asarray(known))) == sorted(map(bytes, GREY[:, None]))


class Table(Mappings):
    """A data set of Hugging Face with more columns than two, and a shape, in the format of torch."""

    shape = (12, 4)

    def __getitem__(self, i: int) -> dict[str, Any]:  # type: ignore[override]
        return {"id": i, "image": self.images[i], "label": torch.tensor(int(LABELS[i])), "file": f"{i}.png"}


@pytest.mark.parametrize(
    "part", [Table(list(GREY)), (GREY, NAMES), [(x, str(n)) for x, n in zip(GREY, NAMES, strict=True)]]
)
def test_labels_in_a_table_and_labels_that_are_names(part: Any, made: Any) -> None:
    data = pdc.load_data(made((part,) * 3))
    assert data.classes == ("ant", "bee", "cat")
    assert np.array_equal(data.test.labels.numpy(), LABELS)


def test_transparent_parts_are_white(made: Any) -> None:
    clear = MapStyle([Image.fromarray(np.dstack([each, np.zeros((6, 5), np.uint8)])) for each in COLOUR])
    assert pdc.load_data(made((clear,) * 3)).train.images.min() == 255


def test_a_data_set_is_made_once_and_taken_as_it_is(made: Any) -> None:
    calls = []
    digits = pdc.load_data("digits")
    name = made(lambda: calls.append(1) or digits)
    for _ in range(3):
        assert pdc.load_data(name).train is digits.train
    assert (len(calls), pdc.load_data(name).name) == (1, name)


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        ((GREY, LABELS), r"returned tuple of 2; return \(train, validation, test\), \(train, test\) or a dict"),
        (((GREY, LABELS),), "returned tuple of 1; return"),
        (((GREY, LABELS),) * 4, "returned tuple of 4; return"),
        ({"images": GREY, "labels": LABELS}, "returned dict of images, labels; return"),
        ({"validation": (GREY, LABELS), "test": (GREY, LABELS)}, "returned dict of validation, test; return"),
        ({}, "returned dict of nothing; return"),
        (None, "returned NoneType; return"),
        (((GREY, LABELS),) * 2 + ({},), r"the test part of .* is dict"),
        (((GREY, LABELS[:5]),) * 3, "has 12 images, y_train has 5 labels"),
        (((torch.randn(12, 1, 6, 5), LABELS),) * 3, "floats 0 to 1 before normalisation"),
        (((COLOUR, LABELS), (GREY, LABELS), (GREY, LABELS)), r"differ in \(c, h, w\)"),
        ((MapStyle([GREY[0], GREY[0, :4]]),) * 3, r"different \(c, h, w\): \(1, 6, 5\) at 0, \(1, 4, 5\) at 1"),
        ((MapStyle([]),) * 3, "is empty"),
        (([(GREY[0], 0.5), (GREY[1], 1)],) * 3, r"\(image, label\) at 0 \(ValueError: its label 0.5 is no whole"),
        (
            ((GREY, NAMES), (GREY, NAMES), (GREY, np.array(["ant", "fly"] * 6))),
            "label 'fly'; in y_train are ant, bee, cat",
        ),
        ((MapStyle(list(GREY), ["ant", "bee"]),) * 3, "names 2 classes, but its labels go up to 2"),
        (([{"img": GREY[0], "fine": 1, "coarse": 0}] * 2,) * 3, r"does not give .* a dict of img, fine, coarse"),
        ((MapStyle([GREY[0]] * 13),) * 3, r"does not give \(image, label\) at 12 \(IndexError"),
        (((GREY, LABELS), (GREY, LABELS), (GREY, LABELS + 5)), "y_test in .* has the label 7"),
        ((MapStyle([Image.fromarray(np.zeros((6, 5), np.uint16))] * 12),) * 3, "image 0 of .* has more than 8 bits"),
        (lambda: 1 / 0, r"failed \(ZeroDivisionError"),
    ],
)
def test_what_is_no_data_set_is_refused_with_its_reason(returned: Any, said: str, made: Any) -> None:
    with pytest.raises(pdc.PDCError, match=said):
        pdc.load_data(made(returned))


def test_a_name_that_nobody_registered_is_never_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "evil_data.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("evil_data:make", "os:getcwd"):
        with pytest.raises(pdc.PDCError, match="--build-data"):
            pdc.load_data(name)
    with pytest.raises(pdc.PDCError, match="does not name a function"):
        pdc.register_data("folder:make")
    assert "evil_data" not in sys.modules


def test_a_run_by_command_knows_the_data_and_prints_it(
    tmp_path: Path, made: Any, monkeypatch: pytest.MonkeyPatch, pdc_command
) -> None:
    (tmp_path / "digits_again.py").write_text("import pdc_core\ndef make():\n    return pdc_core.load_data('digits')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    name, run = "digits_again:make", tmp_path / "run"
    words = ("distil", "--data", name, "--build-data", name, "--weights", "random", "--epochs", 1, "--out", run)
    code, _, err = pdc_command(*words, "--batch-size", 512, "--allow-weak-teacher")
    assert code == 0, err
    spec = pdc.read_run(run).spec
    assert spec.data == name
    assert f"--build-data {name}" in pdc.runs.run_command(spec)
    assert build_environment()["PDC_BUILD_DATA"].split(",") == [name]
    assert pdc.model_info(pdc.load(run / "folded.safetensors")).data == name
