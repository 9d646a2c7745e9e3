"""What people write by hand: a key that is there twice, a yes where a number stands, and errors that name the line."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

import pdc_core as pdc
from pdc_core.handwritten import parse_json, parse_yaml
from pdc_core.runs import RunSpec
from pdc_core.train import Training

TWICE = {
    "a key": "a: 1\nb: 2\na: 3\n",
    "a key within": "training:\n  epochs: 1\n  lr: 0.1\n  epochs: 2\n",
    "a block": "training: {epochs: 1}\nkeep: 0.5\ntraining: {lr: 0.1}\n",
}


@pytest.mark.parametrize("name", TWICE)
def test_a_key_that_is_there_twice_is_refused_with_its_line(name: str) -> None:
    line = TWICE[name].rstrip().count("\n") + 1
    with pytest.raises(pdc.PDCError, match=rf"^line {line}: '(a|epochs|training)' is there twice$"):
        parse_yaml(TWICE[name])
    with pytest.raises(pdc.PDCError, match="'conv1' is there twice"):
        pdc.Plan.from_json('{"counts": {"conv1": 3, "conv1": 5}}')
    with pytest.raises(pdc.PDCError, match="line 3: 'conv1' is there twice"):
        pdc.Plan.from_json("counts:\n  conv1: 3\n  conv1: 5\n")


def test_anchors_merges_and_equal_keys_of_other_blocks_are_read() -> None:
    text = "base: &base {lr: 0.1, epochs: 2}\none: {<<: *base, epochs: 3}\ntwo: {<<: *base, epochs: 4}\n"
    found = parse_yaml(text)
    assert found["one"] == {"lr": 0.1, "epochs": 3}
    assert found["two"]["epochs"] == 4
    assert parse_json('{"a": {"x": 1}, "b": {"x": 2}}') == {"a": {"x": 1}, "b": {"x": 2}}


@pytest.mark.parametrize(
    ("text", "said"),
    [("a: [1", "line 2: "), ("a:\n\tb: 1", "line 2: "), ("!!python/object/apply:os.getcwd []", "line 1: ")],
)
def test_what_is_no_yaml_is_said_with_its_line(text: str, said: str) -> None:
    with pytest.raises(pdc.PDCError, match=said):
        parse_yaml(text)


NUMBERS: dict[str, Any] = {
    "a count": lambda: pdc.Plan(counts={"conv1": True}),
    "a bound": lambda: pdc.Plan(bounds={"conv1": (True, 4)}),
    "a ratio": lambda: RunSpec(keep=True),
    "a seed": lambda: RunSpec(keep=0.5, seed=True),
    "epochs": lambda: Training(epochs=True),
    "milestones": lambda: Training(milestones=(0.5, True)),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_yes_and_no_are_no_numbers(name: str) -> None:
    with pytest.raises(ValidationError, match="holds yes or no"):
        NUMBERS[name]()


def test_yes_and_no_are_read_where_they_are_asked_for() -> None:
    assert Training(fold_when_tied=True, merges=None).fold_when_tied
    assert RunSpec(keep=0.5, allow_weak_teacher=True).allow_weak_teacher
    with pytest.raises(pdc.PDCError, match="keep=True is not a keep ratio"):
        pdc.Plan.uniform(pdc.trace(pdc.load_model("resnet20"), pdc.load_data("digits").example), True)


@pytest.mark.parametrize("seed", [-1, 2**32, True, 0.5, "1"])
def test_what_is_no_seed_is_refused_before_anything_is_clustered(seed: Any) -> None:
    model = pdc.load_model("resnet20")
    graph = pdc.trace(model, pdc.load_data("digits").example)
    with pytest.raises(pdc.PDCError, match=r"seed=.*: give a whole number from 0 to 4,294,967,295"):
        pdc.assign(model, graph, pdc.Plan.uniform(graph, 0.5), seed=seed)
    with pytest.raises(ValidationError):
        RunSpec(keep=0.5, seed=2**32)
