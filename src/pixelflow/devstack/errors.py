"""What can keep the embedded stack from running. Every message is a sentence for the person at the terminal."""

from __future__ import annotations


class StackError(Exception):
    """The stack can't start; the message says why and what to do about it. It never holds a secret."""
