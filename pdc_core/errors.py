"""The exception that users of PDC see. Every public function raises it, and its message is printed as it is."""

from __future__ import annotations


class PDCError(ValueError):
    """Report what was given, what is allowed and what to do about it, in one or two sentences.

    The command line and the pages print the message without a traceback; any other exception that reaches the user is a
    bug in PDC.
    """
