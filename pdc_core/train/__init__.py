"""Training: one loop for `teach`, `distil` and every other method, on Lightning Fabric.

`settings` says how, a `Stage` what is trained and by which rule, `loop` does it, a `Recorder` is told and asked,
`evaluation` measures, and `stages` puts it together.
"""

from pdc_core.train.evaluation import Evaluation, evaluate
from pdc_core.train.loop import Loop
from pdc_core.train.loss import Guide
from pdc_core.train.recalibrate import recalibrate_
from pdc_core.train.recorder import Recorder, Stopped
from pdc_core.train.run import Result, distil, run_stage, teach
from pdc_core.train.settings import Training
from pdc_core.train.tasks.base import Stage
from pdc_core.train.tasks.merging import Asymptotic
from pdc_core.train.tasks.pdc import Clustered
from pdc_core.train.tasks.reclustering import Soft
from pdc_core.train.tasks.supervised import Taught
from pdc_core.train.timing import Forecast, forecast

__all__ = [
    "Asymptotic",
    "Clustered",
    "Evaluation",
    "Forecast",
    "Guide",
    "Loop",
    "Recorder",
    "Result",
    "Soft",
    "Stage",
    "Stopped",
    "Taught",
    "Training",
    "distil",
    "evaluate",
    "forecast",
    "recalibrate_",
    "run_stage",
    "teach",
]
