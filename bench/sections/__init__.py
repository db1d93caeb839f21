"""The sections of the benchmark, each a function from its surroundings to a result, to be run alone or with others."""

from __future__ import annotations

from collections.abc import Callable

from bench.figures import Result
from bench.sections import api, latency, memory, pixels, plan, throughput
from bench.sections.surroundings import Surroundings

SECTIONS: dict[str, Callable[[Surroundings], Result]] = {
    "plan": plan.run,
    "pixels": pixels.run,
    "throughput": throughput.run,
    "latency": latency.run,
    "api": api.run,
    "memory": memory.run,
}
"""By name, in the order of a whole run."""
