"""A model card in Markdown: what the files of an export are, how well they do, and how to use them.

The sections follow Mitchell et al. 2019, «Model Cards for Model Reporting» (doi 10.1145/3287560.3287596), as far as a
run knows them; what only its owner can say is left as a line to fill in.
"""

from __future__ import annotations

from pdc_core.data import Data
from pdc_core.deployment.results import Exported, Variant
from pdc_core.durations import duration
from pdc_core.runs import Report, Run, run_command
from pdc_core.train.batches import steps_per_epoch

_NAMES = {"before": "original", "folded": "folded", "taught": "trained"}


def model_card(run: Run, exported: Exported, data: Data) -> str:
    """Return the model card of an export.

    Parameters
    ----------
    run : Run
        The finished run.
    exported : Exported
        What was written and measured.
    data : Data
        The data set of the run.

    Returns
    -------
    str
        Markdown.
    """
    report, spec = run.results, run.spec
    assert report is not None
    folded = report.folded is not None
    title = f"{spec.model} on {spec.data}" + (", filters clustered and folded" if folded else "")
    return "\n".join(
        [
            f"# {title}",
            "",
            _summary(run, report),
            "",
            "## Files",
            "",
            *_table(exported),
            "",
            _measured(exported),
            "",
            "## Use",
            "",
            *_use(run, data),
            "",
            "## Training",
            "",
            f"- Data: {spec.data}, {len(data.train):,} training, {len(data.val):,} validation and "
            f"{len(data.test):,} test images of {len(data.classes)} classes: {_some(data.classes)}.",
            *_training(run, report),
            "",
            "## Intended use and limits",
            "",
            "- Fill in: what the network is for, and what it must not be used for.",
            f"- Accuracy was measured on {len(data.test):,} images like those it was trained on; one image is "
            f"{100 / len(data.test):.2g} points. Nothing is known about other images.",
            "- Fill in: the licences of the data and of the weights that training began with.",
            "",
            "## Made with",
            "",
            ", ".join(f"{name} {number}" for name, number in exported.versions.items()) + ". Method: Niu et al., "
            "«Pruning-and-distillation: One-stage joint compression framework for CNNs via clustering», Image and "
            "Vision Computing 2023, doi 10.1016/j.imavis.2023.104743.",
            "",
        ]
    )


def _summary(run: Run, report: Report) -> str:
    result = report.result
    if report.folded is None:
        return (
            f"Test accuracy **{result.test_accuracy:.2%}**, {result.macs:,} MACs for one image, {result.params:,} "
            "parameters."
        )
    equal = "every" if report.same_predictions else "not every"
    exact = (
        f" Folding changed no logit of {report.compared} by more than {report.max_abs_diff:.1e}, and {equal} test "
        "image keeps its class."
        if run.spec.method == "pdc"
        else ""
    )
    return (
        f"Test accuracy **{result.test_accuracy:.2%}** (original: {report.before.test_accuracy:.2%}) with "
        f"**{report.macs_cut:.1%} of the MACs cut**: {result.macs:,} of {report.before.macs:,} for one image, and "
        f"{result.params:,} of {report.before.params:,} parameters. MACs are multiply-accumulates of conv and linear "
        f"layers, what the pruning literature calls FLOPs.{exact}"
    )


def _measured(exported: Exported) -> str:
    threads = f"{exported.threads} thread{'s' if exported.threads > 1 else ''}"
    return (
        f"Measured on {exported.created[:10]} on {exported.machine} with {threads}; latency is the median for one "
        "batch, with the middle half of the calls in brackets. INT8 was calibrated with "
        f"{exported.calibration_images:,} training images. Same class: share of the {exported.test_images:,} test "
        "images that get the class which the float network in PyTorch gives them."
    )


def _table(exported: Exported) -> list[str]:
    batches = list(exported.variants[0].latency)
    head = ["file", "network", "engine", "precision", "size", "test accuracy", "same class"]
    head += [f"{batch} image{'s' if batch > 1 else ''}" for batch in batches]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return lines + ["| " + " | ".join(_cells(variant)) + " |" for variant in exported.variants]


def _cells(variant: Variant) -> list[str]:
    times = [f"{1e3 * t.median:.2f} ms ({1e3 * t.low:.2f} to {1e3 * t.high:.2f})" for t in variant.latency.values()]
    return [
        f"`{variant.file}`",
        _NAMES[variant.network],
        variant.engine,
        variant.precision,
        f"{variant.size / 1e6:.2f} MB",
        f"{variant.test_accuracy:.2%}",
        f"{variant.agreement:.1%}",
        *times,
    ]


def _use(run: Run, data: Data) -> list[str]:
    name = "folded" if run.results is not None and run.results.folded is not None else "taught"
    c, h, w = data.shape
    return [
        f"Images are {h}x{w} pixels with {c} channel{'s' if c > 1 else ''}, scaled to 0..1, then normalised with mean "
        f"{_numbers(data.mean)} and standard deviation {_numbers(data.std)}.",
        "",
        "```python",
        "import pdc_core as pdc",
        "",
        f'model = pdc.load("{name}.safetensors")  # weights and plan; no code is read from the file',
        "```",
        "",
        "```python",
        "import onnxruntime",
        "",
        f'session = onnxruntime.InferenceSession("{name}-int8.onnx")',
        'logits = session.run(None, {"x": images})[0]  # images: float32 (n, ' + f"{c}, {h}, {w})",
        "```",
    ]


def _training(run: Run, report: Report) -> list[str]:
    spec, settings = run.spec, run.spec.training
    took = f", {duration(report.seconds)}" if report.seconds is not None else ""
    steps = settings.epochs * steps_per_epoch(report.train_images or 0, settings.batch_size)
    lines = [
        f"- {settings.epochs} epoch{'s' if settings.epochs > 1 else ''}, batch size {settings.batch_size}, learning "
        f"rate {settings.highest_lr(steps):g}, seed {spec.seed}{took}. First weights: {spec.weights}.",
        f"- Again: `{run_command(spec)}`",
    ]
    if spec.plan is not None:
        kept = ", ".join(f"{name} {k} of {spec.plan.sizes[name]}" for name, k in spec.plan.counts.items())
        lines.append(f"- Filters kept (residual sums: {report.residual}): {kept}.")
    if report.ended_early is not None:
        lines.append(
            f"- The run was finished early, after step {report.ended_early.step} of {report.ended_early.steps}."
        )
    return lines


def _some(classes: tuple[str, ...], most: int = 10) -> str:
    more = f" and {len(classes) - most} more" if len(classes) > most else ""
    return ", ".join(classes[:most]) + more


def _numbers(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)
