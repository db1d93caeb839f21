"""The sections of the benchmark: functions from a context to a result, which can run alone or together."""

from __future__ import annotations

from collections.abc import Callable

from bench.context import Context
from bench.figures import Result
from bench.sections import (
    api,
    engine,
    fairness,
    idle,
    latency,
    memory,
    peers,
    pixels,
    plan,
    queue,
    storage,
    throughput,
    users,
)

SECTIONS: dict[str, Callable[[Context], Result]] = {
    "users": users.run,
    "peers": peers.run,
    "plan": plan.run,
    "engine": engine.run,
    "pixels": pixels.run,
    "throughput": throughput.run,
    "latency": latency.run,
    "api": api.run,
    "memory": memory.run,
    "idle": idle.run,
    "storage": storage.run,
    "fairness": fairness.run,
    "queue": queue.run,
}
"""By name, in the order of a complete run."""
