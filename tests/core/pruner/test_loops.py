"""What people do in their loops: accumulate, clip, scale, average weights, compile, several forwards and optimisers."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import pdc_core as pdc
from pdc_core.folding.check import tensors_in
from pdc_core.losses import feature_loss, kd_loss
from pdc_core.pruner.guidance import sigmoid_guidance, softmax_guidance
from tests.pruning import X, Y, network, plan_of, pruner_of, train
from tests.training import same_networks

ROOT = Path(__file__).parents[3]
SINGLE = X.float()


def test_accumulated_gradients_are_summed_over_clusters_once_a_step() -> None:
    """Without norms, two half batches make the very step of the whole batch."""
    ended = []
    for parts in (1, 2):
        model = nn.Sequential(nn.Conv2d(2, 8, 3), nn.Tanh(), nn.Flatten(), nn.Linear(128, 3)).double()
        model.load_state_dict(
            {k: torch.linspace(-0.2, 0.3, v.numel()).double().sin().view_as(v) for k, v in model.state_dict().items()}
        )
        pruner = pruner_of(model, steps=6, teacher=False)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        pruner.attach(optimizer)
        for _ in range(6):
            for x, y in zip(X.chunk(parts), Y.chunk(parts), strict=True):
                (F.cross_entropy(model(x), y) / parts).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
        assert pruner.done == 6
        ended.append(pruner.fold())
    for a, b in zip(*(net.state_dict().values() for net in ended), strict=True):
        assert torch.allclose(a, b, rtol=1e-9, atol=1e-12)


def test_a_step_with_a_closure_is_the_step_without_one() -> None:
    ended = []
    for closed in (True, False):
        model = network()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
        pruner = pruner_of(model, steps=5).attach(optimizer)

        def closure(model: nn.Module = model, optimizer: Any = optimizer) -> Tensor:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(X), Y)
            loss.backward()
            return loss

        for step in range(5):
            if not closed:
                closure()
                optimizer.step()
            elif step % 2:
                optimizer.step(closure)
            else:
                optimizer.step(closure=closure)
        ended.append(pruner.fold())
    assert same_networks(*ended)


def test_a_step_that_a_gradient_scaler_skips_is_not_counted() -> None:
    model = network().float()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    pruner = pruner_of(model, steps=4).attach(optimizer)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**8)
    for step in range(5):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = model(SINGLE)
            loss = F.cross_entropy(out, Y) + pruner.guidance(SINGLE, out)
        scaler.scale(loss * (torch.inf if step == 2 else 1)).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
    assert pruner.done == 4
    assert pdc.check_equal(model.eval(), pruner.fold().eval(), SINGLE).equal


@pytest.mark.parametrize("averaged", ["torch", "copy"])
def test_a_moving_average_of_the_weights_folds_too(averaged: str) -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
    pruner = pruner_of(model, steps=8, schedule="tied").attach(optimizer)
    average = torch.optim.swa_utils.AveragedModel(
        model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.5), use_buffers=True
    )
    for step in range(8):
        train(model, optimizer, 1, step, pruner)
        average.update_parameters(model)
    other = average if averaged == "torch" else average.module
    before = copy.deepcopy(average.module.state_dict())
    small = pruner.fold(other).eval()
    assert all(torch.equal(a, b) for a, b in zip(before.values(), average.module.state_dict().values(), strict=True))
    assert pdc.check_equal(average.module.eval(), small, X).relative < 1e-6  # its filters were tied at every step
    assert not same_networks(small, pruner.fold())
    with pytest.raises(pdc.PDCError, match="not tied yet"):
        pruner_of(model, schedule="progressive").attach(torch.optim.SGD(model.parameters(), lr=0.02)).fold(average)
    with pytest.raises(pdc.PDCError, match="fold was given OrderedDict; give a copy of the network"):
        pruner.fold(average.module.state_dict())


def test_a_network_in_channels_last_and_bfloat16_stays_tied_and_does_not_drift() -> None:
    model = network().to(torch.bfloat16).to(memory_format=torch.channels_last)
    pruner = pdc.Pruner(model, plan_of(model.double()), X[:1], steps=20, images=X, schedule="tied")
    model.to(torch.bfloat16)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0, momentum=0.9)
    pruner.attach(optimizer)
    states = []
    for _ in range(20):
        F.cross_entropy(model(X.to(torch.bfloat16).contiguous(memory_format=torch.channels_last)).float(), Y).backward()
        optimizer.step()
        optimizer.zero_grad()
        states.append(model[0].weight.detach().clone())
    assert torch.equal(states[0], states[-1])  # a mean of equal rows is that row, also in 8 bits of mantissa
    assert model[0].weight.is_contiguous(memory_format=torch.channels_last)
    model.eval()
    assert pdc.check_equal(model, pruner.fold(), X.to(torch.bfloat16)).relative < 0.1


def test_a_compiled_network_trains_and_folds() -> None:
    plain, compiled = network().float(), network().float()
    ended = []
    for model, network_called in ((plain, plain), (compiled, torch.compile(compiled, backend="aot_eager"))):
        pruner = pdc.Pruner(network_called, plan_of(network()), SINGLE[:1], steps=4, images=SINGLE, merges=2)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
        pruner.attach(optimizer)
        for _ in range(4):
            out = network_called(SINGLE)
            (F.cross_entropy(out, Y) + pruner.guidance(SINGLE, out)).backward()
            optimizer.step()
            optimizer.zero_grad()
        ended.append(pruner.fold())
    for a, b in zip(*(net.state_dict().values() for net in ended), strict=True):
        assert torch.allclose(a, b, rtol=1e-3, atol=1e-4)


def test_two_optimisers_step_one_after_the_other() -> None:
    """One per half of the network equals one for all, whichever layer of a group is in which."""
    ended = []
    for halves in (False, True):
        model = network()
        pruner = pruner_of(model, steps=6)
        parts = (
            [list(model.parameters())[::2], list(model.parameters())[1::2]] if halves else [list(model.parameters())]
        )
        optimizers = [torch.optim.SGD(part, lr=0.02, momentum=0.9) for part in parts]
        pruner.attach(*optimizers)
        for _ in range(6):
            out = model(X)
            (F.cross_entropy(out, Y) + pruner.guidance(X, out)).backward()
            for each in optimizers:
                each.step()
                each.zero_grad()
        assert pruner.done == 6
        ended.append(pruner.fold())
    assert same_networks(*ended)


def test_several_forward_passes_a_step_are_guided_each() -> None:
    model = pdc.load_model("resnet20", weights=False)
    x = torch.randn(8, 1, 8, 8, generator=torch.Generator().manual_seed(3))
    graph = pdc.trace(model, x[:1])
    pruner = pdc.Pruner(model, pdc.Plan.uniform(graph, 0.5), x[:1], steps=3, images=x, schedule="progressive")
    one, other = (pruner.guidance(part, model(part)) for part in x.chunk(2))
    again = pruner.guidance(x[:4], model(x[:4]))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    out = model(x[:4])
    pruner.guidance(x[:4], out)
    with pytest.raises(pdc.PDCError, match="once after every forward pass"):
        pruner.guidance(x[:4], out)


class Everything(nn.Module):
    """Returns what the name says: a tuple, a dict or nested lists of tensors, and something that is no tensor."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.body, self.head = kind, network()[:7], nn.Conv2d(12, 3, 1).double()
        self.boxes = nn.Conv2d(12, 4, 1).double()

    def forward(self, x: Tensor) -> Any:
        features = self.body(x)
        logits, boxes = self.head(features), self.boxes(features)
        if self.kind == "tuple":
            return logits, boxes
        return {"logits": logits, "boxes": [boxes]} if self.kind == "dict" else [[logits], boxes]


