"""The data sets: fixed stratified splits, augmentation that only moves, and every way a file can be wrong."""

from __future__ import annotations

import io
import pickle
import re
import types
import urllib.error
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import pdc_core.data.load as load
from pdc_core.data import DATASETS, Data, Split, describe_data, load_data
from pdc_core.data.images import held_back
from pdc_core.data.npz import read_npz
from pdc_core.errors import PDCError

FIRST_TEST_LABELS = [3, 7, 3, 9, 0, 8, 7, 0, 8, 0, 3, 3]
TEST_CHECKSUM = 320522175
FIRST_CLOTHING_LABELS = [5, 6, 0, 5, 3, 6, 1, 1, 1, 2, 4, 7]
CLOTHING_SUMS = [343290771, 56554983, 56504085]


@pytest.fixture(scope="module")
def digits() -> Data:
    return load_data("digits")


def arrays(n: int = 40, n_test: int = 8, classes: int = 4, shape: tuple[int, ...] = (6, 7, 3)) -> dict:
    random = np.random.default_rng(0)
    return {
        "x_train": random.integers(0, 256, (n, *shape), dtype=np.uint8),
        "y_train": np.arange(n) % classes,
        "x_test": random.integers(0, 256, (n_test, *shape), dtype=np.uint8),
        "y_test": np.arange(n_test) % classes,
    }


def write(path: Path, **changes: object) -> Path:
    content = {**arrays(), **changes}
    np.savez(path, **{key: value for key, value in content.items() if value is not None})
    return path


def error_of(path: Path) -> str:
    """Return the message, which both ways to a file have to give."""
    with pytest.raises(PDCError) as first:
        load_data(f"npz:{path}")
    with pytest.raises(PDCError) as second:
        describe_data(f"npz:{path}")
    assert str(first.value) == str(second.value)
    assert str(path) in str(first.value)
    return str(first.value)


# digits


def test_digits_split_is_a_stratified_partition_of_all_images(digits):
    from sklearn.datasets import load_digits

    splits = (digits.train, digits.val, digits.test)
    assert [len(split) for split in splits] == [1077, 360, 360]
    everything = torch.cat([split.images.flatten(1) for split in splits]).numpy()
    original = np.round(load_digits().images.reshape(1797, 64) * 255 / 16).astype(np.uint8)
    assert sorted(map(bytes, everything)) == sorted(map(bytes, original))
    whole = np.bincount(load_digits().target) / 1797
    for split in splits:
        assert np.abs(np.bincount(split.labels) - whole * len(split)).max() <= 1.5


def test_digits_split_is_the_same_every_time_and_leaves_global_random_state_alone(digits):
    before, numpy_before = torch.random.get_rng_state(), pickle.dumps(np.random.get_state())
    again = load_data("digits")
    assert torch.equal(before, torch.random.get_rng_state())
    assert numpy_before == pickle.dumps(np.random.get_state())
    for name in ("train", "val", "test"):
        assert torch.equal(getattr(again, name).images, getattr(digits, name).images)
    # A split that moved would make every number measured so far incomparable.
    assert again.test.labels[:12].tolist() == FIRST_TEST_LABELS
    assert int((again.test.images.long() * torch.arange(1, 361)[:, None, None, None]).sum()) == TEST_CHECKSUM


def test_digits_ink_is_scaled_to_the_whole_range(digits):
    assert digits.train.images.dtype == torch.uint8
    assert digits.train.images.min() == 0
    assert digits.train.images.max() == 255


