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
from tests.networks import chain, lively_
from tests.training import same_networks

from accelerate import Accelerator  # isort: skip  (after the callback, which repairs torchvision)
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


def trained(folder: Path, resume: str | None = None, **changes: Any) -> tuple[Classifier, PDCCallback]:
    model, callback = Classifier(), PDCCallback(PLAN, X[:1], network="net", **TRAINED)
    arguments = TrainingArguments(
        output_dir=str(folder), max_steps=8, per_device_train_batch_size=12, learning_rate=1e-3,
        report_to=[], use_cpu=True, disable_tqdm=True, lr_scheduler_type="constant", seed=0,
        **{"save_steps": 3, **changes},
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
