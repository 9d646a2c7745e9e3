"""A class on one server: no path of the server opens anything or is shown, and visitors see and use what is theirs."""

from __future__ import annotations

import io
import json
import os
import shutil
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import pytest
import torch
from filelock import FileLock
from streamlit.testing.v1 import AppTest

import pdc_core as pdc
from pdc_core.runs import RunSpec, create_run, read_spec
from pdc_core.train import Training
from ui import classroom, visitors
from ui.class_queue import _recent_queue, read_queue
from ui.housekeeping import end_overdue, remove_expired
from ui.uploads import store_upload

ROOT = Path(__file__).parents[2]
PAGES = ("model", "filters", "plan", "distil", "compare", "learn", "class")
ANN, BEN = "a" * 16, "b" * 16
Visit = Callable[..., AppTest]
AsVisitor = Callable[[str], None]


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder of all runs of a server that serves a class."""
    monkeypatch.setenv("PDC_CLASS", "1")
    monkeypatch.setenv("PDC_CLASS_PIN", "314159")
    monkeypatch.setenv("PDC_RUNS", str(tmp_path / "runs"))
    (tmp_path / "runs").mkdir()
    return tmp_path / "runs"


@pytest.fixture
def visit(root: Path, monkeypatch: pytest.MonkeyPatch) -> Visit:
    """Open a page as a visitor, whose session has begun already."""
    monkeypatch.setattr("ui.visitors.given_cookie", lambda: "")

    def open_page(name: str, who: str = ANN, **query: str) -> AppTest:
        app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=120)
        app.session_state["class_visitor"] = who
        app.switch_page(str(ROOT / "pages" / f"{name}.py"))
        for key, value in query.items():
            app.query_params[key] = value
        return app.run()

    return open_page


@pytest.fixture
def as_visitor(root: Path, monkeypatch: pytest.MonkeyPatch) -> AsVisitor:
    """Say whose session the functions of the app are called in."""
    session: dict[str, str] = {}
    monkeypatch.setattr("ui.classroom.visitor", lambda: session["who"])
    monkeypatch.setattr("ui.class_queue.visitor", lambda: session["who"])
    session["who"] = ANN
    return lambda who: session.update(who=who)


def sent(app: AppTest) -> str:
    """All that a page sends to the browser, as one text."""
    return tree(app._tree)


def tree(node: object) -> str:
    children = getattr(node, "children", {})
    return "\n".join([str(getattr(node, "proto", "")), *(tree(child) for child in children.values())])


def images(n: int = 40, size: int = 8) -> bytes:
    rng = np.random.default_rng(0)
    content = io.BytesIO()
    x = rng.integers(0, 255, (n, size, size, 1), dtype=np.uint8)
    y = np.arange(n) % 10
    np.savez_compressed(content, x_train=x, y_train=y, x_test=x, y_test=y)
    return content.getvalue()


def finished_run(finished: Path, root: Path, who: str, name: str = "20260101-100000-distil-aaaa") -> Path:
    folder = root / "class" / who / name
    shutil.copytree(finished, folder)
    return folder


# Paths: in addresses, forms, run files, uploads.


def test_no_address_opens_a_path_of_the_server_or_tells_whether_it_is_there(visit: Visit, root: Path) -> None:
    secret = root.parent / "secret"
    secret.mkdir()
    (secret / "data.npz").write_bytes(images())
    pdc.save(pdc.load_model("resnet20", data="digits"), secret / "folded.safetensors")
    (secret / "run.yaml").write_text("kind: distil\n")
    there, gone = secret / "data.npz", secret / "none.npz"
    weights, odd = secret / "folded.safetensors", "../../../secret/folded.safetensors"
    for query in (
        {"data": f"npz:{there}"},
        {"data": f"npz:{gone}"},
        {"data": "npz:../../secret/data.npz"},
        {"data": f"npz:~{there}"},
        {"data": f"npz:file://{there}"},
        {"data": f"folder:{secret}"},
        {"data": "folder:/etc@32"},
        {"data": "digits", "weights": str(weights)},
        {"data": "digits", "weights": odd},
        {"data": "digits", "weights": "x/../../../secret/folded.safetensors"},
        {"data": "digits", "weights": "/dev/zero"},
        {"data": "digits", "weights": "\\\\host\\share\\w.pt"},
        {"data": "digits", "weights": "a\x00b"},
        {"data": "digits", "model": f"{secret}:make"},
        {"data": "digits", "model": "os:system"},
        {"data": "digits", "model": "timm:resnet18"},
        {"data": "imagenet", "model": "vgg19"},
    ):
        app = visit("plan", **query)
        assert not app.exception, query
        (said,) = [error.value for error in app.error]
        assert any(words in said for words in ("in this class", "In a class", "was not started with")), query
        assert str(root.parent) not in said, query
        assert str(root.parent) not in sent(app), query
        assert not app.metric
    known, unknown = (visit("plan", data=f"npz:{path}").error[0].value for path in (there, gone))
    assert known.replace("data.npz", "X") == unknown.replace("none.npz", "X")


@pytest.mark.parametrize("page", PAGES)
def test_no_page_sends_a_path_of_the_server(page: str, visit: Visit, root: Path, finished: Path) -> None:
    folder = finished_run(finished, root, ANN)
    stored = root / "class" / ANN / ".uploads" / f"{'0' * 64}.npz"
    stored.parent.mkdir()
    stored.write_bytes(images())
    failed = folder.with_name("20260102-100000-distil-bbbb")
    shutil.copytree(folder, failed)
    (failed / "report.json").unlink()
    status = {
        "state": "failed",
        "message": f"{failed}/last.ckpt cannot be written: no space.",
        "heartbeat": time.time(),
    }
    (failed / "status.json").write_text(json.dumps(status))
    for run in (folder.name, failed.name):
        app = visit(page, data=f"npz:.uploads/{'0' * 64}.npz", weights="random", run=run)
        assert not app.exception
        answer = sent(app)
        for path in (str(root.parent), str(ROOT), os.path.expanduser("~")):
            assert path not in answer, page
        assert str(root) not in urlencode(dict(app.query_params.items()), doseq=True)


def test_runs_are_written_and_read_without_a_path(
    as_visitor: AsVisitor, root: Path, monkeypatch: pytest.MonkeyPatch, finished: Path
) -> None:
    from ui.runs import launching

    launched: list[tuple[Path, Path]] = []
    monkeypatch.setattr(launching, "launch", lambda folder, home: launched.append((folder, home)))
    monkeypatch.setattr(launching, "session_runs", set)
    finished_run(finished, root, ANN)
    data = f"npz:{store_upload(images(), 'npz')}"
    spec = RunSpec(
        keep=0.5, data=data, weights="random", teacher=None, training=Training(epochs=1), allow_weak_teacher=True
    )
    folder = launching.start_run(spec, 10.0)
    assert folder is not None
    assert launched == [(folder, root / "class" / ANN)]
    text = (folder / "run.yaml").read_text()
    assert str(root) not in text
    assert read_spec(folder).data == data
    taught = spec.model_copy(update={"data": "digits", "weights": "shipped", "teacher": "20260101-100000-distil-aaaa"})
    shutil.rmtree(folder)
    second = launching.start_run(taught, 10.0)
    assert second is not None
    assert read_spec(second).teacher == "20260101-100000-distil-aaaa"


def test_a_worker_reads_the_files_of_its_visitor(as_visitor: AsVisitor, root: Path) -> None:
    from pdc_core.runs import launch, read_run

    data = f"npz:{store_upload(images(), 'npz')}"
    home = classroom.prepare_own_root()
    located = RunSpec(kind="teach", data=classroom.located_data(data), training=Training(epochs=1, batch_size=16))
    folder = create_run(located, home)
    text = (folder / "run.yaml").read_text().replace(str(home.resolve()) + "/", "")
    (folder / "run.yaml").write_text(text)
    launch(folder, home)
    deadline = time.monotonic() + 100
    while (run := read_run(folder)).state in ("queued", "running") and time.monotonic() < deadline:
        time.sleep(0.3)
    assert run.state == "done", (folder / "worker.log").read_text()
    for file in folder.iterdir():
        if file.name not in ("worker.log",):
            assert str(root).encode() not in file.read_bytes(), file.name
    assert (root / "class" / ".queue.lock").exists()


def test_a_teacher_is_a_run_of_ones_own_or_known_by_name(as_visitor: AsVisitor, root: Path) -> None:
    base = RunSpec(keep=0.5)
    for teacher in ("resnet56:published", "resnet20", "20260101-100000-distil-aaaa"):
        classroom.check_run(base.model_copy(update={"teacher": teacher}), 1.0, ["20260101-100000-distil-aaaa"])
    for teacher in (
        "/etc",
        f"resnet20:{root}/x.pt",
        f"../{BEN}/20260101-100000-distil-bbbb",
        "~",
        "timm:resnet18:timm",
        ".",
    ):
        with pytest.raises(pdc.PDCError, match="cannot teach in a class"):
            classroom.check_run(base.model_copy(update={"teacher": teacher}), 1.0, [])


def test_a_sentence_loses_its_paths(as_visitor: AsVisitor, root: Path) -> None:
    own = root / "class" / ANN
    said = f"{own}/.uploads/x.npz and /etc/ssl/key.pem, '/srv/a b', C:\\Users\\me\\f.pt: see https://a.org/b/c and 1/2."
    public = classroom.public(said)
    assert public.startswith(".uploads/x.npz and key.pem,")
    assert str(root) not in public
    assert "Users" not in public
    assert "https://a.org/b/c" in public
    assert public.endswith("1/2.")


# Visitors.


def test_a_cookie_is_known_only_with_its_signature(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cookie = visitors.signed(ANN)
    assert visitors.named_by(cookie) == ANN
    for wrong in (
        ANN,
        cookie[:-1] + ("0" if cookie[-1] != "0" else "1"),
        cookie.replace(ANN, BEN),
        "",
        "../../x." + "0" * 64,
    ):
        assert visitors.named_by(wrong) is None
    assert (root / "class" / ".secret").stat().st_mode & 0o077 == 0
    monkeypatch.setenv("PDC_RUNS", str(root / "other"))
    assert visitors.named_by(cookie) is None  # another server's secret


def test_runs_of_others_are_neither_listed_nor_opened_by_a_link(visit: Visit, root: Path, finished: Path) -> None:
    folder = finished_run(finished, root, BEN)
    for page in ("distil", "compare"):
        app = visit(page, ANN, data="digits", run=folder.name)
        assert not app.exception
        assert folder.name not in "".join(str(box.options) for box in app.selectbox)
        assert f"/{BEN}" not in sent(app)
    app = visit("plan", ANN, data="digits", weights=f"{folder.name}/folded.safetensors")
    assert "not one of your uploads or runs" in app.error[0].value
    assert not visit("compare", BEN, data="digits", run=folder.name).warning


def test_uploads_of_others_cannot_be_opened_by_their_name(as_visitor: AsVisitor) -> None:
    name = store_upload(images(), "npz")
    assert Path(classroom.located(name)).is_file()
    as_visitor(BEN)
    with pytest.raises(pdc.PDCError, match="not one of your uploads"):
        classroom.located(name)


# Uploads and disk.


def test_uploads_are_named_by_their_content(as_visitor: AsVisitor, root: Path) -> None:
    for kind in ("../../x", "npz/../../x", "exe", "", "yaml", "py", "npz\x00"):
        with pytest.raises(pdc.PDCError, match="cannot be read; upload one that ends in"):
            store_upload(b"x", kind)
    name = store_upload(images(), "npz")
    assert classroom._OWN_FILE.fullmatch(name)
    assert [path.name for path in (root / "class" / ANN / ".uploads").iterdir()] == [Path(name).name]


def test_uploads_that_are_too_large_or_unpack_to_too_much_are_refused_and_not_kept(
    as_visitor: AsVisitor, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        classroom, "LIMITS", classroom.Limits(upload=60_000, unpacked=100_000, pixels=8, disk=90_000, left=0)
    )
    with pytest.raises(pdc.PDCError, match="uploads may have"):
        store_upload(bytes(60_001), "npz")
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x_train.npy", bytes(3_000_000))
    with pytest.raises(pdc.PDCError, match="once it is unpacked"):
        store_upload(bomb.getvalue(), "npz")
    with pytest.raises(pdc.PDCError, match="9x9 pixels; in a class, 8x8"):
        store_upload(images(20, 9), "npz")
    with pytest.raises(pdc.PDCError, match="not a zip archive"):
        store_upload(b"\x80\x02}q\x00.", "pt")
    assert not list((root / "class" / ANN).rglob("*.npz"))
    (root / "class" / ANN / "big").write_bytes(bytes(85_000))
    with pytest.raises(pdc.PDCError, match="Your uploads and runs take up"):
        store_upload(images(60), "npz")
    with pytest.raises(pdc.PDCError, match="Your uploads and runs take up"):
        classroom.check_space(root / "class" / ANN, 10_000)


def test_a_network_that_is_not_offered_cannot_be_uploaded(as_visitor: AsVisitor, tmp_path: Path) -> None:
    model, data = pdc.load_model("resnet20", data="digits"), pdc.load_data("digits")
    pdc.save(model, tmp_path / "net.safetensors")
    content = (tmp_path / "net.safetensors").read_bytes()
    assert store_upload(content, "safetensors")
    other = content.replace(b'\\"model\\": \\"resnet20\\"', b'\\"model\\": \\"wide_res\\"')
    assert other != content
    with pytest.raises(pdc.PDCError, match="'wide_res' is not offered in this class"):
        store_upload(other, "safetensors")
    assert data.shape == (1, 8, 8)


def test_what_a_visitor_left_is_removed_after_a_day(as_visitor: AsVisitor, root: Path) -> None:
    store_upload(images(), "npz")
    as_visitor(BEN)
    store_upload(images(), "npz")
    now = time.time()
    (root / "class" / BEN / ".seen").touch()
    os.utime(root / "class" / ANN, (now - 25 * 3600,) * 2)
    (root / "class" / ".shared").mkdir()
    os.utime(root / "class" / ".shared", (0, 0))
    assert remove_expired(root / "class", now) == [ANN]
    assert (root / "class" / BEN / ".uploads").is_dir()
    assert (root / "class" / ".shared").is_dir()


# The queue.


def waiting(root: Path, who: str, name: str, state: str, since: float, **more: object) -> FileLock:
    folder = root / "class" / who / name
    folder.mkdir(parents=True)
    (folder / "status.json").write_text(json.dumps({"state": state, "queued_at": since, "heartbeat": since, **more}))
    lock = FileLock(folder / "worker.lock", thread_local=False)
    lock.acquire()
    _recent_queue.clear()
    return lock


def test_whoever_asked_first_is_first_and_one_run_each_is_in_the_queue(as_visitor: AsVisitor, root: Path) -> None:
    from ui.class_queue import admission, waiting_text

    held = [
        waiting(root, ANN, "20260101-000000-distil-0001", "queued", 30.0),
        waiting(root, BEN, "20260101-000000-distil-0002", "running", 10.0, eta_seconds=40.0),
        waiting(root, "c" * 16, "20250101-000000-distil-0003", "queued", 20.0),
    ]
    try:
        assert [place.visitor[0] for place in read_queue()] == ["b", "c", "a"]
        assert waiting_text(root / "class" / ANN / "20260101-000000-distil-0001") == (
            "2 before yours in the queue of the class, about 1 min 40 s"
        )
        with pytest.raises(pdc.PDCError, match="each visitor has one run in the queue"), admission():
            pass
        as_visitor("d" * 16)
        with admission():
            pass
    finally:
        for lock in held:
            lock.release()
    assert read_queue() == ()


def test_a_worker_waits_for_those_of_other_visitors_that_were_queued_before(root: Path) -> None:
    from pdc_core.runs.turn import Turn
    from pdc_core.runs.waiting import COMMON_QUEUE, waiting_before

    (root / "class").mkdir()
    (root / "class" / COMMON_QUEUE).touch()
    first = waiting(root, BEN, "20260109-000000-distil-0001", "queued", 10.0)
    second = waiting(root, ANN, "20260101-000000-distil-0002", "queued", 20.0)
    late, early = (
        root / "class" / who / name
        for who, name in ((ANN, "20260101-000000-distil-0002"), (BEN, "20260109-000000-distil-0001"))
    )
    assert waiting_before(late) == 1
    assert waiting_before(early) == 0
    with Turn(early, lambda: None, lambda _: None):
        assert (root / "class" / ".queue.lock").exists()
    first.release()
    second.release()
    assert waiting_before(late) == 0


def test_a_run_that_would_take_too_long_is_refused_and_one_that_does_is_asked_to_finish(
    as_visitor: AsVisitor, root: Path
) -> None:
    with pytest.raises(pdc.PDCError, match="takes about 20 minutes; in a class, a run may take 15"):
        classroom.check_run(RunSpec(keep=0.5), 1200.0, [])
    with pytest.raises(pdc.PDCError, match="takes about 60 minutes"):
        classroom.check_run(RunSpec(keep=0.5, budget=3600.0), 1.0, [])
    running = waiting(root, BEN, "20260101-000000-distil-0002", "running", 10.0)
    since: dict[Path, float] = {}
    assert end_overdue(since, 0.0) == []
    assert end_overdue(since, 2000.0) == []  # nobody waits
    queued = waiting(root, ANN, "20260101-000000-distil-0001", "queued", 30.0)
    assert [folder.name for folder in end_overdue(since, 2000.0)] == ["20260101-000000-distil-0002"]
    assert (root / "class" / BEN / "20260101-000000-distil-0002" / "request").read_text() == "finish"
    running.release()
    queued.release()


# The lecturer.


def signed_in(visit: Visit, who: str = ANN) -> AppTest:
    app = visit("class", who)
    app.text_input[0].set_value("314159")
    next(button for button in app.button if button.label == "Sign in").click().run()
    assert not app.exception
    return app


def test_the_pin_opens_the_lecturers_tools_and_a_wrong_one_does_not(visit: Visit, root: Path) -> None:
    app = visit("class", ANN)
    held = waiting(root, BEN, "20260101-000000-distil-0002", "running", 10.0, eta_seconds=40.0)
    for _ in range(6):
        app.text_input[0].set_value("271828")
        next(button for button in app.button if button.label == "Sign in").click().run()
        assert "Stop" not in [button.label for button in app.button]
    assert "Too many wrong PINs" in app.error[0].value
    app = signed_in(visit, "e" * 16)
    next(button for button in app.button if button.label == "Stop").click().run()
    assert (root / "class" / BEN / "20260101-000000-distil-0002" / "request").read_text() == "stop"
    held.release()
    assert "Stop" not in [button.label for button in visit("class", BEN).button]


def test_the_lecturer_sets_network_plan_and_step_for_all(visit: Visit, root: Path) -> None:
    lecturer = signed_in(visit, "f" * 16)
    lecturer.selectbox(key="preset_page").set_value("Learn").run()
    lecturer.selectbox(key="preset_step").set_value(lecturer.selectbox(key="preset_step").options[2]).run()
    next(button for button in lecturer.button if button.label == "Set for all").click().run()
    assert not lecturer.exception
    link = next(code.value for code in lecturer.code if "/learn?" in code.value)
    assert "step=" in link
    fresh = visit("model", BEN)
    assert fresh.title[0].value == "Learn"
    linked = visit("plan", BEN, data="digits")
    assert linked.title[0].value == "Plan"


def test_a_file_of_the_lecturers_opens_for_all_and_trains_for_them(
    as_visitor: AsVisitor, root: Path, finished: Path
) -> None:
    from ui.preset import make_preset

    folder = finished_run(finished, root, ANN)
    preset = make_preset("Plan", {"data": "digits", "weights": f"{folder.name}/folded.safetensors"})
    assert preset.query["weights"].startswith(".uploads/")
    as_visitor(BEN)
    with pytest.raises(pdc.PDCError):
        classroom.located(f"{folder.name}/folded.safetensors")
    assert Path(classroom.located(preset.query["weights"])).is_relative_to(root / "class" / BEN)


def test_without_a_class_paths_are_as_they_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("PDC_CLASS", raising=False)
    assert classroom.located("/any/w.pt") == "/any/w.pt"
    assert classroom.located_data("folder:/any") == "folder:/any"
    assert classroom.public("/any/w.pt") == "/any/w.pt"
    classroom.check_run(RunSpec(keep=0.5), 1e9, [])
    assert torch.is_tensor(pdc.load_data("digits").train.images)
