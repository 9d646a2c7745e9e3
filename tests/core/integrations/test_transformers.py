"""The callback in Hugging Face's real Trainer, and a pruner in a loop of Accelerate: both fold and resume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import pdc_core as pdc
from pdc_core.integrations.transformers import PDCCallback
from tests.networks import chain, lively_, random_labels, reconstructed_and_folded
from tests.training import same_networks

import transformers  # isort: skip  (after the callback, which repairs torchvision)
from accelerate import Accelerator  # isort: skip
from accelerate.state import AcceleratorState  # isort: skip
from transformers import Trainer, TrainingArguments  # isort: skip

X = torch.randn(48, 2, 6, 6, generator=torch.Generator().manual_seed(2))
Y = torch.arange(48) % 3
PLAN = pdc.Plan.uniform(pdc.trace(lively_(chain(6)).float(), X[:1]), 0.5)
TRAINED = {"images": X, "merges": 2, "tied_after": 0.5}


class Classifier(nn.Module):
    """Takes and returns what models of transformers do: named inputs, a dict of outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.net = lively_(chain(6)).float().train()

    def forward(self, pixel_values: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        logits = self.net(pixel_values)
        return {"loss": F.cross_entropy(logits, labels), "logits": logits} if labels is not None else {"logits": logits}


class GuidedTrainer(Trainer):
    pdc: PDCCallback

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Tensor], return_outputs: bool = False, **kwargs: Any
    ) -> Any:
        outputs = model(**inputs)
        loss = outputs["loss"] + self.pdc.pruner.guidance(inputs["pixel_values"], outputs["logits"])
        return (loss, outputs) if return_outputs else loss


def trained(
    folder: Path, resume: str | None = None, checkpoint: Path | None = None, **changes: Any
) -> tuple[Classifier, PDCCallback]:
    model, callback = Classifier(), PDCCallback(PLAN, X[:1], network="net", checkpoint=checkpoint, **TRAINED)
    arguments = TrainingArguments(
        output_dir=str(folder), max_steps=8, per_device_train_batch_size=12,
        report_to=[], use_cpu=True, disable_tqdm=True, lr_scheduler_type="constant", seed=0,
        **{"save_steps": 3, "learning_rate": 1e-3, **changes},
    )  # fmt: skip
    examples = [{"pixel_values": x, "labels": y} for x, y in zip(X, Y, strict=True)]
    falling = iter(range(99, 0, -1))
    trainer = GuidedTrainer(
        model=model, args=arguments, train_dataset=examples, eval_dataset=examples, callbacks=[callback],
        compute_metrics=lambda found: {"falling": next(falling)},
    )  # fmt: skip
    trainer.pdc = callback
    trainer.train(resume_from_checkpoint=resume)
    return model, callback


def test_the_trainer_ends_with_a_folded_network_and_resumes(tmp_path: Path) -> None:
    model, callback = trained(tmp_path)
    assert callback.folded is not None
    assert callback.pruner.done == 8
    assert pdc.check_equal(model.net.eval(), callback.folded.eval(), X).equal
    _, again = trained(tmp_path, resume=str(tmp_path / "checkpoint-3"))
    assert same_networks(again.folded, callback.folded)


def test_a_trainer_that_goes_back_to_weights_of_before_ends_with_finish(tmp_path: Path) -> None:
    """`load_best_model_at_end` may load weights whose filters are not tied; the callback says so and does not fold."""
    best = {"load_best_model_at_end": True, "metric_for_best_model": "eval_falling", "greater_is_better": True}
    with pytest.warns(UserWarning, match=r"weights of an earlier step.*callback\.pruner\.finish\(\)"):
        model, callback = trained(tmp_path, eval_strategy="steps", eval_steps=1, **{"save_steps": 1, **best})
    assert callback.folded is None
    assert pdc.check_equal(model.net.eval(), callback.pruner.finish().eval(), X).equal


def test_a_loop_of_accelerate_folds_and_resumes(tmp_path: Path) -> None:
    def loop(first: int, last: int, load: bool, save: bool) -> nn.Module:
        accelerator, model = Accelerator(cpu=True), lively_(chain(6)).float().train()
        pruner = pdc.Pruner(model, PLAN, X[:1], steps=8, **TRAINED)
        model, optimizer = accelerator.prepare(model, torch.optim.AdamW(model.parameters(), lr=1e-3))
        accelerator.register_for_checkpointing(pruner)
        pruner.attach(optimizer)
        if load:
            accelerator.load_state(str(tmp_path))
        for step in range(first, last):
            out = model(X[step : step + 12])
            accelerator.backward(F.cross_entropy(out, Y[step : step + 12]) + pruner.guidance(X[step : step + 12], out))
            optimizer.step()
            optimizer.zero_grad()
        if save:
            accelerator.save_state(str(tmp_path))
            return model
        return pruner.fold()

    whole = loop(0, 8, load=False, save=False)
    loop(0, 3, load=False, save=True)
    assert same_networks(loop(3, 8, load=True, save=False), whole)


def small(kind: str) -> nn.Module:
    """A small network of transformers' own, with random weights: optional arguments, dataclasses, hooks."""
    sizes = {"hidden_sizes": [8, 12, 16, 20], "depths": [1, 1, 1, 1]}
    if kind == "resnet":
        config = transformers.ResNetConfig(embedding_size=8, layer_type="basic", num_labels=3, **sizes)
        return transformers.ResNetForImageClassification(config)
    if kind == "mobilenet":
        return transformers.MobileNetV2ForImageClassification(transformers.MobileNetV2Config(depth_multiplier=0.35))
    heads = {"num_attention_heads": [1, 2, 2, 2], "decoder_hidden_size": 16}
    return transformers.SegformerForSemanticSegmentation(transformers.SegformerConfig(num_labels=3, **sizes, **heads))