@pytest.mark.parametrize(
    ("kind", "first", "second"), [("tuple", "0", "1"), ("dict", "logits", "boxes.0"), ("list", "0.0", "1")]
)
def test_outputs_of_any_structure_are_guided_and_checked(kind: str, first: str, second: str, tmp_path: Path) -> None:
    model = Everything(kind).eval()
    plan = pdc.Plan.uniform(pdc.trace(model, X[:1]), 0.5)
    given = {"steps": 4, "images": X, "merges": 2, "temperature": 2.0, "alpha": 0.3, "matching": 0.0}
    pruner = pdc.Pruner(model.train(), plan, X[:1], outputs={first: "softmax", second: "matching"}, **given)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    pruner.attach(optimizer)
    for _ in range(4):
        out = model(X)
        parts, theirs = tensors_in(out), tensors_in(pruner.guide.teacher(X))
        by_hand = 0.3 * softmax_guidance(parts[first], theirs[first], 2.0)
        by_hand = by_hand + 0.3 * feature_loss(parts[second], theirs[second])
        loss = pruner.guidance(X, out)
        assert float(loss.detach()) == pytest.approx(float(by_hand.detach()), rel=1e-12)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    small = pruner.fold().eval()
    assert pdc.check_equal(model.eval(), small, X).relative < 1e-9
    assert pdc.cost(small, X[:1]).macs == pruner.summary().macs_end
    pdc.save(small, tmp_path / "small.safetensors")
    again = pdc.load(tmp_path / "small.safetensors", build=lambda: Everything(kind))
    assert pdc.check_equal(small, again, X).max_abs_diff == 0
    broken = copy.deepcopy(small)
    with torch.no_grad():
        broken.boxes.bias[0] += 1
    assert not pdc.check_equal(small, broken, X).equal
    broken.boxes.bias.data.fill_(torch.nan)
    assert not pdc.check_equal(small, broken, X).equal
    other = pdc.Pruner(network(), plan_of(network()), X[:1], teacher=False, schedule="progressive")
    with pytest.raises(pdc.PDCError, match="no teacher"):
        other.guidance(X, out)
    with pytest.raises(pdc.PDCError, match="No output is compared"):
        pdc.Pruner(model, plan, X[:1], outputs={"none": "softmax"}, **given).guidance(X, model(X))


