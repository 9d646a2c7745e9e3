"""PDC inside anybody's training loop: a `Pruner` that attaches to an optimiser, with guidance for any outputs.

`pruner` is what a user holds, `attached` what it does around the steps of optimisers (`hooks`), `attachment` what may
go wrong between the two, `guidance` the loss, `folding` the small network and an optimiser that goes on with it,
`summary` what is tied now, `state` what is saved.
"""

from pdc_core.pruner.guidance import Guidance
from pdc_core.pruner.pruner import Pruner
from pdc_core.pruner.summary import GroupState, PrunerSummary

__all__ = ["GroupState", "Guidance", "Pruner", "PrunerSummary"]
