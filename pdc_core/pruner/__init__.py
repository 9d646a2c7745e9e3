"""PDC inside anybody's training loop: a `Pruner` that attaches to an optimiser, with guidance for any outputs.

`pruner` is what a user holds, `guidance` the loss, `attachment` what may go wrong between clusters and optimisers,
`folding` how an optimiser goes on with the folded network, `summary` what is tied now.
"""

from pdc_core.pruner.guidance import Guidance
from pdc_core.pruner.pruner import Pruner
from pdc_core.pruner.summary import GroupState, PrunerSummary

__all__ = ["GroupState", "Guidance", "Pruner", "PrunerSummary"]