def test_clothing_is_a_stratified_part_of_its_own_name():
    data = load_data("clothing")
    splits = (data.train, data.val, data.test)
    assert [len(split) for split in splits] == [6000, 1000, 1000]
    for split in splits:
        assert torch.bincount(split.labels).tolist() == [len(split) // 10] * 10
    assert (data.name, data.shift, data.flip) == ("clothing", 2, True)
    assert data.classes == describe_data("fashion_mnist").classes
    assert len({image.tobytes() for split in splits for image in split.images.numpy()}) == 8000
    # As for digits. `benchmarks/clothing.py --check` compares every image with Fashion-MNIST.
    assert data.val.labels[:12].tolist() == FIRST_CLOTHING_LABELS
    assert [int(split.images.long().sum()) for split in splits] == CLOTHING_SUMS


def test_the_notice_of_clothing_lies_beside_it():
    notice = Path(load.__file__).with_name("clothing.txt").read_text(encoding="utf-8")
    assert "Copyright © 2017 Zalando SE, https://tech.zalando.com" in notice
    assert "Permission is hereby granted" in notice
    assert load._CLOTHING.stat().st_size < 5_000_000


@pytest.mark.parametrize("name", ["digits", "clothing"])
def test_description_without_files_is_what_loading_gives(name):
    info, data = describe_data(name), load_data(name)
    assert (info.name, info.shape, info.classes) == (data.name, data.shape, data.classes)
    assert (info.mean, info.std) == (data.mean, data.std)
    prepared = data.prepare(data.train.images)
    assert prepared.mean().abs() < 1e-3
    assert abs(prepared.std() - 1) < 1e-3


@pytest.mark.parametrize(
    ("name", "shape", "count"),
    [("cifar10", (3, 32, 32), 10), ("cifar100", (3, 32, 32), 100), ("fashion_mnist", (1, 28, 28), 10)],
)
def test_named_sets_are_described_without_their_files(name, shape, count):
    info = describe_data(name)
    assert info.shape == shape
    assert len(set(info.classes)) == count
    assert name in DATASETS
    assert len(info.mean) == len(info.std) == shape[0]


def test_named_sets_are_normalised_by_their_published_figures():
    published = {  # of the training images; ImageNet's for CIFAR-10, as the published checkpoints were trained
        "cifar10": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        "cifar100": ((0.50707516, 0.48654887, 0.44091784), (0.26733429, 0.25643846, 0.27615047)),
        "fashion_mnist": ((0.28604,), (0.35302,)),
    }
    for name, figures in published.items():
        info = describe_data(name)
        for ours, exact in zip((info.mean, info.std), figures, strict=True):
            assert ours == pytest.approx(exact, abs=6e-5), name


def test_imagenet_is_described_but_not_loaded():
    assert len(describe_data("imagenet").classes) == 1000
    with pytest.raises(PDCError, match="npz:PATH"):
        load_data("imagenet")


def test_unknown_name_is_answered_with_the_close_one():
    with pytest.raises(PDCError, match=r"'digit'.*did you mean digits.*npz:PATH"):
        load_data("digit")
    with pytest.raises(PDCError, match="cifar10"):
        describe_data("")


# prepare and augment


def make(images: torch.Tensor, **options: object) -> Data:
    split = Split(images, torch.zeros(len(images), dtype=torch.int64))
    shape = tuple(images.shape[1:])
    channels = shape[0]
    return Data("made", split, split, split, ("a", "b"), shape, (0.25,) * channels, (0.5,) * channels, **options)


def test_prepare_is_the_formula(digits):
    images = digits.test.images[:5]
    expected = (images.numpy() / 255 - digits.mean[0]) / digits.std[0]
    prepared = digits.prepare(images)
    assert prepared.dtype == torch.float32
    np.testing.assert_allclose(prepared.numpy(), expected, rtol=1e-5, atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(
    images=hnp.arrays(
        np.uint8, st.tuples(st.integers(1, 6), st.sampled_from([1, 3]), st.integers(1, 7), st.integers(1, 7))
    ),
    shift=st.integers(0, 3),
    flip=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_augmented_images_are_moved_and_mirrored_originals(images, shift, flip, seed):
    data = make(torch.tensor(images), shift=shift, flip=flip)
    before = data.train.images.clone()
    out = data.augment(data.train.images, torch.Generator().manual_seed(seed))
    assert torch.equal(out, data.augment(data.train.images, torch.Generator().manual_seed(seed)))
    assert torch.equal(before, data.train.images)
    assert out.dtype == torch.uint8
    assert out.is_contiguous()
    h, w = images.shape[2:]
    for original, moved in zip(images, out.numpy(), strict=True):
        candidates = []
        for dy in range(2 * shift + 1):
            for dx in range(2 * shift + 1):
                window = np.pad(original, ((0, 0), (shift, shift), (shift, shift)))[:, dy : dy + h, dx : dx + w]
                candidates += [window, window[:, :, ::-1]] if flip else [window]
        assert any(np.array_equal(moved, candidate) for candidate in candidates)


def test_augmentation_reaches_every_shift_and_both_mirror_images():
    image = torch.zeros(1, 1, 5, 5, dtype=torch.uint8)
    image[0, 0, 2, 1] = 255
    data = make(image.expand(400, 1, 5, 5), shift=1, flip=True)
    out = data.augment(data.train.images, torch.Generator().manual_seed(0))
    places = {tuple(place.tolist()) for place in torch.nonzero(out[:, 0])[:, 1:]}
    assert places == {(y, x) for y in (1, 2, 3) for x in (0, 1, 2, 3, 4)}


# splitting


@settings(max_examples=100, deadline=None)
@given(sizes=st.lists(st.integers(1, 30), min_size=1, max_size=8), data=st.data(), seed=st.integers(0, 99))
def test_held_back_examples_are_distinct_and_every_class_keeps_one(sizes, data, seed):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    count = data.draw(st.integers(0, sum(sizes) - len(sizes)))
    held = held_back(labels, count, seed)
    assert len(set(held.tolist())) == len(held) == count
    taken = np.bincount(labels[held], minlength=len(sizes))
    assert (taken < np.array(sizes)).all()
    share = count * np.array(sizes) / sum(sizes)
    if (np.ceil(share) < sizes).all():
        assert (np.abs(taken - share) < 1).all()
    assert np.array_equal(held, held_back(labels, count, seed))


def test_holding_back_too_many_raises():
    with pytest.raises(PDCError, match="every class has to keep one"):
        held_back(np.array([0, 0, 1]), 2)


# npz files


@pytest.mark.parametrize("channels", [1, 3])
def test_both_layouts_give_the_same_images(tmp_path, channels):
    content = arrays(shape=(6, 7, channels))
    np.savez(tmp_path / "last.npz", **content)
    np.savez(
        tmp_path / "first.npz",
        **{k: v.transpose(0, 3, 1, 2) if k.startswith("x") else v for k, v in content.items()},
    )
    last, first = (read_npz(tmp_path / f"{name}.npz") for name in ("last", "first"))
    for key in last:
        np.testing.assert_array_equal(last[key], first[key])
    np.testing.assert_array_equal(last["x_test"][2, channels - 1], content["x_test"][2, :, :, channels - 1])


def test_grey_images_need_no_channel_axis_and_labels_may_be_a_column(tmp_path):
    content = arrays(shape=(6, 7, 1))
    flat = {k: v[..., 0] if k.startswith("x") else v[:, None] for k, v in content.items()}
    first, second = (
        read_npz(write(tmp_path / f"{name}.npz", **given)) for name, given in (("a", content), ("b", flat))
    )
    for key in first:
        np.testing.assert_array_equal(first[key], second[key])


def test_arrays_as_medmnist_names_them_are_read(tmp_path):
    content = arrays()
    content |= {"x_val": content["x_train"][:5], "y_val": content["y_train"][:5]}
    kinds = {"x": "images", "y": "labels"}
    np.savez(tmp_path / "other.npz", **{f"{key[2:]}_{kinds[key[0]]}": each for key, each in content.items()})
    np.savez(tmp_path / "own.npz", **content)
    own, other = (read_npz(tmp_path / f"{name}.npz") for name in ("own", "other"))
    assert own.keys() == other.keys() == {*content, "classes"}
    for key in own:
        np.testing.assert_array_equal(own[key], other[key])


def test_npz_becomes_data_with_measured_normalisation(tmp_path):
    path = write(tmp_path / "a.npz")
    data = load_data(f"npz:{path}")
    assert data.name == f"npz:{path}"
    assert data.shape == (3, 6, 7)
    assert data.classes == ("0", "1", "2", "3")
    assert (len(data.train), len(data.val), len(data.test)) == (36, 4, 8)
    assert sorted(data.val.labels.tolist()) == [0, 1, 2, 3]
    x = arrays()["x_train"] / 255
    np.testing.assert_allclose(data.mean, x.mean((0, 1, 2)))
    np.testing.assert_allclose(data.std, x.std((0, 1, 2)))
    info = describe_data(data.name)
    assert (info.shape, info.classes, info.mean, info.std) == (data.shape, data.classes, data.mean, data.std)


@pytest.mark.parametrize(
    "stored",
    [["cat", "grey dog", "Öl", "7"], [b"cat", b"grey dog", "Öl".encode(), b"7"], ["cat ", " grey\ndog", "Öl", "7"]],
    ids=["text", "bytes", "space"],
)
def test_names_of_classes_come_from_the_file(tmp_path, stored):
    name = f"npz:{write(tmp_path / 'a.npz', classes=np.array(stored))}"
    assert load_data(name).classes == describe_data(name).classes == ("cat", "grey dog", "Öl", "7")


@settings(max_examples=25, deadline=None)
@given(
    kind=st.sampled_from([np.int8, np.uint8, np.int32, np.uint64, np.dtype(">i4")]),
    fortran=st.booleans(),
    compressed=st.booleans(),
)
def test_any_integer_labels_order_and_compression_read_alike(tmp_path_factory, kind, fortran, compressed):
    content = arrays()
    stored = {k: v.astype(kind) if k.startswith("y") else v for k, v in content.items()}
    stored = {k: np.asfortranarray(v) if fortran else v for k, v in stored.items()}
    path = tmp_path_factory.mktemp("npz") / "a.npz"
    (np.savez_compressed if compressed else np.savez)(path, **stored)
    read = read_npz(path)
    np.testing.assert_array_equal(read["y_train"], content["y_train"])
    np.testing.assert_array_equal(read["x_train"], content["x_train"].transpose(0, 3, 1, 2))


def test_a_constant_channel_can_be_normalised(tmp_path):
    x = arrays()["x_train"]
    x[..., 1] = 7
    data = load_data(f"npz:{write(tmp_path / 'a.npz', x_train=x)}")
    assert torch.isfinite(data.prepare(data.train.images)).all()
    assert data.std[1] == 1 / 255, "one grey level"


def test_given_normalisation_replaces_the_measured(tmp_path):
    path = write(tmp_path / "a.npz")
    data = load_data(f"npz:{path}", mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    assert (data.mean, data.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))


@pytest.mark.parametrize(
    "wrong",
    [{"mean": (0.5,)}, {"std": (0.5, 0.5)}, {"std": (0.5, 0.0, 0.5)}, {"mean": (float("nan"), 0.0, 0.0)}],
)
def test_normalisation_that_does_not_fit_is_refused(tmp_path, wrong):
    with pytest.raises(PDCError, match="3 finite numbers each"):
        load_data(f"npz:{write(tmp_path / 'a.npz')}", **wrong)


WRONG_ARRAYS = {
    "missing key": ({"y_test": None}, "no array y_test"),
    "pickled objects": ({"y_train": np.array([{}] * 40, dtype=object)}, "pickled Python objects"),
    "float images": ({"x_train": arrays()["x_train"] / 255}, "float64; images have to be uint8"),
    "rows of pixels": ({"x_train": arrays()["x_train"][..., 0, 0]}, r"shape \(40, 6\); images have to be"),
    "grey among colour": ({"x_train": arrays()["x_train"][..., 0]}, r"differ in \(c, h, w\): \(1, 6, 7\) in x_train"),
    "several labels": ({"y_train": np.zeros((40, 2), int)}, r"shape \(40, 2\); labels have to be \(n,\), one number"),
    "five axes": ({"x_train": arrays()["x_train"][None]}, "images have to be"),
    "two channels": ({"x_train": arrays()["x_train"][..., :2]}, "no axis of 1 or 3 channels"),
    "either layout": ({"x_train": np.zeros((40, 3, 5, 3), np.uint8)}, "could be read both as"),
    "no images": ({"x_train": np.zeros((0, 6, 7, 3), np.uint8), "y_train": np.zeros(0, int)}, "is empty"),
    "no test images": ({"x_test": np.zeros((0, 6, 7, 3), np.uint8), "y_test": np.zeros(0, int)}, "is empty"),
    "no pixels": ({"x_test": np.zeros((8, 0, 7, 3), np.uint8)}, "is empty"),
    "lengths differ": ({"y_train": np.zeros(39, int)}, "40 images, y_train has 39 labels"),
    "test lengths differ": ({"y_test": np.zeros(9, int)}, "8 images, y_test has 9 labels"),
    "float labels": ({"y_train": np.zeros(40)}, "float64; labels have to be integers"),
    "text labels": (
        {"y_test": np.array(["a"] * 8)},
        r"y_test in .* is text; labels have to be integers.*numpy\.unique",
    ),
    "bytes for labels": ({"y_train": np.array([b"a", b"b"] * 20)}, "y_train in .* is text"),
    "few names": ({"classes": np.array(["a", "b", "c"])}, "has 3 names, but y_train has 4 classes, 0 to 3"),
    "many names": ({"classes": np.array(list("abcde"))}, "has 5 names, but y_train has 4 classes"),
    "a name twice": ({"classes": np.array(["a", "b ", "b", "c"])}, "has the name 'b' more than once"),
    "an empty name": ({"classes": np.array(["a", "b", " ", "c"])}, "has an empty name"),
    "numbers for names": (
        {"classes": np.arange(4)},
        r"classes in .* is int64 of the shape \(4,\); names of classes have",
    ),
    "names in two axes": ({"classes": np.array([list("abcd")])}, "names of classes have to be text"),
    "names that are no UTF-8": ({"classes": np.array([b"a", b"b", b"\xff", b"c"])}, "not UTF-8"),
    "pickled names": ({"classes": np.array(list("abcd"), dtype=object)}, r"classes in .* pickled.*dtype=str"),
    "boolean labels": ({"y_train": np.arange(40) % 2 == 0}, "labels have to be integers"),
    "one-hot labels": ({"y_train": np.eye(40, dtype=int)}, r"shape \(40, 40\); labels have to be \(n,\)"),
    "negative label": ({"y_train": np.arange(40) % 4 - 1}, "labels from -1 to 2; they count from 0"),
    "huge label": ({"y_test": np.full(8, 2**63, np.uint64)}, "they count from 0"),
    "gap": ({"y_train": np.where(np.arange(40) % 4 == 2, 7, np.arange(40) % 4)}, "none is 2"),
    "far gap": ({"y_train": np.where(np.arange(40) % 4 == 2, 2**30, np.arange(40) % 4)}, "none is 2"),
    "class only in test": ({"y_test": np.full(8, 4)}, "label 4, but y_train ends at 3"),
    "sizes differ": ({"x_test": np.zeros((8, 7, 7, 3), np.uint8)}, r"\(3, 6, 7\) in x_train, \(3, 7, 7\)"),
    "one class": ({"y_train": np.zeros(40, int), "y_test": np.zeros(8, int)}, "only one class"),
    "one image a class": (
        {"x_train": np.zeros((2, 6, 7, 3), np.uint8), "y_train": np.arange(2), "y_test": np.zeros(8, int)},
        "one image of class 0; every class needs at least two",
    ),
    "one image of a class": (
        {"y_train": np.array([1, 1, *[0] * 37, 2]), "y_test": np.zeros(8, int)},
        "one image of class 2; every class needs at least two.* leave it out",
    ),
    "structured": ({"y_train": np.zeros(40, [("a", int)])}, "labels have to be integers"),
}


@pytest.mark.parametrize(("changes", "message"), WRONG_ARRAYS.values(), ids=WRONG_ARRAYS)
def test_every_wrong_array_has_its_message(tmp_path, changes, message):
    assert re.search(message, error_of(write(tmp_path / "a.npz", **changes)))


def test_missing_file_folder_and_other_file_are_refused(tmp_path):
    assert "there is no file" in error_of(tmp_path / "none.npz")
    assert "there is no file" in error_of(tmp_path)
    (tmp_path / "text.npz").write_text("hello")
    assert "is not an npz file" in error_of(tmp_path / "text.npz")
    (tmp_path / "empty.npz").write_bytes(b"")
    assert "is not an npz file" in error_of(tmp_path / "empty.npz")
    with pytest.raises(PDCError, match="there is no file"):
        load_data("npz:")


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_file_cut_anywhere_is_refused(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("cut") / "a.npz"
    whole = write(path).read_bytes()
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(PDCError):
        load_data(f"npz:{path}")


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_damaged_bytes_never_escape_as_another_error(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("damaged") / "a.npz"
    content = bytearray(write(path).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        load_data(f"npz:{path}")
    except PDCError as error:
        assert str(path) in str(error)  # noqa: PT017


def npy(header: dict | str, body: bytes = b"") -> bytes:
    file = io.BytesIO()
    if isinstance(header, str):
        file.write(b"\x93NUMPY\x02\x00" + len(header).to_bytes(4, "little") + header.encode())
    else:
        np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue() + body


@pytest.mark.parametrize(
    "member",
    [
        npy({"descr": "|u1", "fortran_order": False, "shape": (10**6, 10**5, 10**4, 3)}),
        npy({"descr": "|u1", "fortran_order": False, "shape": (-2, 6, 7, -3)}, bytes(252)),
        npy({"descr": "|u1", "fortran_order": False, "shape": (2, 6, 7, 3)}, bytes(251)),
        npy({"descr": "|u1", "fortran_order": False, "shape": (2, 6, 7, 3)}, bytes(253)),
        npy("{'descr': '|u1'" + " " * 10**6 + "}"),
        npy("__import__('os').getcwd()"),
        npy("-" * 9000 + "1"),
        npy("(" * 9000),
        npy('"""{\'descr\''),
        b"\x93NUMPY\x03\x00" + bytes(40),
        b"\x93NUMPY\x09\x00" + bytes(40),
        b"not an array",
        b"",
    ],
    ids=[
        "10 PB",
        "negative",
        "short",
        "long",
        "long header",
        "code",
        "minus",
        "parentheses",
        "open string",
        "version 3",
        "version 9",
        "text",
        "none",
    ],
)
def test_headers_that_lie_are_refused_before_memory_is_taken(tmp_path, member):
    path = write(tmp_path / "a.npz", x_train=None)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("x_train.npy", member)
    assert error_of(path)


def test_a_compressed_bomb_is_refused(tmp_path, monkeypatch):
    import pdc_core.data.npz as npz

    assert npz.MAX_BYTES == 8 * 1024**3, "8 GiB are documented"
    monkeypatch.setattr(npz, "MAX_BYTES", 2**20)
    path = tmp_path / "a.npz"
    np.savez_compressed(path, **{**arrays(), "x_train": np.zeros((40, 200, 200, 3), np.uint8)})
    assert path.stat().st_size < 2**17
    assert "GiB" in error_of(path)


def test_an_object_array_is_not_unpickled(tmp_path):
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "sprung",))

    path = write(tmp_path / "a.npz", y_train=np.array([Trap()], dtype=object))
    assert "pickled" in error_of(path)
    assert not (tmp_path / "sprung").exists()


# torchvision's sets, without a network


class FakeCifar:
    """Stands in for a torchvision data set: raises as it does when files or the network are absent."""

    present = False
    network = False
    downloads = 0

    def __init__(self, root: str, train: bool, download: bool) -> None:
        if download and not type(self).present:
            type(self).downloads += 1
            if not type(self).network:
                raise urllib.error.URLError("no route")
            type(self).present = True
        if not type(self).present:
            raise RuntimeError("Dataset not found or corrupted.")
        n = 200 if train else 50
        self.data = np.full((n, 32, 32, 3), 9, np.uint8)
        self.targets = [i % 10 for i in range(n)]


@pytest.fixture
def fake(monkeypatch):
    fresh = type("CIFAR10", (FakeCifar,), {})
    datasets = types.SimpleNamespace(CIFAR10=fresh)
    monkeypatch.setattr(load, "torchvision", lambda: types.SimpleNamespace(datasets=datasets))
    return fresh


def test_a_download_is_tried_only_when_files_are_absent(fake, tmp_path):
    fake.present = True
    data = load_data("cifar10", root=tmp_path)
    assert fake.downloads == 0
    assert (len(data.train), len(data.val), len(data.test)) == (180, 20, 50)
    assert data.shape == (3, 32, 32)
    assert (data.shift, data.flip) == (4, True)


def test_absent_files_are_downloaded(fake, tmp_path):
    fake.network = True
    assert load_data("cifar10", root=tmp_path / "new").train.images.shape == (180, 3, 32, 32)
    assert fake.downloads == 1


def test_without_network_one_error_names_both_ways_out(fake, tmp_path):
    with pytest.raises(PDCError) as error:
        load_data("cifar10", root=tmp_path)
    assert str(tmp_path) in str(error.value)
    assert "torchvision.datasets.CIFAR10" in str(error.value)
    assert "npz:PATH" in str(error.value)


def test_greyscale_sets_get_a_channel_axis(monkeypatch, tmp_path):
    def fashion(root: str, train: bool, download: bool) -> types.SimpleNamespace:
        return types.SimpleNamespace(data=torch.zeros(60, 28, 28, dtype=torch.uint8), targets=torch.arange(60) % 10)

    datasets = types.SimpleNamespace(FashionMNIST=fashion)
    monkeypatch.setattr(load, "torchvision", lambda: types.SimpleNamespace(datasets=datasets))
    assert load_data("fashion_mnist", root=tmp_path).test.images.shape == (60, 1, 28, 28)


def test_split_refuses_what_is_not_images_and_labels():
    with pytest.raises(PDCError, match="uint8"):
        Split(torch.zeros(2, 1, 3, 3), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(PDCError, match="int64"):
        Split(torch.zeros(2, 1, 3, 3, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64))


def test_digits_are_scikit_learns_with_and_without_its_loader(monkeypatch):
    from sklearn.datasets import load_digits

    from pdc_core.data import load

    known = load_digits()
    images, labels = load._digits()
    assert np.array_equal(images, known.images)
    assert np.array_equal(labels, known.target)
    monkeypatch.setattr(load, "find_spec", lambda name: None)
    images, labels = load._digits()
    assert np.array_equal(images, known.images)
    assert np.array_equal(labels, known.target)


def validation(n: int = 12, **changes: object) -> dict[str, object]:
    more = arrays(n)
    return {"x_val": more["x_train"], "y_val": more["y_train"], **changes}


def test_validation_images_of_a_file_are_its_validation_split(tmp_path):
    stored = validation()
    data = load_data(f"npz:{write(tmp_path / 'a.npz', **stored)}")
    assert (len(data.train), len(data.val), len(data.test)) == (40, 12, 8)
    np.testing.assert_array_equal(data.val.images.numpy(), np.moveaxis(stored["x_val"], 3, 1))
    np.testing.assert_array_equal(data.val.labels.numpy(), stored["y_val"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y_val": None}, "has x_val but no y_val; validation images need both"),
        ({"x_val": None}, "has y_val but no x_val; validation images need both"),
        ({"x_val": np.zeros((12, 6, 7, 3))}, "x_val in .* is float64; images have to be uint8"),
        ({"x_val": np.zeros((12, 9, 9, 3), np.uint8)}, r"\(3, 6, 7\) in x_train, \(3, 9, 9\) in x_val"),
        ({"y_val": np.full(12, 9)}, "y_val in .* has the label 9, but y_train ends at 3"),
        ({"y_val": np.zeros(5, int)}, "x_val in .* has 12 images, y_val has 5 labels"),
    ],
)
def test_validation_images_are_checked_like_the_others(tmp_path, changes, message):
    assert re.search(message, error_of(write(tmp_path / "a.npz", **validation(**changes))))
