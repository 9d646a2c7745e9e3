"""From a forward pass to its program, with channel ids followed through it: traced symbolically, or else with sizes."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable

from torch import Tensor, fx, nn

from pdc_core.errors import PDCError, Untraceable
from pdc_core.graph.faults import first_line, needs_values
from pdc_core.graph.interpreter import ChannelInterpreter
from pdc_core.graph.sized import SizedTracer
from pdc_core.graph.stand_ins import readable
from pdc_core.graph.tracer import Tracer
from pdc_core.graph.untouched import Untouched

# While torch.fx traces, it replaces nn.Module.__call__ and __getattr__ for the whole process. One trace at a time, and
# the other threads of a server, which run networks meanwhile, are handed through to what they asked for.
TRACING = threading.Lock()


def trace_program(
    model: nn.Module, start: Callable[[], ChannelInterpreter], example: Tensor, *, symbolic: bool = True
) -> tuple[fx.Graph, ChannelInterpreter, bool]:
    """Return the program of a network, followed on channel ids, and whether it holds for the example's size alone.

    Parameters
    ----------
    model : nn.Module
        The network.
    start : function
        Makes a fresh interpreter.
    example : Tensor
        One example; only its shape and type are used.
    symbolic : bool, default True
        Whether the network is traced symbolically first, so that its widths are no numbers.

    Raises
    ------
    Untraceable
        The forward pass depends on values.
    PDCError
        It refuses the example.
    """
    given = start().inputs
    refused: PDCError | None = None
    for buffers in (True, False) if symbolic else ():
        tracer = Tracer(buffers, given)
        try:
            with TRACING, Untouched(model) as made, readable(model):
                program = tracer.trace(model)
        except Exception:  # a user's own forward may raise anything at all
            continue
        walk = start()
        walk.constants = made
        try:
            _run(walk, model, program, example)
        except _NeedsValues:
            continue
        except PDCError as error:
            refused = refused or error
        else:
            return program, walk, False
    dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), example.dtype)
    device = next((p.device for p in model.parameters()), example.device)
    first: Exception | None = None
    for fixed, buffers in itertools.product((False, True), (True, False)):
        walk = start()
        try:
            with TRACING, Untouched(model) as made, readable(model):
                walk.constants = made
                program = SizedTracer(walk, dtype, device, buffers, fixed).trace(model)
            walk.rearranged = True  # widths are numbers in it: whether these can be narrowed is tried out
            return program, walk, fixed
        except Exception as error:
            first = first or error if fixed else None
    assert first is not None
    if refused is not None:
        raise refused
    if isinstance(first, PDCError):
        why = str(first)
    else:
        hint = "its forward pass branches on values, loops over them or calls code that torch.fx cannot follow"
        why = f"{hint} ({type(first).__name__}: {first_line(first)})"
    raise Untraceable(f"{type(model).__name__} cannot be traced: {why}.") from first


class _NeedsValues(PDCError):
    """Raised where an operation asks what only a value can tell, such as `x[x > 0]` or `x.item()`."""


def _run(walk: ChannelInterpreter, model: nn.Module, program: fx.Graph, example: Tensor) -> None:
    """Let ids flow through a program."""
    for node in program.nodes:
        try:
            walk.run_node(node)
        except PDCError:
            raise
        except Exception as error:
            if needs_values(error):
                raise _NeedsValues(str(error)) from error
            given = f"an example of shape {tuple(example.shape)}"
            raise PDCError(
                f"{type(model).__name__} does not accept {given}: {node.name} says «{first_line(error)}»."
            ) from error
