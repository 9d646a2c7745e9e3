"""The process that computes UMAP layouts: `python -m ui.filters.layout_worker`, started by `layouts`.

It reads pickled questions from its input and ends with the server, which closes it. Both ends are this program.
"""

from __future__ import annotations

import os
import pickle
import sys
from typing import BinaryIO

_NICE = 15  # a page comes first where both want the same core


def serve(questions: BinaryIO, answers: BinaryIO) -> None:
    """Answer (vectors, seed) with (points, trustworthiness) or with an error, until the input ends."""
    from pdc_core.analysis.maps import (  # here: importing takes seconds and should run with low priority as well
        trustworthiness,
        umap_map,
    )

    while True:
        try:
            vectors, seed = pickle.load(questions)
        except EOFError:
            return
        try:
            points = umap_map(vectors, seed=seed)
            answer: object = (points, trustworthiness(vectors, points))
        except Exception as error:  # handed on to whoever asked
            answer = error
        pickle.dump(answer, answers)
        answers.flush()


if __name__ == "__main__":
    if hasattr(os, "nice"):  # not on Windows
        os.nice(_NICE)
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints is no answer
    serve(sys.stdin.buffer, answers)
