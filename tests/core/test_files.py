"""Files are written whole or not at all: whatever fails, and however many write at once."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from pdc_core.errors import PDCError
from pdc_core.files import replacing, unfinished, write_whole


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("durable", [False, True])
def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path: Path, durable: bool) -> None:
    for content in ("größer", b"\x00\xff"):
        write_whole(tmp_path / "file", content, durable=durable)
        assert (tmp_path / "file").read_bytes() == (content if isinstance(content, bytes) else content.encode())
    assert names(tmp_path) == ["file"]


def test_a_durable_write_flushes_the_file_before_the_rename_and_the_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def flush(handle: int) -> None:
        done.append("folder" if os.path.isdir(f"/proc/self/fd/{handle}") else "file")
        fsync(handle)

    def rename(path: Path, target: Path) -> Path:
        done.append("rename")
        return replace(path, target)

    monkeypatch.setattr("os.fsync", flush)
    monkeypatch.setattr(Path, "replace", rename)
    write_whole(tmp_path / "file", "x", durable=True)
    assert done == ["file", "rename", "folder"]
    write_whole(tmp_path / "file", "x")
    assert done[3:] == ["rename"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_and_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    write_whole(tmp_path / "file", "old")

    def no_space(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*(("os.fsync", no_space) if step == "fsync" else (Path, "replace", no_space)))
    with pytest.raises(PDCError, match=r"file cannot be written: No space left on device\. Free some space"):
        write_whole(tmp_path / "file", "new", durable=True)
    with pytest.raises(PDCError, match=r"No space left on device\. Buy a disk\.$"):
        write_whole(tmp_path / "file", "new", durable=True, advice="Buy a disk.")
    assert names(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "old"


def test_a_folder_that_is_not_there_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(PDCError, match="cannot be written: No such file"):
        write_whole(tmp_path / "nowhere" / "file", "x")


@pytest.mark.parametrize("error", [RuntimeError("stop"), KeyboardInterrupt()])
def test_an_error_while_writing_keeps_the_old_file_and_is_not_hidden(tmp_path: Path, error: BaseException) -> None:
    write_whole(tmp_path / "file", "old")

    def fail() -> None:
        with replacing(tmp_path / "file") as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(type(error)):
        fail()
    assert names(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "old"


def test_the_previous_file_is_kept_where_asked(tmp_path: Path) -> None:
    for content in "123":
        with replacing(tmp_path / "last", previous=tmp_path / "previous") as temporary:
            temporary.write_text(content)
    assert {name: (tmp_path / name).read_text() for name in names(tmp_path)} == {"last": "3", "previous": "2"}


def test_files_of_killed_writers_are_found_newest_first_and_no_others(tmp_path: Path) -> None:
    for age, name in enumerate([".a.part", ".a.1f.part", ".ab.part", "a.part", ".a.b", "a"]):
        (tmp_path / name).write_text("")
        os.utime(tmp_path / name, ns=(age, age))
    assert [path.name for path in unfinished(tmp_path / "a")] == [".a.1f.part", ".a.part"]


def test_threads_that_write_one_file_at_once_never_show_a_part_of_it(tmp_path: Path) -> None:
    contents = [bytes([i]) * 300_000 for i in range(4)]
    write_whole(tmp_path / "file", contents[0])
    errors: list[Exception] = []

    def write(content: bytes) -> None:
        try:
            for _ in range(20):
                write_whole(tmp_path / "file", content)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert (tmp_path / "file").read_bytes() in contents
    for thread in threads:
        thread.join()
    assert not errors
    assert names(tmp_path) == ["file"]