def test_guidance_over_pixels_is_that_of_every_pixel_as_an_example() -> None:
    s, t = torch.randn(2, 2, 5, 3, 4, generator=torch.Generator().manual_seed(0)).double()
    pixels = [z.permute(0, 2, 3, 1).reshape(-1, 5) for z in (s, t)]
    assert float(softmax_guidance(s, t, 3.0)) == pytest.approx(float(kd_loss(*pixels, 3.0)))
    p, q = torch.sigmoid(t / 3), torch.sigmoid(s / 3)
    naive = (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).mean() * 9
    assert float(sigmoid_guidance(s, t, 3.0)) == pytest.approx(float(naive))


TWO = """
import hashlib, sys
from pathlib import Path
import torch, torch.distributed as dist
import torch.nn.functional as F
import pdc_core as pdc
from tests.pruning import X, Y, network, plan_of

dist.init_process_group("gloo")
rank, model = dist.get_rank(), network()
pruner = pdc.Pruner(model, plan_of(model), X[:1], steps=8, images=X[rank::2], merges=3, tied_after=0.6, seed=rank)
wrapped = torch.nn.parallel.DistributedDataParallel(model)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
pruner.attach(optimizer)
seen = []
for step in range(8):
    out = wrapped(X[rank::2])
    (F.cross_entropy(out, Y[rank::2]) + pruner.guidance(X[rank::2], out)).backward()
    optimizer.step()
    optimizer.zero_grad()
    weights = b"".join(p.detach().numpy().tobytes() for p in model.parameters())
    labels = repr({k: a.tolist() for k, a in pruner.tying.tied.items()})
    seen.append(hashlib.sha256(weights).hexdigest() + labels)
small = pruner.fold()
Path(sys.argv[1], f"rank{rank}").write_text("\\n".join([*seen, str(pdc.cost(small, X[:1]).macs)]))
dist.destroy_process_group()
"""


def test_two_processes_with_images_of_their_own_stay_equal(tmp_path: Path) -> None:
    program = tmp_path / "two.py"
    program.write_text(TWO)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(program)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"}
    done = subprocess.run(
        [*launcher, str(tmp_path)], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    ranks = [(tmp_path / f"rank{rank}").read_text().split("\n") for rank in (0, 1)]
    assert len(ranks[0]) == 9
    assert ranks[0] == ranks[1]
