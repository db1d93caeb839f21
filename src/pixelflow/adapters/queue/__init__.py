"""The queue: dramatiq on Redis. A transport only: the relay sends lost messages again from Postgres.

Messages are the models of :mod:`pixelflow.contracts.messages`. The ID of a message in Redis is the ``task_id`` of the
job's row, so that the relay can look the message up.
"""

from pixelflow.adapters.queue.consumer import Consumer
from pixelflow.adapters.queue.sender import JobQueue

__all__ = ["Consumer", "JobQueue"]
