"""One's own network and data: links and uploads open what fits, and refuse the rest in a sentence."""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from streamlit.testing.v1 import AppTest

import pdc_core as pdc
from pdc_core.models import compare_state, inspect_checkpoint
from ui.drawing import percent, short
from ui.uploads import store_upload

PAGES = Path(__file__).parents[3] / "pages"
Open = Callable[..., AppTest]
Texts = Callable[[AppTest], dict[str, str]]
Press = Callable[[AppTest, str], AppTest]


@pytest.fixture(autouse=True)
def runs_of_this_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PDC_RUNS", str(tmp_path / "runs"))


def _state(prefix: str = "", **changes: torch.Tensor) -> bytes:
    state = pdc.load_model("resnet20", data="digits").state_dict()
    buffer = io.BytesIO()
    torch.save({prefix + name: tensor for name, tensor in {**state, **changes}.items()}, buffer)
    return buffer.getvalue()


def _upload(app: AppTest, name: str, content: bytes) -> AppTest:
    app.selectbox(key="choose_weights").set_value("upload a checkpoint").run()
    app.file_uploader(key="choose_checkpoint").upload(name, content, "application/octet-stream").run()
    return app.button(key="load_choice").click().run()


class _Attack:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch /tmp/pdc_was_attacked",)


def test_a_checkpoint_is_taken_its_prefix_dropped_and_the_address_names_it(opened: Open, metrics: Texts) -> None:
    app = _upload(opened("model"), "mine.th", _state("module."))
    assert not app.exception
    assert not app.error
    assert app.session_state["choice"].weights.endswith(".th")
    assert app.query_params["weights"] in (app.session_state["choice"].weights, [app.session_state["choice"].weights])
    tensors = len(pdc.load_model("resnet20", data="digits").state_dict())
    said = f"{tensors} of the {tensors} tensors in the checkpoint fit the network. The prefix 'module.'"
    assert any(caption.value.startswith(said) for caption in app.caption)
    model, data = pdc.load_model("resnet20", data="digits"), pdc.load_data("digits")
    assert metrics(app)["Test accuracy"] == percent(pdc.evaluate(model, data, data.test).accuracy)


def test_a_malicious_pickle_is_refused_in_a_sentence_and_the_network_stays(opened: Open) -> None:
    app = _upload(opened("model"), "nice.pt", pickle.dumps(_Attack()))
    assert not app.exception
    assert app.error[0].value.startswith("Not loaded; the network is unchanged. nice.pt ")
    assert not Path("/tmp/pdc_was_attacked").exists()
    assert app.session_state["choice"].weights == "shipped"


def test_keys_that_do_not_fit_are_listed(opened: Open) -> None:
    app = _upload(opened("model"), "other.pt", _state(**{"fc.weight": torch.ones(3)}))
    assert "unexpected" in app.error[0].value
    listed = app.dataframe[0].value
    assert list(listed["tensor"]) == ["fc.weight"]
    assert list(listed["problem"]) == ["not part of this network"]


def test_a_link_opens_a_torchvision_network_that_has_no_images(opened: Open, metrics: Texts) -> None:
    app = opened("model", model="resnet18", data="imagenet", weights="random")
    assert not app.exception
    model = pdc.load_model("resnet18", weights=False)
    assert metrics(app)["MACs"] == short(pdc.cost(model, torch.zeros(1, 3, 224, 224)).macs)
    assert metrics(app)["Test accuracy"] == "–"
    for page in ("plan", "filters", "distil"):
        app.switch_page(str(PAGES / f"{page}.py")).run()
        assert not app.exception, page
        assert not app.error, page
    assert "no images" in app.info[0].value  # the last page, Distil, says why it cannot start


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ({"model": "resnet21"}, "resnet20"),
        ({"data": "npz:/nowhere/at/all.npz"}, "there is no file"),
        ({"weights": "/etc/hostname"}, "not a checkpoint"),
        ({"data": "cifar10"}, "cifar10"),
    ],
)
def test_a_link_that_cannot_be_opened_says_why_and_leads_back(
    query: dict[str, str], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened: Open, metrics: Texts
) -> None:
    monkeypatch.setattr("pdc_core.data.load.CACHE", tmp_path)
    app = opened("model", **query)
    assert not app.exception
    assert reason in app.error[0].value
    app.button[0].click().run()
    assert not app.error
    assert metrics(app)["MACs"] == "30.8 M"