IMAGES = torch.randn(12, 3, 32, 32, generator=torch.Generator().manual_seed(4))


@pytest.mark.parametrize("kind", ["resnet", "mobilenet", "segformer"])
def test_networks_of_transformers_fold_exactly(kind: str) -> None:
    net = lively_(small(kind))
    x = IMAGES[:2].double()
    with torch.no_grad():
        maps = net(x, output_hidden_states=True).hidden_states
    graph = pdc.trace(net, x[:1], "shared")
    assert len(graph.clusterable) > 5
    tied, folded = reconstructed_and_folded(net, graph, random_labels(graph, 0.5))
    assert type(folded) is type(net)
    assert pdc.check_equal(tied, folded, x).relative <= 1e-9
    with torch.no_grad():  # collecting outputs goes on as before, in both
        assert len(net(x, output_hidden_states=True).hidden_states) == len(maps)
        assert len(folded(x, output_hidden_states=True).hidden_states) == len(maps)


def test_a_network_of_transformers_is_pruned_with_its_own_loss() -> None:
    net, labels = small("resnet").eval(), Y[:12]
    plan = pdc.Plan.uniform(pdc.trace(net, IMAGES[:1], "shared"), 0.5)
    pruner = pdc.Pruner(net, plan, IMAGES[:1], steps=3, images=IMAGES)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    pruner.attach(optimizer)
    net.train()
    for _ in range(3):
        outputs = net(IMAGES, labels=labels)
        (outputs.loss + pruner.guidance(IMAGES, outputs)).backward()
        optimizer.step()
        optimizer.zero_grad()
    folded = pruner.fold().eval()
    loss, own = folded(IMAGES, labels=labels).loss, net.eval()(IMAGES, labels=labels).loss
    assert loss.item() == pytest.approx(own.item(), rel=1e-4)


def test_the_loop_for_classifiers_says_how_to_wrap_one() -> None:
    class Logits(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = small("resnet")

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.network(x).logits
            return logits

    split = pdc.Split(torch.randint(0, 255, (12, 3, 32, 32), dtype=torch.uint8), Y[:12])
    data = pdc.Data("three", split, split, split, ("a", "b", "c"), (3, 32, 32), (0.5,) * 3, (0.25,) * 3)
    bare = small("resnet").eval()
    plan = pdc.Plan.uniform(pdc.trace(bare, data.example), 0.5)
    with pytest.raises(pdc.PDCError, match=r"wrap it in a module whose forward pass returns network\(x\)\['logits'\]"):
        pdc.distil(bare, plan, data, epochs=1)
    net = Logits().eval()
    graph = pdc.trace(net, data.example)
    result = pdc.distil(net, pdc.Plan.uniform(graph, 0.5), data, epochs=1)
    assert result.report["folded"]["macs"] < result.report["before"]["macs"]
    assert pdc.check_equal(result.reconstructed, result.folded, data.example).relative <= 1e-4


def test_a_checkpoint_that_was_moved_is_said_where_it_lies_and_that_of_another_run_is_refused(tmp_path: Path) -> None:
    _, whole = trained(tmp_path / "a")
    (tmp_path / "a" / "checkpoint-3").rename(tmp_path / "best")
    with pytest.raises(pdc.PDCError, match="If it lies elsewhere, say so"):
        trained(tmp_path / "b", resume=str(tmp_path / "best"))
    _, callback = trained(tmp_path / "b", resume=str(tmp_path / "best"), checkpoint=tmp_path / "best")
    assert same_networks(callback.folded, whole.folded)
    trained(tmp_path / "c", learning_rate=1e-2)
    with pytest.raises(pdc.PDCError, match="weights are not those that this pruner's state was saved with"):
        trained(tmp_path / "c", resume=str(tmp_path / "best"))


@pytest.mark.parametrize("first", ["pruner", "prepare"])
def test_a_network_that_accelerate_runs_in_bfloat16_is_merged_and_folded_in_full_precision(first: str) -> None:
    AcceleratorState._reset_state(reset_partial_state=True)  # that of other tests of this process
    accelerator, model = Accelerator(cpu=True, mixed_precision="bf16"), lively_(chain(6)).float().train()
    pruner = pdc.Pruner(model, PLAN, X[:1], steps=6, **TRAINED) if first == "pruner" else None
    model, optimizer = accelerator.prepare(model, torch.optim.AdamW(model.parameters(), lr=1e-3))
    pruner = pruner or pdc.Pruner(model, PLAN, X[:1], steps=6, **TRAINED)
    pruner.attach(optimizer)
    for step in range(6):
        out = model(X[step : step + 12])
        accelerator.backward(F.cross_entropy(out, Y[step : step + 12]) + pruner.guidance(X[step : step + 12], out))
        optimizer.step()
        optimizer.zero_grad()
    wrapped, small = model.forward, pruner.fold()
    assert model.forward is wrapped
    plain = accelerator.unwrap_model(model, keep_fp32_wrapper=False).eval()
    assert pdc.check_equal(plain, small.eval(), X).relative <= 1e-4
    AcceleratorState._reset_state(reset_partial_state=True)
