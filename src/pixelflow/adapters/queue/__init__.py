"""The queue: dramatiq on Redis. A transport only: what it loses, the relay sends again from Postgres.

Messages are the models of :mod:`pixelflow.contracts.messages`. The id under which Redis keeps a message is the
``task_id`` of the job's row, so that it can be asked whether a message still stands for a row.
"""

from pixelflow.adapters.queue.consumer import Consumer
from pixelflow.adapters.queue.sender import JobQueue

__all__ = ["Consumer", "JobQueue"]