def test_an_npz_with_other_images_is_opened_and_its_plan_is_its_own(tmp_path: Path, opened: Open) -> None:
    random = np.random.default_rng(0)
    x, y = random.integers(0, 255, (80, 12, 12, 3), dtype=np.uint8), np.arange(80) % 4
    np.savez(tmp_path / "mine.npz", x_train=x, y_train=y, x_test=x[:20], y_test=y[:20])
    app = opened("plan")
    app.slider(key="plan_share").set_value(50).run()
    halves = dict(app.session_state["plan"].counts)
    other = opened("plan", data=f"npz:{tmp_path / 'mine.npz'}", weights="random")
    assert not other.exception
    assert other.session_state["plan"].counts != halves  # another session, another plan
    app = app.switch_page(str(PAGES / "model.py")).run()
    app.selectbox(key="choose_data").set_value("path of an .npz file").run()
    app.text_input(key="choose_data_path").set_value(str(tmp_path / "mine.npz")).run()
    app.selectbox(key="choose_weights").set_value("random").run()
    app.button(key="load_choice").click().run()
    assert not app.error
    assert app.session_state["choice"].data == f"npz:{tmp_path / 'mine.npz'}"
    app.selectbox(key="choose_data").set_value("digits").run()
    app.selectbox(key="choose_weights").set_value("shipped").run()
    app.button(key="load_choice").click().run()
    assert app.session_state["plan"].counts == halves  # the plan of the first network is still there


def test_a_folded_network_is_looked_at_again(tmp_path: Path, opened: Open, metrics: Texts) -> None:
    model, data = pdc.load_model("resnet20", data="digits"), pdc.load_data("digits")
    graph = pdc.trace(model, torch.zeros(1, *data.shape))
    labels = pdc.assign(model, graph, pdc.Plan.uniform(graph, 0.5))
    folded = pdc.fold(pdc.reconstruct_(model, graph, labels), graph, labels)
    pdc.save(folded, tmp_path / "small.safetensors")
    app = opened("model", weights=str(tmp_path / "small.safetensors"))
    assert not app.exception
    assert metrics(app)["MACs"] == short(pdc.cost(folded, torch.zeros(1, *data.shape)).macs)
    app.switch_page(str(PAGES / "distil.py")).run()
    assert not app.exception
    assert "already folded" in app.info[0].value


def test_the_address_holds_what_differs_from_the_usual_network_and_nothing_else(opened: Open) -> None:
    app = opened("model", model="resnet20", data="clothing", weights="random")
    for _ in range(2):
        assert not app.exception
        assert app.query_params["weights"] in ("random", ["random"])
        assert app.query_params["data"] in ("clothing", ["clothing"])  # also where it is the usual one
        assert not {"model", "residual"} & set(app.query_params)
        app.query_params.clear()  # as a link of the navigation does
        app.run()


def test_lecture_mode_is_in_the_address_and_hides_the_chooser(opened: Open) -> None:
    assert any(button.key == "load_choice" for button in opened("model").button)
    app = opened("model", lecture="1")
    assert not any(button.key == "load_choice" for button in app.button)
    app.switch_page(str(PAGES / "plan.py")).run()
    assert app.query_params["lecture"] in ("1", ["1"])
    app.query_params.clear()  # as a link of the navigation does
    assert not app.run().exception
    assert app.query_params["lecture"] in ("1", ["1"])


def test_uploads_are_named_by_their_content_and_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = store_upload(b"one", "pt"), store_upload(b"two", "pt")
    assert first == store_upload(b"one", "pt") != second
    assert Path(first).read_bytes() == b"one"
    monkeypatch.setattr("ui.uploads.MOST_BYTES", 7)
    with pytest.raises(pdc.PDCError, match="Uploads on this server"):
        store_upload(b"three", "pt")


