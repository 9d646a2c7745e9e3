"""The losses, against torch's own cross entropy and a naive divergence."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from pdc_core.distil import guidance, one_stage_loss

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
    assert float(guidance(STUDENT, TEACHER, temperature)) == pytest.approx(expected)


def test_equal_logits_cost_nothing_and_no_gradient_reaches_the_teacher() -> None:
    student, teacher = STUDENT.clone().requires_grad_(), STUDENT.clone().requires_grad_()
    loss = guidance(student, teacher, 4.0)
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
        guidance(student, TEACHER, temperature).backward()
        assert student.grad is not None
        grads.append(student.grad)
    assert torch.allclose(grads[0], grads[1], rtol=0.1, atol=1e-3)
