"""Images in folders: split and named without reading them, read as torchvision would, trained on and resumed."""

from __future__ import annotations

import itertools
import json
import math
import os
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import pdc_core as pdc
from pdc_core.data.folders import NoHeldOutImages, folder_state
from pdc_core.data.image_files import ImageFiles, _image, _part
from pdc_core.data.pictures import fit_picture, read_picture
from pdc_core.seeds import generator
from pdc_core.train import Training
from pdc_core.train.batches import Batches
from tests.training import Interrupted, same_networks

CLASSES = ("bee", "cat", "dog")


def make(root: Path, splits: dict[str, int], classes: tuple[str, ...] = CLASSES) -> Path:
    """Write so many images a class for every split, 48 x 40 pixels, noise around a colour."""
    random = np.random.default_rng(0)
    for (split, count), (label, name) in itertools.product(splits.items(), enumerate(classes)):
        (root / split / name).mkdir(parents=True)
        for i in range(count):
            pixels = random.integers(0, 100, (40, 48, 3)) + 50 * np.eye(3, dtype=int)[label % 3]
            Image.fromarray(pixels.astype(np.uint8)).save(root / split / name / f"{i}.{('png', 'jpg')[i % 2]}")
    return root


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("images"), {"train": 20, "val": 4})


def test_splits_and_classes_come_from_the_folders(root: Path) -> None:
    data = pdc.load_data(f"folder:{root}@32")
    assert (data.classes, data.shape) == (CLASSES, (3, 32, 32))
    assert (len(data.train), len(data.val), len(data.test)) == (54, 6, 12)
    assert torch.bincount(data.val.labels).tolist() == [2, 2, 2]
    paths = [set(split.images.paths) for split in (data.train, data.val, data.test)]  # type: ignore[attr-defined]
    assert sum(map(len, paths)) == len(set.union(*paths))
    assert pdc.describe_data(f"folder:{root}").shape == (3, 224, 224)


def test_a_test_folder_reports_and_val_chooses(tmp_path: Path) -> None:
    data = pdc.load_data(f"folder:{make(tmp_path, {'train': 3, 'val': 2, 'test': 1})}@16")
    assert (len(data.train), len(data.val), len(data.test)) == (9, 6, 3)


def test_a_test_folder_without_val_reports_and_a_part_of_train_chooses(tmp_path: Path) -> None:
    data = pdc.load_data(f"folder:{make(tmp_path, {'train': 20, 'test': 3})}@16")
    assert (len(data.train), len(data.val), len(data.test)) == (54, 6, 9)
    assert all("/train/" in path for path in data.val.images.paths)  # type: ignore[attr-defined]
    assert all("/test/" in path for path in data.test.images.paths)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["valid", "validation"])
def test_the_validation_split_has_the_names_that_tools_give_it(tmp_path: Path, name: str) -> None:
    data = pdc.load_data(f"folder:{make(tmp_path, {'train': 3, name: 2, 'test': 1})}@16")
    assert (len(data.train), len(data.val), len(data.test)) == (9, 6, 3)
    before = folder_state(f"folder:{tmp_path}")
    (tmp_path / name / "bee" / "0.png").unlink()
    assert folder_state(f"folder:{tmp_path}") != before


@pytest.mark.parametrize("names", [("Train", "Test"), ("training", "testing"), ("TRAIN", "Validation")])
def test_splits_are_found_under_other_usual_names(tmp_path: Path, names: tuple[str, str]) -> None:
    data = pdc.load_data(f"folder:{make(tmp_path, {names[0]: 3, names[1]: 2})}@16")
    assert data.classes == CLASSES
    assert (len(data.train), len(data.val), len(data.test)) == (8, 1, 6)
    assert all(f"/{names[1]}/" in path for path in data.test.images.paths)  # type: ignore[attr-defined]
    before = folder_state(f"folder:{tmp_path}")
    (tmp_path / names[1] / "bee" / "0.png").unlink()
    assert folder_state(f"folder:{tmp_path}") != before


def test_the_first_name_counts_and_case_decides_last(tmp_path: Path) -> None:
    root = make(tmp_path, {"train": 3, "Train": 4, "training": 5, "validation": 1, "valid": 2})
    data = pdc.load_data(f"folder:{root}@16")
    assert len(data.test) == 6
    assert {path.split("/")[-3] for path in data.train.images.paths} == {"Train"}  # type: ignore[attr-defined]