def test_a_checkpoint_is_compared_name_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(_state("module._orig_mod.", **{"linear.bias": torch.ones(3)}))
    found = inspect_checkpoint(tmp_path / "a.pt")
    assert found.prefix == "module._orig_mod."
    fit = compare_state(pdc.load_model("resnet20", data="digits", weights=False), found.tensors)
    assert fit.misshapen == (("linear.bias", (3,), (10,)),)
    assert not fit.missing
    assert not fit.unexpected
    assert not fit.whole
    assert len(fit.fits) == len(found.tensors) - 1


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of images, 6 of each of 2 classes."""
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for i in range(6):
            Image.new("RGB", (18, 16), (40 * i, 200, 90)).save(tmp_path / "pets" / name / f"{i}.png")
    return tmp_path / "pets"


def _choose_folder(app: AppTest, path: Path) -> AppTest:
    app.selectbox(key="choose_data").set_value("path of an image folder").run()
    app.text_input(key="choose_data_path").set_value(str(path)).run()
    app.number_input(key="choose_size_64").set_value(16).run()
    return app.button(key="load_choice").click().run()


def test_a_folder_with_train_alone_is_offered_to_be_divided(opened: Open, folder: Path) -> None:
    parts = folder.parent / "parts"
    parts.mkdir()
    folder.rename(parts / "train")
    app = _choose_folder(opened("model"), parts)
    assert "no folder val/ or test/" in app.error[0].value
    assert app.session_state["choice"].data == "digits"
    app.run()
    assert app.error, "the sentence stays until something else is chosen"
    app.button(key="hold_back").click().run()
    assert not app.error
    assert app.session_state["choice"].data == f"folder:{parts / 'train'}@16"


def test_a_class_with_one_image_is_one_sentence(opened: Open, folder: Path) -> None:
    for path in sorted((folder / "dog").iterdir())[1:]:
        path.unlink()
    app = _choose_folder(opened("model"), folder)
    assert [error.value.count("dog holds 1 image; every class needs at least 3") for error in app.error] == [1]
    app.selectbox(key="choose_data").set_value("digits").run()
    assert not app.error


def test_labels_as_text_are_one_sentence_that_says_how_to_make_numbers(opened: Open, tmp_path: Path) -> None:
    x, y = np.zeros((8, 12, 12, 3), np.uint8), np.array(["cat", "dog"] * 4)
    np.savez(tmp_path / "text.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    app = opened("model")
    app.selectbox(key="choose_data").set_value("path of an .npz file").run()
    app.text_input(key="choose_data_path").set_value(str(tmp_path / "text.npz")).run()
    app.button(key="load_choice").click().run()
    (error,) = app.error
    assert "y_train" in error.value
    assert "return_inverse=True" in error.value


@pytest.mark.parametrize(
    ("kind", "said"), [("deep", "has more than 8 bits"), ("moving", "has 2 frames"), ("cut", "cannot be read")]
)
def test_an_image_that_cannot_be_used_is_named_where_the_network_is_measured_and_forgotten_when_it_is_mended(
    opened: Open, folder: Path, tmp_path: Path, kind: str, said: str
) -> None:
    torch.save(pdc.load_model("resnet20", f"folder:{folder}@16", weights="random").state_dict(), tmp_path / "w.pt")
    good = (folder / "cat" / "0.png").read_bytes()
    for path in folder.glob("*/*.png"):
        if kind == "deep":
            Image.fromarray(np.full((16, 18), 9000, np.uint16)).save(path)
        elif kind == "moving":
            frames = [Image.new("RGB", (18, 16), colour) for colour in ("red", "blue")]
            frames[0].save(path, save_all=True, append_images=frames[1:])
        else:
            path.write_bytes(good[:60])
    given = {"data": f"folder:{folder}@16", "weights": str(tmp_path / "w.pt")}
    app = opened("model", **given)
    assert not app.exception
    assert [(".png" in error.value, said in error.value) for error in app.error] == [(True, True)]
    for path in folder.glob("*/*.png"):
        path.unlink()
        path.write_bytes(good)
    app.run()
    assert not app.exception
    assert not app.error


def test_a_grey_image_is_read_as_colour(opened: Open, folder: Path) -> None:
    for path in folder.glob("*/*.png"):
        Image.new("L", (18, 16), 90).save(path)
    app = _choose_folder(opened("model"), folder)
    assert not app.error
    assert "Train it" in [button.label for button in app.button]


def test_a_new_class_in_the_folder_is_noticed(opened: Open, folder: Path, metrics: Texts) -> None:
    app = opened("model", data=f"folder:{folder}@16", weights="random")
    before = metrics(app)["Parameters"]
    (folder / "fox").mkdir()
    for i in range(6):
        Image.new("RGB", (18, 16), (200, 40 * i, 0)).save(folder / "fox" / f"{i}.png")
    app.run()
    assert not app.exception
    assert "in **3 classes**" in " ".join(text.value for text in app.markdown)
    assert metrics(app)["Parameters"] == before  # 65 more of 269 thousand


def test_the_form_begins_with_the_folder_its_size_and_the_weights_that_are_open(opened: Open, folder: Path) -> None:
    app = opened("model", data=f"folder:{folder}", weights="random", model="mobilenet_v3_small")
    assert app.text_input(key="choose_data_path").value == str(folder)
    assert app.number_input(key="choose_size_224").value == 224
    assert app.selectbox(key="choose_weights").value == "random"  # not torchvision's, which are offered first
    app.number_input(key="choose_size_224").set_value(32).run()
    app.selectbox(key="choose_weights").set_value("random").run()
    app.button(key="load_choice").click().run()
    assert app.session_state["choice"].data == f"folder:{folder}@32"
    app.number_input(key="choose_size_32").set_value(224).run()
    app.button(key="load_choice").click().run()
    assert app.session_state["choice"].data == f"folder:{folder}"
