"""The command line as a person meets it: results on stdout, one line of error, exit codes that mean something."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock

import pdc_core as pdc
from pdc_core.runs import FolderRecorder, RunSpec, create_run, read_spec

ROOT = Path(__file__).resolve().parents[2]


def test_distil_prints_the_promised_object_and_nothing_else_on_stdout(pdc_command, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    code, out, err = pdc_command(
        "distil", "--model", "resnet20", "--data", "digits", "--keep", 0.25, "--epochs", 1, "--batch-size", 256,
        "--seed", 0, "--out", folder, "--json",
    )  # fmt: skip
    assert code == 0
    report = json.loads(out)
    for name in ("before", "folded"):
        assert set(report[name]) == {"test_accuracy", "val_accuracy", "macs", "params"}
        assert 0 <= report[name]["test_accuracy"] <= 1
    assert report["same_predictions"] is True
    assert report["max_abs_diff"] < 1e-3
    assert report["seconds"] > 0
    assert 1 - report["folded"]["macs"] / report["before"]["macs"] >= 0.74
    assert "steps" in err
    assert json.loads((folder / "report.json").read_text())["folded"]["macs"] == report["folded"]["macs"]
    assert pdc.load(folder / "folded.safetensors")
    again, _, said = pdc_command("distil", "--out", folder)
    assert again == 1
    assert "holds a run already" in said


def test_distil_ends_with_a_table(pdc_command, tmp_path: Path) -> None:
    code, out, _ = pdc_command(
        "distil",
        "--keep",
        0.5,
        "--set",
        "layer1.0.conv1=4",
        "--epochs",
        1,
        "--batch-size",
        512,
        "--out",
        tmp_path / "r",
    )
    assert code == 0
    for word in (
        "before",
        "reconstructed",
        "folded",
        "accuracy, test",
        "MACs",
        "latency, batch 64",
        "differ by at most",
    ):
        assert word in out
    plan = pdc.read_run(tmp_path / "r").spec.plan
    assert plan is not None
    assert plan.counts["layer1.0.conv1"] == 4
    assert plan.counts["layer1.1.conv1"] == 8


def test_layers_prints_groups_macs_and_reasons_without_the_data(
    pdc_command,
) -> None:
    code, out, _ = pdc_command("layers", "resnet56", "--data", "cifar10", "--json")
    assert code == 0
    content = json.loads(out)
    assert content["macs"] == 125_485_696
    assert content["residual"] == "internal"
    assert sum(g["macs"] for g in content["groups"]) == content["macs"]
    free = [g for g in content["groups"] if g["frozen"] is None]
    assert len(free) == 27
    assert all("conv1" in g["name"] for g in free)
    code, out, _ = pdc_command("layers", "resnet56", "--data", "cifar10")
    assert code == 0
    assert "residual sum" in " ".join(out.split())
    assert "27 of" in out
    reach = content["reach"]
    assert 0 < reach["filters"] < reach["macs"] < 1  # only the trunk of the residual blocks stays
    assert f"{reach['filters']:.0%} of the hidden filters can be merged, and at most {reach['macs']:.0%}" in out


def test_list_shows_runs_in_words_and_json(pdc_command, tmp_path: Path) -> None:
    code, out, _ = pdc_command("list", "--root", tmp_path)
    assert code == 0
    assert "No runs" in out
    pdc.create_run(pdc.RunSpec(kind="teach"), root=tmp_path)
    code, out, _ = pdc_command("list", "--root", tmp_path, "--json")
    assert json.loads(out)[0]["state"] == "queued"


def npz(path: Path, **change: object) -> Path:
    arrays = {
        "x_train": np.zeros((20, 8, 8), np.uint8)[..., None],
        "y_train": np.arange(20) % 2,
        "x_test": np.zeros((4, 8, 8, 1), np.uint8),
        "y_test": np.array([0, 1, 0, 1]),
    }
    np.savez(path, **{**arrays, **change})  # type: ignore[arg-type]
    return path


def test_wrong_input_is_one_line_exit_code_1_and_nothing_is_written(
    pdc_command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.json").write_text(json.dumps({"counts": {"features.0": 3}, "sizes": {"features.0": 64}}))
    (tmp_path / "broken.json").write_text("{")
    cut = npz(tmp_path / "cut.npz")
    cut.write_bytes(cut.read_bytes()[:200])
    wide = npz(tmp_path / "labels.npz", y_test=np.array([0, 1, 0, 9]))
    (tmp_path / "pickle.pt").write_bytes(b"\x80\x04\x95cos\nsystem\n")
    files = sorted(tmp_path.iterdir())
    for args, said in (
        (("distil", "--plan", "other.json"), "no group 'features.0'"),
        (("distil", "--plan", "broken.json"), "neither JSON nor YAML"),
        (("distil", "--plan", "missing.json"), "cannot be read"),
        (("distil", "--keep", "0"), "above 0 and at most 1"),
        (("distil", "--set", "layer1.0.conv1=0"), "allowed are 1 to 16"),
        (("distil", "--set", "layer1.0.conv1=17"), "allowed are 1 to 16"),
        (("distil", "--set", "layer9=1"), "no group 'layer9'"),
        (("distil", "--set", "layer1"), "GROUP=K"),
        (("distil", "--keep", "0.5", "--plan", "other.json"), "not both"),
        (("distil", "--epochs", "0"), "--epochs"),
        (("distil", "--schedule", "sudden"), "--schedule"),
        (("distil", "--data", f"npz:{cut}"), "cut.npz"),
        (("distil", "--data", f"npz:{wide}", "--weights", "pickle.pt"), "labels"),
        (("distil", "--model", "resnet21"), "resnet21"),
        (("distil", "--weights", "pickle.pt"), "pickle.pt"),
        (("distil", "--weights", "nowhere.pt"), "nowhere.pt"),
        (("layers", "resnet20", "--residual", "none"), "internal, shared, gather"),
        (("run", "."), "not a run folder"),
        (("stop", "."), "not a run folder"),
    ):
        code, out, err = pdc_command(*args)
        assert (code, out) == (1, ""), args
        assert said in err, (args, err)
        assert err.startswith("error: ")
        assert "Traceback" not in err
    assert sorted(tmp_path.iterdir()) == files


def test_names_of_classes_travel_from_the_file_into_the_network_of_a_run(pdc_command, tmp_path: Path) -> None:
    data = npz(tmp_path / "a.npz", classes=np.array(["cat", "dog"]))
    run = tmp_path / "run"
    code, _, said = pdc_command(
        "teach", "resnet20", "--data", f"npz:{data}", "--epochs", 1, "--batch-size", 16, "--out", run
    )
    assert code == 0, said
    info = pdc.model_info(pdc.load(run / "folded.safetensors"))
    assert info is not None
    assert info.classes == ("cat", "dog")


def test_random_weights_are_asked_for_by_name(tmp_path: Path, pdc_command) -> None:
    folder = tmp_path / "run"
    options = ("--weights", "random", "--allow-weak-teacher", "--epochs", 1, "--batch-size", 256)
    assert pdc_command("distil", *options, "--out", folder)[0] == 0
    assert read_spec(folder).weights == "random"


@pytest.mark.parametrize("method", ["pdc", "l1"])
def test_nothing_is_learnt_from_a_network_near_chance_unless_that_is_allowed(
    tmp_path: Path, pdc_command, method: str
) -> None:
    folder, recipe = tmp_path / "run", tmp_path / "recipe.yaml"
    words = ("distil", "--weights", "random", "--method", method, "--epochs", 1, "--batch-size", 512, "--out", folder)
    code, out, said = pdc_command(*words, "--json")
    assert (code, out) == (1, "")
    error = said.splitlines()[-1]
    assert re.search(r"names the class of \d+\.\d% of 360 validation images of digits; guessing names 10\.\d%", error)
    assert "pdc teach" in error
    assert "--allow-weak-teacher" in error
    assert not folder.exists(), "the same command can be given again"
    recipe.write_text(f"weights: random\nkeep: 0.5\nmethod: {method}\ntraining: {{epochs: 1, batch_size: 512}}\n")
    assert pdc_command("run", recipe, "--out", folder)[0] == 1
    assert not folder.exists()
    code, _, said = pdc_command(*words, "--allow-weak-teacher")
    assert code == 0, said
    assert read_spec(folder).allow_weak_teacher


def test_a_folder_that_was_there_stays_where_a_run_in_it_is_refused(tmp_path: Path, pdc_command) -> None:
    words = ("distil", "--weights", "random", "--epochs", 1, "--out")
    (tmp_path / "mine.txt").write_text("mine")
    code, _, said = pdc_command(*words, tmp_path)
    assert (code, "holds other files (mine.txt)" in said) == (1, True)
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]
    (tmp_path / "empty").mkdir()
    assert pdc_command(*words, tmp_path / "empty")[0] == 1
    run = pdc.read_run(tmp_path / "empty")
    assert (run.state, "--allow-weak-teacher" in run.status["message"]) == ("failed", True)


def test_a_mistyped_command_is_exit_code_2(pdc_command) -> None:
    assert pdc_command("distill")[0] == 2
    assert pdc_command("distil", "--sed", 1)[0] == 2


COMMANDS = (
    "app distil export finish layers list pause plan report resume rm run sensitivity show status stop sweep teach"
)


@pytest.mark.parametrize("command", COMMANDS.split())
def test_every_command_explains_itself_with_an_example(pdc_command, command: str) -> None:
    code, out, _ = pdc_command(command, "--help")
    assert code == 0
    said = " ".join(out.split())
    assert f"Example: pdc {command}" in said
    assert all((ROOT / recipe).is_file() for recipe in re.findall(r"recipes/\S+\.yaml", said))


def test_python_m_is_the_same_program() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pdc_core", "--help"], capture_output=True, text=True, timeout=60, check=True
    )
    assert "distil" in done.stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no disk that is always full")
def test_an_output_that_cannot_be_written_is_one_line() -> None:
    program = [sys.executable, "-m", "pdc_core", "plan", "--keep", "0.5"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(program, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr == "error: No space left on device; the output could not be written.\n"
    closed = subprocess.run(["sh", "-c", '"$@" >&-', "sh", *program], stderr=subprocess.PIPE, text=True, timeout=60)
    assert (closed.returncode, closed.stderr) == (0, "")


def test_the_life_of_a_run_on_the_command_line(pdc_command, tmp_path: Path) -> None:
    recipe, folder = tmp_path / "short.yaml", tmp_path / "run"
    recipe.write_text("kind: distil\nkeep: 0.5\ntraining: {epochs: 2, batch_size: 512, warmup: 1, clip: 5.0}\n")
    code, out, _ = pdc_command("run", recipe, "--dry-run", "--json")
    assert code == 0
    planned = json.loads(out)
    assert (planned["steps"], planned["images"]) == (6, 1077)
    assert planned["macs_after"] < planned["macs_before"] == 2_516_608
    assert planned["seconds"] >= 6 * planned["step_seconds"] > 0
    code, out, _ = pdc_command("distil", "--keep", "0.5", "--batch-size", "512", "--dry-run", "--json")
    assert (code, json.loads(out)["macs_after"]) == (0, planned["macs_after"])
    assert sorted(tmp_path.iterdir()) == [recipe]
    code, out, err = pdc_command("run", recipe, "--out", folder, "--json")
    assert code == 0
    assert json.loads(out)["folded"]["macs"] == planned["macs_after"]
    assert f"The run folder is {folder}" in err
    code, out, err = pdc_command("resume", folder, "--json")
    assert code == 0
    assert "nothing left to do" in err
    code, out, _ = pdc_command("status", folder, "--json")
    assert json.loads(out)["state"] == "done"
    assert json.loads(out)["step"] == 6
    code, out, _ = pdc_command("status", folder)
    assert "run is done, step 6 of 6" in out
    code, out, _ = pdc_command("show", folder, "--json")
    shown = json.loads(out)
    assert [e["epoch"] for e in shown["evaluations"]] == [1, 2]
    assert shown["asked"]["training"]["warmup"] == 1
    code, out, _ = pdc_command("show", folder)
    assert "Clusters: layer1.0.conv1 8" in out
    assert "run is done: distil resnet20 on digits, seed 0" in out
    assert "not the default: epochs 2, batch_size 512" in out
    code, out, err = pdc_command("pause", folder)
    assert code == 1
    assert "No worker trains" in err
    code, out, _ = pdc_command("rm", folder)
    assert code == 0
    assert not folder.exists()


@pytest.mark.parametrize(
    ("words", "request_file", "asked"),
    [
        (("finish",), "finish", "finish"),
        (("stop", "--keep"), "finish", "finish"),
        (("stop",), "stop", "stop"),
        (("pause",), "pause", "pause"),
    ],
)
def test_requests_reach_the_worker(
    words: tuple[str, ...], request_file: str, asked: str, pdc_command, tmp_path: Path
) -> None:
    folder = create_run(RunSpec(keep=0.5), root=tmp_path)
    with FileLock(folder / "worker.lock"):  # as its worker would hold it
        code, out, _ = pdc_command(words[0], folder, *words[1:], "--json")
    assert (code, json.loads(out)["requested"]) == (0, asked)
    assert (folder / "request").read_text() == request_file
    assert FolderRecorder(folder).requested() == asked


def test_a_request_of_an_earlier_version_is_understood(tmp_path: Path) -> None:
    (tmp_path / "request").write_text("keep\n")
    assert FolderRecorder(tmp_path).requested() == "finish"
    (tmp_path / "request").write_text("something else")
    assert FolderRecorder(tmp_path).requested() is None


def test_any_setting_can_be_given_and_a_wrong_one_is_named(pdc_command, tmp_path: Path) -> None:
    for setting, said in (
        ("optimiser=adamw", "expected NAME=VALUE; NAME is one of accelerator"),
        ("optimizer=adam", "--optimizer adam"),
        ("warmup=99", "Warmup of 99 epochs"),
        ("precision=16-mixed", "needs a GPU"),
    ):
        code, out, err = pdc_command(
            "teach", "resnet20", "--setting", setting, "--setting", "accelerator=cpu", "--out", tmp_path / "r"
        )
        assert (code, out) == (1, "")
        assert said in " ".join(err.split())


def test_a_folder_of_a_newer_version_is_named_and_not_listed(pdc_command, tmp_path: Path) -> None:
    folder = pdc.create_run(pdc.RunSpec(kind="teach"), root=tmp_path)
    (folder / "run.yaml").write_text("kind: teach\nformat: 3\nfuture: 1\n")
    code, _out, err = pdc_command("list", "--root", tmp_path)
    assert code == 0
    assert "newer version of PDC (format 3" in " ".join(err.split())
    code, _, err = pdc_command("run", folder)
    assert code == 1
    assert "upgrade" in err


def test_a_baseline_is_a_run_like_any_other(pdc_command, tmp_path: Path) -> None:
    asked = ("--keep", 0.25, "--epochs", 1, "--batch-size", 256, "--method", "l1")
    code, out, _ = pdc_command("distil", *asked, "--out", tmp_path / "run", "--json")
    report = json.loads(out)
    assert code == 0
    data, small = pdc.load_data("digits"), pdc.load(tmp_path / "run" / "folded.safetensors")
    assert pdc.evaluate(small, data, data.test).accuracy == report["folded"]["test_accuracy"]
    model = pdc.load_model("resnet20")
    graph = pdc.trace(model, torch.zeros(1, 1, 8, 8))
    assert report["folded"]["macs"] == pdc.plan_cost(graph, pdc.Plan.uniform(graph, 0.25)).macs
    code, out, _ = pdc_command("list", "--root", tmp_path, "--json")
    assert [row["kind"] for row in json.loads(out)] == ["l1"]
    code, _, err = pdc_command("distil", "--method", "magic")
    assert (code, "choose pdc, l1, fpgm, random" in err) == (1, True)
    assert "-fpgm-" in create_run(RunSpec(keep=0.5, method="fpgm"), root=tmp_path).name
