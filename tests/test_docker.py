"""The Dockerfile, followed as far as that goes without an engine: what it copies serves without rights to write it."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def steps() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile, with lines that go on joined."""
    text = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in lines]


def of(instruction: str) -> list[str]:
    return [rest for name, rest in steps() if name == instruction]


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """The folder /app of the image: what the COPY steps put there."""
    app = tmp_path / "app"
    app.mkdir()
    for words in map(shlex.split, of("COPY")):
        *sources, target = words
        for source in sources:
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, app / target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / source, app / target)
    return app


def powerless() -> list[str]:
    """What a command begins with to run without the rights of root, which write where nobody may."""
    return ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []


def test_it_ends_as_a_user_without_rights_and_knows_whether_it_is_healthy() -> None:
    names = [name for name, _ in steps()]
    assert of("FROM") == ["python:3.12-slim"]
    assert names.index("USER") < names.index("CMD")
    assert of("USER") == ["pdc"]
    assert all("root" not in rest for name, rest in steps() if name in ("USER", "CMD"))
    assert len(of("HEALTHCHECK")) == 1
    installs = [line for line in of("RUN") if "pip install" in line]
    assert "download.pytorch.org/whl/cpu" in installs[0]
    assert "requirements.txt" in installs[0]


def test_nothing_that_is_copied_is_ignored() -> None:
    ignored = {line.strip() for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] != "#"}
    copied = [source for words in map(shlex.split, of("COPY")) for source in words[:-1]]
    assert not ignored & set(copied)
    assert all((ROOT / source).exists() for source in copied)


def test_its_package_can_be_installed_from_what_is_copied(image: Path, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-build-isolation", "--no-index", "--quiet"]
    done = subprocess.run(
        [*words, "--target", str(tmp_path / "site"), str(image)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / "pdc_core" / "weights" / "resnet20-digits.safetensors").is_file()
    assert (tmp_path / "site" / "bin" / "pdc").is_file()


def test_its_command_serves_and_its_health_check_passes(image: Path, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = str(probe.getsockname()[1])
    runs, home, tools = (tmp_path / name for name in ("runs", "home", "bin"))
    for folder in (runs, home, tools):
        folder.mkdir()
    (tools / "pdc").write_text(f'#!/bin/sh\nexec "{sys.executable}" -P -m pdc_core "$@"\n')
    (tools / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    for tool in tools.iterdir():
        tool.chmod(0o755)
    given = dict(pair.split("=", 1) for line in of("ENV") for pair in shlex.split(line))
    given |= {"PORT": port, "PDC_RUNS": str(runs), "HOME": str(home), "PYTHONPATH": str(image)}
    environment = {**os.environ, **given, "PATH": f"{tools}:{os.environ['PATH']}"}
    compiling = next(line for line in of("RUN") if "compileall" in line).split("&& ", 1)[1]
    subprocess.run(["/bin/sh", "-c", compiling], cwd=image, env=environment, check=True)
    assert list(image.glob("pages/__pycache__/*.pyc"))
    for path in (image, *image.rglob("*")):  # the image belongs to root, and its user is not root
        path.chmod(path.stat().st_mode & ~0o222)
    with pytest.raises(subprocess.CalledProcessError):
        subprocess.run([*powerless(), "touch", str(image / "written")], check=True, capture_output=True)
    check = of("HEALTHCHECK")[0].split("CMD ", 1)[1]
    command = [*powerless(), "/bin/sh", "-c", of("CMD")[0]]
    server = subprocess.Popen(command, cwd=image, env=environment, stderr=subprocess.PIPE)
    try:
        assert subprocess.run(["/bin/sh", "-c", check], env=environment, capture_output=True).returncode == 1
        deadline, healthy = time.monotonic() + 90, False
        while not healthy and time.monotonic() < deadline:
            assert server.poll() is None
            time.sleep(0.5)
            healthy = subprocess.run(["/bin/sh", "-c", check], env=environment, capture_output=True).returncode == 0
        assert healthy
    finally:
        server.terminate()  # as `docker stop` does
        said = server.communicate(timeout=30)[1].decode()
    assert "the lecturer's PIN: " in said
