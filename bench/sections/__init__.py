"""The sections of the benchmark: functions from a context to a result, which can run alone or together."""

from __future__ import annotations

from collections.abc import Callable

from bench.context import Context
from bench.figures import Result
from bench.sections import api, latency, memory, pixels, plan, throughput

SECTIONS: dict[str, Callable[[Context], Result]] = {
    "plan": plan.run,
    "pixels": pixels.run,
    "throughput": throughput.run,
    "latency": latency.run,
    "api": api.run,
    "memory": memory.run,
}
"""By name, in the order of a complete run."""
