"""PDC: prune convolutional networks by clustering their filters, distilling, and folding the clusters away exactly.

    import pdc_core as pdc
    model, data = pdc.load_model("resnet20", data="digits"), pdc.load_data("digits")
    graph = pdc.trace(model, example)                    # example: (1, c, h, w)
    result = pdc.distil(model, pdc.Plan.uniform(graph, keep=0.25), data)

`pdc --help` shows the same on the command line, `pdc app` opens it in the browser.
"""

import os

# Before torch is loaded: threads that wait for each other sleep instead of spinning. Where anything else runs on the
# same cores (the app beside a worker), a training step of ResNet-20 on two threads then takes a fifth of the time.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from pdc_core.analysis.trajectories import Trajectory, read_trajectory
from pdc_core.charts.drawing import Drawing
from pdc_core.charts.network import draw_network
from pdc_core.clustering import (
    ALGORITHMS,
    VECTORS,
    assign,
    assign_group,
    check_labels,
    cluster,
    filter_vectors,
    filter_weights,
    ward_linkage,
)
from pdc_core.costs import Cost, LayerCost, cost, latency, plan_cost
from pdc_core.data import DATASETS, Data, DataInfo, Split, describe_data, load_data, register_data
from pdc_core.deployment import export_run, quantize_onnx
from pdc_core.errors import PDCError, Untraceable
from pdc_core.estimates import Preview, Sensitivity, plan_for_budget, preview, sensitivity
from pdc_core.export import export_onnx, header, load, save
from pdc_core.folding import Check, check_equal, fold
from pdc_core.graph import ChannelGraph, ChannelGroup, Layer, Slice, trace
from pdc_core.models import MODELS, ModelInfo, build_model, load_model, model_info, read_checkpoint, register_custom
from pdc_core.plan import History, Plan, difference
from pdc_core.pruner import Pruner
from pdc_core.reconstruct import deviation, reconstruct_
from pdc_core.runs import (
    Run,
    RunSpec,
    Sweep,
    SweepSpec,
    create_run,
    create_sweep,
    launch,
    list_runs,
    list_sweeps,
    read_run,
    read_sweep,
    request_finish,
    request_pause,
    request_stop,
    resume,
    run_sweep,
)
from pdc_core.torchvision_adapter import torchvision
from pdc_core.train import Recorder, Result, Training, distil, evaluate, teach

# Names of earlier versions, kept for programs that use them.
Card = ModelInfo
card_of = model_info
register_own = register_custom
request_keep = request_finish

__all__ = [
    "ALGORITHMS",
    "DATASETS",
    "MODELS",
    "VECTORS",
    "Card",
    "ChannelGraph",
    "ChannelGroup",
    "Check",
    "Cost",
    "Data",
    "DataInfo",
    "Drawing",
    "History",
    "Layer",
    "LayerCost",
    "ModelInfo",
    "PDCError",
    "Plan",
    "Preview",
    "Pruner",
    "Recorder",
    "Result",
    "Run",
    "RunSpec",
    "Sensitivity",
    "Slice",
    "Split",
    "Sweep",
    "SweepSpec",
    "Training",
    "Trajectory",
    "Untraceable",
    "assign",
    "assign_group",
    "build_model",
    "card_of",
    "check_equal",
    "check_labels",
    "cluster",
    "cost",
    "create_run",
    "create_sweep",
    "describe_data",
    "deviation",
    "difference",
    "distil",
    "draw_network",
    "evaluate",
    "export_onnx",
    "export_run",
    "filter_vectors",
    "filter_weights",
    "fold",
    "header",
    "latency",
    "launch",
    "list_runs",
    "list_sweeps",
    "load",
    "load_data",
    "load_model",
    "model_info",
    "plan_cost",
    "plan_for_budget",
    "preview",
    "quantize_onnx",
    "read_checkpoint",
    "read_run",
    "read_sweep",
    "read_trajectory",
    "reconstruct_",
    "register_custom",
    "register_data",
    "register_own",
    "request_finish",
    "request_keep",
    "request_pause",
    "request_stop",
    "resume",
    "run_sweep",
    "save",
    "sensitivity",
    "teach",
    "torchvision",
    "trace",
    "ward_linkage",
]
