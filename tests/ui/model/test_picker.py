"""One's own network and data: links and uploads open what fits, and refuse the rest in a sentence."""

from __future__ import annotations

import io
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from streamlit.testing.v1 import AppTest

import pdc_core as pdc
from pdc_core.models import compare_state, inspect_checkpoint
from ui.drawing import percent, short
from ui.jobs import Background
from ui.uploads import store_upload

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def _own_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PDC_RUNS", str(tmp_path / "runs"))


def _open(page: str = "model", **query: str) -> AppTest:
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=120)
    app.switch_page(str(ROOT / "pages" / f"{page}.py"))
    for key, value in query.items():
        app.query_params[key] = value
    return app.run()


def _metrics(app: AppTest) -> dict[str, str]:
    return {metric.label: metric.value for metric in app.metric}


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


def test_a_checkpoint_is_taken_its_prefix_dropped_and_the_address_names_it() -> None:
    app = _upload(_open(), "mine.th", _state("module."))
    assert not app.exception
    assert not app.error
    assert app.session_state["choice"].weights.endswith(".th")
    assert app.query_params["weights"] in (app.session_state["choice"].weights, [app.session_state["choice"].weights])
    tensors = len(pdc.load_model("resnet20", data="digits").state_dict())
    said = f"{tensors} of the checkpoint's {tensors} tensors fit the network. A prefix 'module.'"
    assert any(caption.value.startswith(said) for caption in app.caption)
    model, data = pdc.load_model("resnet20", data="digits"), pdc.load_data("digits")
    assert _metrics(app)["Test accuracy"] == percent(pdc.evaluate(model, data, data.test).accuracy)


def test_a_malicious_pickle_is_refused_in_a_sentence_and_the_network_stays() -> None:
    app = _upload(_open(), "nice.pt", pickle.dumps(_Attack()))
    assert not app.exception
    assert app.error[0].value.startswith("Not loaded, the network stays as it was. nice.pt ")
    assert not Path("/tmp/pdc_was_attacked").exists()
    assert app.session_state["choice"].weights == "shipped"


def test_keys_that_do_not_fit_are_listed() -> None:
    app = _upload(_open(), "other.pt", _state(**{"fc.weight": torch.ones(3)}))
    assert "unexpected" in app.error[0].value
    listed = app.dataframe[0].value
    assert list(listed["tensor"]) == ["fc.weight"]
    assert list(listed["what"]) == ["not part of this network"]


def test_a_link_opens_a_torchvision_network_that_has_no_images() -> None:
    app = _open(model="resnet18", data="imagenet", weights="random")
    assert not app.exception
    model = pdc.load_model("resnet18", weights=False)
    assert _metrics(app)["MACs"] == short(pdc.cost(model, torch.zeros(1, 3, 224, 224)).macs)
    assert _metrics(app)["Test accuracy"] == "–"
    for page in ("plan", "filters", "distil"):
        app.switch_page(str(ROOT / "pages" / f"{page}.py")).run()
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
    query: dict[str, str], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pdc_core.data.load.CACHE", tmp_path)
    app = _open(**query)
    assert not app.exception
    assert reason in app.error[0].value
    app.button[0].click().run()
    assert not app.error
    assert _metrics(app)["Parameters"] == "269 k"


def test_an_npz_with_other_images_is_opened_and_its_plan_is_its_own(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    x, y = random.integers(0, 255, (80, 12, 12, 3), dtype=np.uint8), np.arange(80) % 4
    np.savez(tmp_path / "mine.npz", x_train=x, y_train=y, x_test=x[:20], y_test=y[:20])
    app = _open("plan")
    app.slider(key="plan_share").set_value(50).run()
    halves = dict(app.session_state["plan"].counts)
    other = _open("plan", data=f"npz:{tmp_path / 'mine.npz'}", weights="random")
    assert not other.exception
    assert other.session_state["plan"].counts != halves  # another session, another plan
    app = app.switch_page(str(ROOT / "pages" / "model.py")).run()
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


def test_a_folded_network_is_looked_at_again(tmp_path: Path) -> None:
    model, data = pdc.load_model("resnet20", data="digits"), pdc.load_data("digits")
    graph = pdc.trace(model, torch.zeros(1, *data.shape))
    labels = pdc.assign(model, graph, pdc.Plan.uniform(graph, 0.5))
    folded = pdc.fold(pdc.reconstruct_(model, graph, labels), graph, labels)
    pdc.save(folded, tmp_path / "small.safetensors")
    app = _open(weights=str(tmp_path / "small.safetensors"))
    assert not app.exception
    assert _metrics(app)["MACs"] == short(pdc.cost(folded, torch.zeros(1, *data.shape)).macs)
    app.switch_page(str(ROOT / "pages" / "distil.py")).run()
    assert not app.exception
    assert "folded already" in app.info[0].value


def test_lecture_mode_is_in_the_address_and_hides_the_chooser() -> None:
    assert any(button.key == "load_choice" for button in _open().button)
    app = _open(lecture="1")
    assert not any(button.key == "load_choice" for button in app.button)
    app.switch_page(str(ROOT / "pages" / "plan.py")).run()
    assert app.query_params["lecture"] in ("1", ["1"])


def test_uploads_are_named_by_their_content_and_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = store_upload(b"one", "pt"), store_upload(b"two", "pt")
    assert first == store_upload(b"one", "pt") != second
    assert first.read_bytes() == b"one"
    monkeypatch.setattr("ui.uploads.MOST_BYTES", 7)
    with pytest.raises(pdc.PDCError, match="uploads of this server"):
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


def test_background_work_is_done_once_and_its_error_reaches_who_asks() -> None:
    queue, calls = Background(), []

    def run_worker(progress: object) -> int:
        calls.append(1)
        return 7

    def fail(progress: object) -> int:
        raise pdc.PDCError("no")

    assert queue.request(("a",), run_worker, wait=True).value == 7
    assert queue.request(("a",), run_worker).value == 7
    assert calls == [1]
    broken = queue.request(("b",), fail)
    broken.future.exception(timeout=10)
    with pytest.raises(pdc.PDCError, match="no"):
        _ = broken.value