def test_pictures_of_trains_are_a_class(tmp_path: Path) -> None:
    classes = ("plane", "ship", "train")
    data = pdc.load_data(f"folder:{make(tmp_path, {'.': 6}, classes)}@16")
    assert data.classes == classes
    assert len(data.train) + len(data.val) + len(data.test) == 18


def test_flat_splits_are_not_taken_for_classes(tmp_path: Path) -> None:
    with pytest.raises(pdc.PDCError, match=r"there are 0 in .*train\.$"):
        pdc.load_data(f"folder:{make(tmp_path, {'.': 6}, ('train', 'test'))}@16")


def test_a_folder_around_the_data_set_is_named_with_what_is_in_it(tmp_path: Path) -> None:
    make(tmp_path / "flowers", {"train": 3, "val": 2})
    with pytest.raises(pdc.PDCError, match=r"there is 1 in .*Perhaps you mean (folder:.*/flowers@16)\.$") as error:
        pdc.load_data(f"folder:{tmp_path}@16")
    assert len(pdc.load_data(str(error.value).split()[-1].rstrip(".")).train) == 8


def test_images_in_folders_of_a_class_count_and_files_of_the_system_do_not(tmp_path: Path) -> None:
    whole = pdc.load_data(f"folder:{make(tmp_path / 'flat', {'train': 6, 'val': 2})}@16")
    root = make(tmp_path / "deep", {"train": 6, "val": 2})
    for name in CLASSES:
        (root / "train" / name / "images" / "more").mkdir(parents=True)
        for i in (1, 2, 3):
            at = root / "train" / name / f"{i}.{('png', 'jpg')[i % 2]}"
            at.rename(at.parent / "images" / ("more" if i == 3 else ".") / at.name)
        (root / "train" / name / "._0.png").write_bytes(b"\0\5\x16\7")  # what macOS puts beside a file
        (root / "train" / name / ".cache").mkdir()
        (root / "train" / name / ".cache" / "5.png").write_bytes(b"")
    (root / "train" / "__MACOSX").mkdir()
    data = pdc.load_data(f"folder:{root}@16")
    assert data.classes == CLASSES
    assert [len(split) for split in (data.train, data.val, data.test)] == [
        len(s) for s in (whole.train, whole.val, whole.test)
    ]
    assert {Path(path).name for path in data.train.images.paths} <= {f"{i}.{('png', 'jpg')[i % 2]}" for i in range(6)}  # type: ignore[attr-defined]
    assert data.train.images[:].shape == (len(data.train), 3, 16, 16)


@pytest.mark.parametrize("splits", [{".": 4}, {"train": 4, "val": 2}])
def test_a_folder_whose_files_or_classes_change_is_in_another_state(tmp_path: Path, splits: dict[str, int]) -> None:
    name = f"folder:{make(tmp_path, splits)}@16"
    before = folder_state(name)
    assert before is not None
    assert folder_state(name) == before
    inner = tmp_path / next(iter(splits))
    os.utime(inner / "cat", ns=(0, before[0] + 1))  # as a new file in it would do, on a clock that is fine enough
    after = folder_state(name)
    assert after == (before[0] + 1, before[1])
    (inner / "fox").mkdir()
    os.utime(inner / "fox", ns=(0, 0))
    assert (folder_state(name) or (0, 0))[1] == before[1] + 1
    assert folder_state(f"folder:{tmp_path / 'gone'}") is None
    assert folder_state(f"{name}@wrong") is None


def test_an_image_is_scaled_and_cut_as_torchvision_does(root: Path) -> None:
    transforms = pdc.torchvision().transforms
    as_torchvision = transforms.Compose([transforms.Resize(64), transforms.CenterCrop(56), transforms.PILToTensor()])
    path = root / "train" / "bee" / "0.png"
    ours = ImageFiles([path], size=56)[torch.tensor([0])][0]
    theirs = as_torchvision(Image.open(path))
    assert (ours.float() - theirs.float()).abs().mean() < 2.5  # of 255; both interpolate, in one step and in two
    grey = Image.new("RGB", (100, 70), (10, 20, 30))
    grey.save(root / "grey.png")
    assert ImageFiles([root / "grey.png"], size=8)[:].flatten(2).unique(dim=2).tolist() == [[[10], [20], [30]]]


