"""The run folder: the settings, the history, the results. Written by a worker process, read by anyone.

run.yaml      the settings               events.jsonl  one line per record; a torn last line is ignored
status.json   state, step, heartbeat     history.csv   the same history as a table
last.ckpt     enough to go on, bit for bit; previous.ckpt is the one before, for when the last is damaged
labels.npz, folded.safetensors, best.safetensors, report.json      the results
request       what somebody asks of the worker ("pause", "stop", "finish")      worker.lock, worker.log
"""

from pdc_core.runs.checkpoint import newest_checkpoint, read_run_checkpoint
from pdc_core.runs.command import default_training, run_command
from pdc_core.runs.launching import launch, resume, start_command
from pdc_core.runs.names import given_name, rename_run, run_name, run_names
from pdc_core.runs.points import COLUMNS, LATENCIES, measured_sweep, points_of, read_points
from pdc_core.runs.read import STATES, Run, list_runs, read_run, unreadable_runs
from pdc_core.runs.recorder import FolderRecorder, WeakTeacher
from pdc_core.runs.reference import find_reference
from pdc_core.runs.results import Report, read_report
from pdc_core.runs.spec import RunSpec, create_run, read_spec, runs_root
from pdc_core.runs.sweeps import (
    Sweep,
    SweepSpec,
    create_sweep,
    is_sweep,
    list_sweeps,
    read_sweep,
    run_sweep,
)
from pdc_core.runs.worker import (
    remove_run,
    repair_run,
    request_finish,
    request_pause,
    request_stop,
    run_worker,
)

__all__ = [
    "COLUMNS",
    "LATENCIES",
    "STATES",
    "FolderRecorder",
    "Report",
    "Run",
    "RunSpec",
    "Sweep",
    "SweepSpec",
    "WeakTeacher",
    "create_run",
    "create_sweep",
    "default_training",
    "find_reference",
    "given_name",
    "is_sweep",
    "launch",
    "list_runs",
    "list_sweeps",
    "measured_sweep",
    "newest_checkpoint",
    "points_of",
    "read_points",
    "read_report",
    "read_run",
    "read_run_checkpoint",
    "read_spec",
    "read_sweep",
    "remove_run",
    "rename_run",
    "repair_run",
    "request_finish",
    "request_pause",
    "request_stop",
    "resume",
    "run_command",
    "run_name",
    "run_names",
    "run_sweep",
    "run_worker",
    "runs_root",
    "start_command",
    "unreadable_runs",
]
