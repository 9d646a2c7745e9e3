"""The one exception that a user of PDC is meant to read. Raised at every boundary, printed as it is."""

from __future__ import annotations


class PDCError(ValueError):
    """Report what was given, what is allowed and what to do about it, in one or two sentences.

    The command line and the pages print the message as it stands, without a traceback; everything else that
    escapes is a defect of PDC.
    """
