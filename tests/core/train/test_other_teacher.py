"""Another network as teacher: whose blocks are compared, what the report says, and which networks cannot teach."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

import pdc_core as pdc
from pdc_core.baselines import WHOLE, train_baseline
from pdc_core.losses import comparable_blocks, matched_blocks
from pdc_core.models import model_info
from pdc_core.train import Recorder, Stopped, check_teacher
from tests.training import DIGITS, FEW, GRAPH, MODEL, PLAN, Interrupted, same_networks

DEEPER = pdc.load_model("resnet32", "digits", weights="random", seed=3)
SETTINGS = pdc.Training(epochs=2, lr=0.02)


class Tells(Recorder):
    """Keeps what is said of a weak teacher, and lets the run go on."""

    said = ""

    def weak_teacher(self, sentence: str) -> None:
        self.said = sentence


def test_stages_of_another_depth_are_compared_at_their_ends() -> None:
    blocks = comparable_blocks(MODEL, GRAPH, {})
    x = torch.zeros(1, 1, 8, 8)
    assert matched_blocks(MODEL, DEEPER, blocks, x) == {f"layer{i}.2": f"layer{i}.4" for i in (1, 2, 3)}
    assert matched_blocks(MODEL, copy.deepcopy(MODEL), blocks, x) == {name: name for name in blocks}


def test_blocks_of_other_shapes_and_networks_without_blocks_are_left_out() -> None:
    class Wide(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer1 = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.Conv2d(16, 17, 1))
            self.layer2 = nn.Sequential(nn.Conv2d(17, 32, 3, stride=2, padding=1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer2(self.layer1(x))

    blocks, x = comparable_blocks(MODEL, GRAPH, {}), torch.zeros(1, 1, 8, 8)
    assert matched_blocks(MODEL, Wide().eval(), blocks, x) == {"layer2.2": "layer2.0"}
    assert matched_blocks(MODEL, nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).eval(), blocks, x) == {}


def test_the_teacher_in_use_is_checked_measured_and_named() -> None:
    told, before = Tells(), copy.deepcopy(DEEPER.state_dict())
    result = pdc.distil(MODEL, PLAN, FEW, teacher=DEEPER, settings=SETTINGS, recorder=told)
    report, measured = result.report, pdc.evaluate(DEEPER, FEW, FEW.test)
    assert "The network to learn from" in told.said
    assert report["teacher"]["name"] == "resnet32"
    assert report["teacher"]["test_accuracy"] == pytest.approx(measured.accuracy)
    assert report["before"]["test_accuracy"] > 0.9
    assert report["train_images"] == len(FEW.train)
    said = pdc.evaluate(result.folded, FEW, FEW.test).predictions
    assert report["folded"]["test_agreement"] == pytest.approx(float((said == measured.predictions).float().mean()))
    assert all(torch.equal(before[name], t) for name, t in DEEPER.state_dict().items())
    assert not DEEPER.layer1[0]._forward_hooks


def test_a_copy_of_the_network_as_teacher_is_the_network_itself() -> None:
    own = pdc.distil(MODEL, PLAN, FEW, settings=SETTINGS)
    other = pdc.distil(MODEL, PLAN, FEW, teacher=copy.deepcopy(MODEL), settings=SETTINGS)
    assert same_networks(own.folded, other.folded)
    assert "teacher" not in own.report


@pytest.mark.parametrize("method", ["l1", WHOLE])
def test_baselines_have_the_same_teacher_and_resume_bit_for_bit(method: str) -> None:
    def run(recorder: Recorder) -> pdc.Result:
        return train_baseline(method, MODEL, PLAN, FEW, teacher=DEEPER, settings=SETTINGS, recorder=recorder)

    whole, recorder = run(Tells()), Interrupted(4)
    with pytest.warns(UserWarning, match="nothing to learn"), pytest.raises(Stopped):
        run(recorder)
    with pytest.warns(UserWarning, match="nothing to learn"):
        assert same_networks(run(recorder).folded, whole.folded)
    assert whole.report["teacher"]["name"] == "resnet32"


def headless(classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, classes)).eval()


def noted(**changes: object) -> nn.Module:
    net, info = copy.deepcopy(DEEPER), model_info(DEEPER)
    assert info is not None
    net.card = replace(info, **changes)  # type: ignore[assignment, arg-type]
    return net


@pytest.mark.parametrize(
    ("teacher", "sentence"),
    [
        (headless(7), r"The teacher Sequential gives outputs of shape \(7,\), not logits of the 10 classes of digits"),
        (nn.Sequential(nn.Conv2d(3, 10, 1)).eval(), r"cannot take images \(1, 8, 8\) of digits"),
        (nn.Sequential(nn.Conv2d(1, 10, 1)).eval(), r"gives outputs of shape \(10, 8, 8\), not logits"),
        (noted(shape=(3, 32, 32)), r"The teacher resnet32 takes images \(3, 32, 32\), digits has \(1, 8, 8\)"),
        (noted(classes=("cat", "dog")), r"has 2 classes \(cat, dog\), digits has 10 \(0, 1, 2, ...\)"),
        (noted(new_head="fc"), r"are for other classes than the 10 of digits, so its last layer fc is new"),
    ],
)
def test_a_teacher_that_does_not_fit_is_refused_in_one_sentence(teacher: nn.Module, sentence: str) -> None:
    with pytest.raises(pdc.PDCError, match=sentence) as error:
        pdc.distil(MODEL, PLAN, FEW, teacher=teacher)
    assert "choose a teacher that was trained on digits" in str(error.value)


def test_classes_of_other_names_are_other_classes_and_numbers_are_no_names() -> None:
    names = tuple("abcdefghij")
    check_teacher(noted(classes=names), DIGITS)
    with pytest.raises(pdc.PDCError, match=r"has 10 classes \(a, b, c, ...\), digits has 10 \(k, l, m, ...\)"):
        check_teacher(noted(classes=names), replace(DIGITS, classes=tuple("klmnopqrst")))
