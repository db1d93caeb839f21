"""The error of the embedded stack. Its messages are shown to the person at the terminal."""

from __future__ import annotations


class StackError(Exception):
    """The stack can't start. The message says why and what to do about it, and never contains a secret."""
