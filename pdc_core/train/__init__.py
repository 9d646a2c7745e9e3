"""Training: one loop for `teach`, `distil` and every other method, on Lightning Fabric.

`settings` says how, a `Stage` what is trained and by which rule, `loop` does it, a `Recorder` is told and asked,
`evaluation` measures, and `stages` puts it together.
"""

from pdc_core.train.asymptotic import Asymptotic
from pdc_core.train.evaluation import Evaluation, evaluate
from pdc_core.train.forecast import Forecast, forecast
from pdc_core.train.guidance import Guide
from pdc_core.train.loop import Loop
from pdc_core.train.recalibrate import recalibrate_
from pdc_core.train.recorder import Recorder, Stopped
from pdc_core.train.settings import Training
from pdc_core.train.soft import Soft
from pdc_core.train.stage import Clustered, Stage, Taught
from pdc_core.train.stages import Result, distil, run_stage, teach

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
