"""What the page says of a network that hardly beats guessing: which run trained it, or that nobody knows."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from pdc_core.models.load import RANDOM, SHIPPED
from pdc_core.runs.spec import read_spec, write_spec
from ui.network import load_network
from ui.origin import origin_sentence, run_behind


@pytest.mark.parametrize(
    ("weights", "said"),
    [(RANDOM, "Its weights are random"), (SHIPPED, "were trained on digits, so something here is wrong")],
)
def test_weights_by_name_say_where_they_are_from(weights: str, said: str) -> None:
    network = load_network("resnet20", "digits", weights)
    assert run_behind(network) is None
    assert said in origin_sentence(network)


def test_of_a_file_from_elsewhere_nothing_is_known(tmp_path: Path) -> None:
    network = load_network("resnet20", "digits", RANDOM)
    torch.save(network.module.state_dict(), tmp_path / "mine.pt")
    found = load_network("resnet20", "digits", str(tmp_path / "mine.pt"))
    assert run_behind(found) is None
    assert origin_sentence(found).startswith("Nothing is known of these weights.")


def test_the_run_that_made_the_weights_is_named_with_its_length_and_its_data(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / finished.name
    shutil.copytree(finished, folder)
    network = load_network("resnet20", "digits", str(folder / "folded.safetensors"))
    run = run_behind(network)
    assert run is not None
    assert run.id == finished.name
    assert "made these weights on this very data, in 1 epoch: train longer" in origin_sentence(network)
    write_spec(folder, read_spec(folder).model_copy(update={"data": "clothing"}))
    assert "made these weights on other data, clothing." in origin_sentence(network)
    (folder / "run.yaml").write_text("kind: teach\nformat: 99\n")
    assert run_behind(network) is None, "a run of a later version: the network is open all the same"
