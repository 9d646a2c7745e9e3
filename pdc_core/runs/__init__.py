"""The run folder: what was asked, what happens, what came out. Written by a worker process, read by anyone.

run.yaml      what was asked             events.jsonl  one line per record, a torn last line is ignored
status.json   state, step, heartbeat     last.ckpt     enough to go on
labels.npz, folded.safetensors, report.json            what came out
request       what somebody asks of the worker ("stop")      worker.lock, worker.log
"""

from pdc_core.runs.read import STATES, Run, list_runs, read_run
from pdc_core.runs.recorder import FolderRecorder
from pdc_core.runs.spec import RunSpec, create_run, read_spec, runs_root
from pdc_core.runs.work import launch, request_stop, work

__all__ = [
    "STATES",
    "FolderRecorder",
    "Run",
    "RunSpec",
    "create_run",
    "launch",
    "list_runs",
    "read_run",
    "read_spec",
    "request_stop",
    "runs_root",
    "work",
]
