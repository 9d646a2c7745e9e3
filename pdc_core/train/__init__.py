"""Training: one loop for `teach`, `distil` and every other method, on Lightning Fabric.

`settings` says how, a `TrainingTask` what is trained and by which rule, `loop` does it, a `Recorder` is told and asked,
`evaluation` measures, and `run` puts it together. The schedules that settings can name stand in `reconstruct`.
"""

from pdc_core.norms import recalibrate_
from pdc_core.reconstruct import SCHEDULES
from pdc_core.train.budget import Length, fit_length
from pdc_core.train.evaluation import Evaluation, chance_level, evaluate
from pdc_core.train.loop import Loop
from pdc_core.train.loss import DistillationLoss
from pdc_core.train.recorder import Recorder, Stopped
from pdc_core.train.run import Result, distil, run_task, teach
from pdc_core.train.settings import Training
from pdc_core.train.tasks.base import TrainingTask
from pdc_core.train.tasks.pdc import PDCTask
from pdc_core.train.tasks.supervised import SupervisedTask
from pdc_core.train.teacher import check_teacher
from pdc_core.train.timing import Forecast, forecast

__all__ = [
    "SCHEDULES",
    "DistillationLoss",
    "Evaluation",
    "Forecast",
    "Length",
    "Loop",
    "PDCTask",
    "Recorder",
    "Result",
    "Stopped",
    "SupervisedTask",
    "Training",
    "TrainingTask",
    "chance_level",
    "check_teacher",
    "distil",
    "evaluate",
    "fit_length",
    "forecast",
    "recalibrate_",
    "run_task",
    "teach",
]