def test_augmentation_depends_on_the_generator_alone_and_on_the_share(root: Path) -> None:
    images = pdc.load_data(f"folder:{root}@16").train.images
    assert isinstance(images, ImageFiles)
    chosen = torch.arange(10)
    one, two, other = (images.augmented(chosen, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
    assert torch.equal(images.augmented(chosen, generator(1), share=0.0), images[chosen])


@pytest.mark.parametrize("area", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("ratio", [0.0, 0.5, 0.8, 1.0])
def test_a_random_part_has_the_area_and_the_shape_that_torchvision_draws(area: float, ratio: float) -> None:
    """RandomResizedCrop: 8 to 100 % of the area, width by height 3/4 to 4/3, uniform in its logarithm; any place."""
    for across, down in ((0.0, 0.0), (0.25, 1.0), (1.0, 0.5)):
        left, top, right, bottom = _part(300, 200, np.array([area, ratio, across, down, 0.0, 0.0]))
        exact = math.exp(np.interp(ratio, [0, 1], [math.log(3 / 4), math.log(4 / 3)]))
        wide = math.sqrt(np.interp(area, [0, 1], [0.08, 1]) * 300 * 200 * exact)
        assert right - left == pytest.approx(min(wide, 300))
        assert bottom - top == pytest.approx(min(wide / exact, 200))
        assert (left, top) == pytest.approx((across * (300 - (right - left)), down * (200 - (bottom - top))))


@pytest.mark.parametrize(("chance", "mirrored"), [(0.0, True), (0.49, True), (0.5, False), (0.99, False)])
def test_half_of_the_random_parts_are_mirrored(root: Path, chance: float, mirrored: bool) -> None:
    path = str(root / "train" / "bee" / "0.png")
    one, other = (_image(path, 16, np.array([1.0, 0.5, 0.0, 0.0, each, 0.0])) for each in (chance, 0.99))
    assert np.array_equal(one, other[:, ::-1] if mirrored else other)


def test_a_large_jpeg_is_decoded_smaller_as_a_whole_and_in_full_for_a_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (1024, 1024)).save(tmp_path / "large.jpg")
    decoded: list[tuple[int, int]] = []
    resize = Image.Image.resize
    monkeypatch.setattr(Image.Image, "resize", lambda self, *a, **k: decoded.append(self.size) or resize(self, *a, **k))
    images = ImageFiles([tmp_path / "large.jpg"], size=56)
    _ = images[:], images.augmented(torch.tensor([0]), generator(0))
    assert [size for size in decoded if size[0] >= 64] == [(128, 128), (1024, 1024)]  # an eighth: not below 64 x 64


def test_nothing_is_read_before_it_is_needed_and_a_bad_image_is_named(tmp_path: Path) -> None:
    data = pdc.load_data(f"folder:{make(tmp_path, {'train': 4, 'val': 1})}@16")
    (tmp_path / "val" / "dog" / "0.png").write_bytes(b"not an image")
    assert next(iter(data.test.batches(2)))[0].shape == (2, 3, 16, 16)
    with pytest.raises(pdc.PDCError, match=r"dog/0\.png cannot be read"):
        list(data.test.batches(2))


@pytest.mark.parametrize(
    ("splits", "name", "said"),
    [
        ({"train": 1}, "", "no folder val/"),
        ({"val": 1}, "", "there are 0 in .*train"),
        ({"train": 2, "val": 0}, "", "There are no images"),
        ({"train": 1, "val": 1}, "", "train/bee holds 1 image; every class needs at least 2, since some are held back"),
        ({".": 2}, "", "bee holds 2 images; every class needs at least 3, since"),
        ({}, "", "or CLASS/ alone, with the images of at least 2 classes; there are 0"),
        ({}, "/nowhere", "There is no folder .*nowhere; give the one that holds"),
        ({"train": 1, "val": 1}, "@9999", "8 to 4096"),
    ],
)
def test_a_folder_that_is_not_laid_out_right_is_refused(
    tmp_path: Path, splits: dict[str, int], name: str, said: str
) -> None:
    with pytest.raises(pdc.PDCError, match=said):
        pdc.load_data(f"folder:{make(tmp_path, splits)}{name}")


@pytest.mark.parametrize(
    ("splits", "left", "said"),
    [
        (
            {"train": 4, "val": 1},
            0,
            r"train/cat holds 0 images; every class needs at least 2, .*\.png.* remove the folder",
        ),
        ({"train": 4, "val": 1}, 1, "train/cat holds 1 image; every class needs at least 2"),
        ({"train": 4, "val": 1, "test": 1}, 0, r"train/cat holds 0 images; every class needs at least 1\. Add images"),
        ({"train": 4, "val": 1, "test": 1}, 1, ""),
    ],
)
def test_a_class_with_too_few_images_is_named(tmp_path: Path, splits: dict[str, int], left: int, said: str) -> None:
    for path in sorted((make(tmp_path, splits) / "train" / "cat").iterdir())[left:]:
        path.unlink()
    with pytest.raises(pdc.PDCError, match=said) if said else nullcontext():
        pdc.load_data(f"folder:{tmp_path}")


def test_without_val_the_error_offers_a_name_under_which_pdc_divides_the_images(tmp_path: Path) -> None:
    make(tmp_path, {"train": 10})
    with pytest.raises(NoHeldOutImages, match="no folder val/") as error:
        pdc.load_data(f"folder:{tmp_path}@16")
    offered = next(word for word in str(error.value).split() if word.startswith("folder:"))
    assert offered == error.value.instead == f"folder:{tmp_path / 'train'}@16"
    data = pdc.load_data(offered)
    splits = (data.train, data.val, data.test)
    assert [len(split) for split in splits] == [22, 2, 6]
    assert torch.bincount(data.test.labels).tolist() == [2, 2, 2]
    paths = [str(path) for split in splits for path in split.images.paths]  # type: ignore[attr-defined]
    assert sorted(paths) == sorted(str(path) for path in tmp_path.rglob("*.*"))
    again = pdc.load_data(offered)
    assert [list(split.images.paths) for split in (again.train, again.val, again.test)] == [  # type: ignore[attr-defined]
        list(split.images.paths)  # type: ignore[attr-defined]
        for split in splits
    ]
    assert (data.classes, data.shape) == (CLASSES, (3, 16, 16))


def test_hidden_folders_are_no_classes(tmp_path: Path) -> None:
    make(tmp_path, {".": 5})
    (tmp_path / ".thumbnails").mkdir()
    assert pdc.load_data(f"folder:{tmp_path}").classes == CLASSES


PIXELS = np.arange(48 * 40).reshape(40, 48)
FRAMES = [Image.fromarray((PIXELS // n % 256).astype(np.uint8)).convert("RGB") for n in (1, 2)]
ODD = {
    "deep.png": (
        Image.fromarray(PIXELS.astype(np.uint16)),
        {},
        r"deep\.png has more than 8 bits per value \(mode I;16",
    ),
    "deep.tif": (Image.fromarray(PIXELS.astype(np.float32)), {}, r"deep\.tif has more than 8 bits per value \(mode F"),
    "moving.gif": (
        FRAMES[0],
        {"save_all": True, "append_images": FRAMES[1:]},
        r"moving\.gif has 2 frames; save the one",
    ),
    "moving.webp": (FRAMES[0], {"save_all": True, "append_images": FRAMES[1:]}, r"moving\.webp has 2 frames"),
}


@pytest.mark.parametrize("name", ODD)
def test_a_picture_that_is_none_of_a_data_set_is_named_with_what_to_do(tmp_path: Path, name: str) -> None:
    image, options, said = ODD[name]
    image.save(tmp_path / name, **options)
    with pytest.raises(pdc.PDCError, match=said):
        ImageFiles([tmp_path / name], size=16)[:]


@pytest.mark.parametrize("name", ["whole.png", "whole.jpg"])
def test_a_file_that_ends_too_early_is_named(tmp_path: Path, name: str) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)).save(tmp_path / name)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(pdc.PDCError, match=rf"{name} cannot be read \(.*truncated.*\); repair or remove it"):
        ImageFiles([tmp_path / name], size=16)[:]


def test_grey_pictures_and_photographs_with_two_views_are_read(tmp_path: Path) -> None:
    Image.fromarray(PIXELS.astype(np.uint8)).save(tmp_path / "grey.png")
    FRAMES[0].save(tmp_path / "photo.jpg", format="MPO", save_all=True, append_images=FRAMES[1:])
    grey, photo = ImageFiles([tmp_path / "grey.png", tmp_path / "photo.jpg"], size=16)[:]
    assert torch.equal(grey[0], grey[1])
    assert photo.float().std() > 0


def test_pictures_are_read_as_a_viewer_shows_them(tmp_path: Path) -> None:
    """Turned as the camera says, what is transparent white: as a single picture is read on the page Compare."""
    root = make(tmp_path, {"train": 3, "val": 2})
    colours = np.repeat(np.array([[[200, 0, 0]], [[0, 0, 200]]], np.uint8), 40, 0).repeat(80, 1)  # red above blue
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(colours).save(root / "val" / "bee" / "0.jpg", exif=exif, quality=95)
    clear = np.concatenate([colours, np.zeros((80, 80, 1), np.uint8)], 2)
    Image.fromarray(clear).save(root / "val" / "bee" / "1.png")
    (root / "val" / "bee" / "0.png").unlink()
    paths = ["0.jpg", "1.png"]
    turned, white = ImageFiles([root / "val" / "bee" / path for path in paths], 16)[:].int()
    assert turned[0, :, -4:].min() > 150 > 60 > turned[0, :, :4].max()  # red is on the right
    assert turned[2, :, :4].min() > 150
    assert white.min() == 255
    data = pdc.load_data(f"folder:{root}@16")
    for path, pixels in zip(paths, (turned, white), strict=True):
        single = fit_picture(read_picture((root / "val" / "bee" / path).read_bytes()), data)[0].int()
        assert (single - pixels).abs().float().mean() < 5  # only one of the two decodes a JPEG smaller


def test_a_class_that_was_never_taught_is_refused(tmp_path: Path) -> None:
    make(tmp_path, {"train": 2, "val": 1})
    (tmp_path / "val" / "eel").mkdir()
    with pytest.raises(pdc.PDCError, match="a class 'eel' that train/ does not have"):
        pdc.load_data(f"folder:{tmp_path}")


def test_processes_share_out_every_image_of_a_step(root: Path) -> None:
    data, settings = pdc.load_data(f"folder:{root}@8"), Training(batch_size=8)
    shares = [list(Batches(data, settings, 0, torch.device("cpu"), rank, 2).epoch(0)) for rank in (0, 1)]
    whole = list(Batches(data, settings, 0, torch.device("cpu")).epoch(0))
    assert len(shares[0]) == len(whole) == 7
    for (a, _), (b, _), (x, _) in zip(*shares, whole, strict=True):
        together = torch.stack([a, b], dim=1).flatten(0, 1)
        assert torch.equal(together, x[: len(together)])


def test_a_run_over_files_is_resumed_bit_for_bit(root: Path) -> None:
    data = pdc.load_data(f"folder:{root}@8")
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(288, 3)
    ).eval()
    settings = Training(epochs=2, batch_size=18, augment=0.5)
    whole, recorder = pdc.teach(model, data, settings=settings), Interrupted(4)
    with pytest.raises(pdc.train.Stopped):
        pdc.teach(model, data, settings=settings, recorder=recorder)
    assert same_networks(whole.folded, pdc.teach(model, data, settings=settings, recorder=recorder).folded)


def test_the_recipe_for_imagenet_is_accepted_by_a_dry_run(pdc_command, root: Path, tmp_path: Path) -> None:
    text = (Path(__file__).parents[3] / "recipes" / "imagenet_resnet50.yaml").read_text()
    recipe = tmp_path / "imagenet.yaml"  # many processors take minutes for bfloat16
    recipe.write_text(text.replace("precision: bf16-mixed", 'precision: "32"'))
    code, out, err = pdc_command("run", recipe, "--data", f"folder:{root}@32", "--dry-run", "--json")
    assert code == 0, err
    planned = json.loads(out)
    assert planned["steps"] == planned["epochs"] == 90  # fewer images than one step holds
    assert planned["macs_after"] < 0.65 * planned["macs_before"]
