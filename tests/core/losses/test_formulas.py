"""The losses, against torch's own cross entropy and a naive divergence."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

import pdc_core as pdc
from pdc_core.losses import (
    FEATURES,
    LOGITS,
    Recording,
    attention_transfer,
    comparable_blocks,
    dkd_loss,
    feature_loss,
    kd_loss,
    one_stage_loss,
)
from tests.networks import chain

Z = torch.Generator().manual_seed(0)
STUDENT, TEACHER = (torch.randn(5, 4, dtype=torch.float64, generator=Z) for _ in range(2))
Y = torch.tensor([0, 3, 1, 1, 2])


@given(temperature=st.floats(0.5, 20))
def test_guidance_is_the_divergence_written_out(temperature: float) -> None:
    total = 0.0
    for z_s, z_t in zip(STUDENT.tolist(), TEACHER.tolist(), strict=True):
        p_s, p_t = ([math.exp(v / temperature) for v in z] for z in (z_s, z_t))
        p_s, p_t = [v / sum(p_s) for v in p_s], [v / sum(p_t) for v in p_t]
        total += sum(t * math.log(t / s) for s, t in zip(p_s, p_t, strict=True))
    expected = temperature**2 * total / len(STUDENT)
    assert float(kd_loss(STUDENT, TEACHER, temperature)) == pytest.approx(expected)


def test_equal_logits_cost_nothing_and_no_gradient_reaches_the_teacher() -> None:
    student, teacher = STUDENT.clone().requires_grad_(), STUDENT.clone().requires_grad_()
    loss = kd_loss(student, teacher, 4.0)
    loss.backward()
    assert float(loss) == pytest.approx(0)
    assert teacher.grad is None


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_the_loss_is_the_weighted_sum_of_its_parts(alpha: float) -> None:
    loss, ce, kd = one_stage_loss(STUDENT, TEACHER, Y, 4.0, alpha)
    assert float(ce) == pytest.approx(float(F.cross_entropy(STUDENT, Y)))
    assert float(loss) == pytest.approx((1 - alpha) * float(ce) + alpha * float(kd))


def test_the_gradient_hardly_depends_on_the_temperature() -> None:
    grads = []
    for temperature in (50.0, 100.0):
        student = STUDENT.clone().requires_grad_()
        kd_loss(student, TEACHER, temperature).backward()
        assert student.grad is not None
        grads.append(student.grad)
    assert torch.allclose(grads[0], grads[1], rtol=0.1, atol=1e-3)


def test_guidance_splits_into_the_two_parts_of_the_decoupled_form() -> None:
    """KL = KL(b) + (1 - p_t,y) KL(q): with one image, beta = 1 - p_t,y gives ordinary guidance back."""
    for z_s, z_t, y in zip(STUDENT, TEACHER, Y, strict=True):
        beta = 1 - float(F.softmax(z_t / 4, dim=0)[y])
        whole = kd_loss(z_s[None], z_t[None], 4.0)
        assert float(dkd_loss(z_s[None], z_t[None], y[None], 4.0, beta)) == pytest.approx(float(whole))


def test_matching_is_the_error_relative_to_the_teacher() -> None:
    f_s, f_t = torch.randn(2, 3, 4, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    error = sum((a - b) ** 2 for a, b in zip(f_s.flatten().tolist(), f_t.flatten().tolist(), strict=True))
    assert float(feature_loss(f_s, f_t)) == pytest.approx(error / sum(b**2 for b in f_t.flatten().tolist()))


@pytest.mark.parametrize("name", FEATURES)
def test_features_in_half_precision_are_summed_in_single(name: str) -> None:
    """What a block puts out may be rounded to bfloat16; the sum over it is not."""
    draw = torch.Generator().manual_seed(4)
    teacher = torch.rand(8, 16, 28, 28, generator=draw)
    student = teacher + 0.3 * torch.randn(teacher.shape, generator=draw)
    halves = student.bfloat16().requires_grad_(), teacher.bfloat16()
    singles = halves[0].detach().float().requires_grad_(), halves[1].float()
    rough, exact = FEATURES[name](*halves), FEATURES[name](*singles)
    assert rough.dtype == torch.float32
    assert float(rough) == pytest.approx(float(exact), rel=1e-3)
    rough.backward()
    exact.backward()
    assert halves[0].grad is not None
    assert singles[0].grad is not None
    assert float(F.cosine_similarity(halves[0].grad.float().flatten(), singles[0].grad.flatten(), dim=0)) > 0.9999
    assert float(halves[0].grad.float().norm()) == pytest.approx(float(singles[0].grad.norm()), rel=0.01)


def test_attention_sees_where_a_block_is_active_and_not_how_many_channels_it_has() -> None:
    f = torch.rand(2, 3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert float(attention_transfer(torch.cat([f, f], dim=1), f)) == pytest.approx(0, abs=1e-12)
    apart = torch.zeros(1, 1, 1, 2), torch.zeros(1, 1, 1, 2)
    apart[0][..., 0] = apart[1][..., 1] = 3.0
    assert float(attention_transfer(*apart)) == pytest.approx(2)  # two unit vectors at a right angle


@pytest.mark.parametrize("name", [*LOGITS, *FEATURES])
def test_every_form_of_guidance_is_zero_at_the_teacher_and_pulls_towards_it(name: str) -> None:
    if name in LOGITS:
        teacher = TEACHER
        value = lambda s: LOGITS[name](s, teacher, Y, 4.0)  # noqa: E731
    else:
        teacher = torch.rand(2, 3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
        value = lambda s: FEATURES[name](s, teacher)  # noqa: E731
    assert float(value(teacher)) == pytest.approx(0, abs=1e-12)
    noise = torch.randn(teacher.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    student = (teacher + 0.3 * noise).requires_grad_()
    assert torch.autograd.gradcheck(value, (student,))
    before = value(student)
    (direction,) = torch.autograd.grad(before, student)
    assert float(value(student - 1e-3 * direction)) < float(before)


def test_blocks_compare_where_the_trunk_is_left_whole_and_nowhere_else() -> None:
    net = pdc.load_model("resnet20", weights=False)
    plain = chain().eval()
    names = [f"layer{stage}.{block}" for stage in (1, 2, 3) for block in range(3)]
    for residual, expected in (("internal", names), ("shared", [])):
        graph = pdc.trace(net, torch.zeros(1, 1, 8, 8), residual=residual)
        labels = pdc.assign(net, graph, pdc.Plan.uniform(graph, 0.5))
        assert list(comparable_blocks(net, graph, labels)) == expected
    assert comparable_blocks(plain, pdc.trace(plain, torch.zeros(1, 2, 6, 6)), {}) == ()


def test_a_recording_holds_the_outputs_of_the_last_pass_once() -> None:
    net = pdc.load_model("resnet20", weights=False)
    with Recording(net, ("layer1.0", "layer3.2")) as recording:
        logits = net(torch.ones(2, 1, 8, 8))
        early, late = recording.outputs()
        assert torch.equal(net.linear(F.adaptive_avg_pool2d(late, 1).flatten(1)), logits)
        assert early.shape == (2, 16, 8, 8)
        with pytest.raises(pdc.PDCError, match=r"does not call its module 'layer1\.0'"):
            recording.outputs()
    net(torch.ones(2, 1, 8, 8))
    with pytest.raises(pdc.PDCError):
        recording.outputs()
