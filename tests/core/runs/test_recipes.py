"""The recipes for small images: what they promise to cut, and some of their steps on generated images of that shape."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import pdc_core as pdc
from pdc_core.baselines import train_baseline
from pdc_core.data import Split
from pdc_core.runs import read_spec
from tests.networks import counted_macs

RECIPES = Path(__file__).parents[3] / "recipes"
CUT = {"cifar10_resnet56": 0.608, "cifar10_resnet110": 0.615, "cifar100_resnet110": 0.552}  # at least


def generated(name: str, count: int) -> pdc.Data:
    """Random images that a network can neither learn nor tell from the data set by their shape."""
    info, generator = pdc.describe_data(name), torch.Generator().manual_seed(0)

    def split(n: int) -> Split:
        images = torch.randint(0, 256, (n, *info.shape), generator=generator, dtype=torch.uint8)
        return Split(images, torch.randint(0, len(info.classes), (n,), generator=generator))

    return pdc.Data(
        name, split(count), split(2), split(2), info.classes, info.shape, info.mean, info.std, shift=4, flip=True
    )


@pytest.fixture(autouse=True)
def _without_latencies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Timing three networks of 110 layers for the report would take longer than all else here."""
    monkeypatch.setattr("pdc_core.train.run.latency", lambda model, example: {1: 0.0})


def on_this_machine(training: pdc.Training) -> pdc.Training:
    """The recipe's settings but for length and what makes a GPU fast: compiling alone would take minutes here."""
    changes = {"epochs": 1, "batch_size": 4, "compile": False, "n_images": 4, "warmup": 0.0}
    return training.model_copy(update=changes)


@pytest.mark.parametrize("name", list(CUT))
def test_distil_recipes_cut_what_they_say_and_run(name: str) -> None:
    spec = read_spec(RECIPES / f"{name}.yaml").with_plan()
    network = pdc.load_model(spec.model, spec.data, weights=False)
    example = torch.zeros(1, 3, 32, 32)
    cut = 1 - pdc.plan_cost(pdc.trace(network, example), spec.plan).macs / pdc.cost(network, example).macs
    assert CUT[name] <= cut < CUT[name] + 0.02
    assert f"{100 * cut:.1f}% of the MACs cut" in (RECIPES / f"{name}.yaml").read_text()
    result = pdc.distil(network, spec.plan, generated(spec.data, 8), settings=on_this_machine(spec.training))
    assert result.history[-1]["step"] == 2
    assert counted_macs(result.folded, example) == pdc.plan_cost(pdc.trace(network, example), spec.plan).macs
    assert result.report["max_abs_diff"] < 1e-3 * max(1.0, float(result.folded(example).detach().abs().max()))


@pytest.mark.parametrize(
    "name",
    [f"{data}_{net}_teach" for data in ("cifar10", "cifar100") for net in ("resnet20", "resnet110")]
    + ["clothing_resnet20_teach", "fashion_mnist_resnet20_teach"],
)
def test_teach_recipes_run(name: str) -> None:
    spec = read_spec(RECIPES / f"{name}.yaml")
    network = pdc.load_model(spec.model, spec.data, weights=False)
    before = network.linear.weight.detach().clone()
    result = pdc.teach(network, generated(spec.data, 8), settings=on_this_machine(spec.training))
    assert result.history[-1]["step"] == 2
    assert not torch.equal(result.folded.linear.weight, before)
    assert torch.equal(network.linear.weight, before)


@pytest.mark.parametrize("name", ["cifar10_resnet20_whole", "cifar10_resnet20_whole_again"])
def test_recipes_that_prune_nothing_run_under_their_teacher(name: str) -> None:
    spec = read_spec(RECIPES / f"{name}.yaml")
    assert (spec.method, spec.teacher) == ("whole", "resnet56:published")
    network, guide = (pdc.load_model(each, spec.data, weights=False) for each in ("resnet20", "resnet56"))
    plan = pdc.Plan.uniform(pdc.trace(network, torch.zeros(1, 3, 32, 32)), 1.0)
    training = on_this_machine(spec.training)
    done = train_baseline(spec.method, network, plan, generated(spec.data, 8), teacher=guide, settings=training)
    assert done.history[-1]["step"] == 2
    assert pdc.cost(done.folded, torch.zeros(1, 3, 32, 32)).macs == done.report["before"]["macs"]
