"""Run a chaos plan against a new cluster, wait until it has settled, and check the invariants; then run the scenarios.

Nothing is left behind except the logs of a run that violated an invariant.
"""

from __future__ import annotations

import argparse
import secrets
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psycopg
from rich.console import Console
from tests.chaos import evidence, invariants
from tests.chaos.cluster import Cluster, create_cluster, new_home
from tests.chaos.faults import FaultInjector
from tests.chaos.pictures import make_pictures
from tests.chaos.plan import Plan, make_plan
from tests.chaos.receivers import Receivers
from tests.chaos.recovery import ALLOWED_BEYOND_LEASE, recoveries
from tests.chaos.report import Part, Report, format_counts
from tests.chaos.scenarios.disk import DISK
from tests.chaos.scenarios.fairness import FAIRNESS
from tests.chaos.scenarios.redis_away import REDIS
from tests.chaos.scenarios.scenario import check_leftovers, run_scenario
from tests.chaos.scenarios.signals import SIGNALS
from tests.chaos.scenarios.storage import STORAGE
from tests.chaos.traffic import Traffic

from pixelflow.controlplane.keys.admin import issue_key

WIDTH = 120
INTERRUPTED = 130
TICK_SECONDS = 0.05
SAY_SECONDS = 10.0
SETTLE_SECONDS = 150.0
LEASE_SECONDS = 5.0
PLAN = "plan"
"""Name of the part that runs the plan."""
SCENARIOS = (STORAGE, DISK, SIGNALS, REDIS, FAIRNESS)
SETTINGS = {
    "PIXELFLOW_LEASE_SECONDS": str(LEASE_SECONDS),
    "PIXELFLOW_WORKER_GRACE_SECONDS": "2",
    "PIXELFLOW_WEBHOOK_ALLOW_CIDRS": "127.0.0.0/8",
    "PIXELFLOW_WEBHOOK_ALLOW_HTTP": "true",
    "PIXELFLOW_RATE_LIMIT_ENABLED": "false",
    "PIXELFLOW_LOG_FORMAT": "json",
}


def main() -> int:
    """Run the plan. The exit code is 1 if an invariant was violated."""
    options = _options()
    console = Console(width=WIDTH)
    plan = make_plan(options.seed, jobs=options.jobs, kills=options.kills)
    if PLAN not in options.only:
        again = f"make chaos SEED={plan.seed} ONLY={','.join(options.only)}"
        console.print(f"seed {plan.seed}: the scenarios {', '.join(options.only)} alone. Repeat: {again}")
    else:
        again = f"make chaos SEED={plan.seed} JOBS={options.jobs} KILLS={options.kills}"
        console.print(
            f"seed {plan.seed}: {options.jobs} jobs, {len(plan.faults)} faults in {plan.seconds:.0f} s. Repeat: {again}"
        )
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    report = Report()
    try:
        if PLAN in options.only:
            _run_part(partial(_run, plan, console), report.begin("Random faults under load"), console)
        for scenario in SCENARIOS:
            if scenario.name in options.only:
                _run_part(partial(run_scenario, scenario), report.begin(scenario.title), console)
    except KeyboardInterrupt:
        console.print("Stopped. No process is left running.")
        return INTERRUPTED
    report.print(console)
    if not report.is_clean:
        console.print(again)
    return 0 if report.is_clean else 1


def _run_part(run: Callable[[Path, Part], None], part: Part, console: Console) -> None:
    """Run a part of the run in a home of its own; keep the logs if it failed."""
    began = time.monotonic()
    with new_home() as path:
        try:
            run(path, part)
        except KeyboardInterrupt:
            raise
        except BaseException:
            console.print(f"Logs: {_keep_logs(path)}.")
            raise
        if not part.is_clean:
            console.print(f"Logs: {_keep_logs(path)}.")
    part.count("seconds of this part", f"{time.monotonic() - began:.0f}")
    console.print(f"{part.title}: {'held' if part.is_clean else 'broken'} ({time.monotonic() - began:.0f} s)")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, required=True, help="seed of the plan")
    parser.add_argument("--jobs", type=int, default=400)
    parser.add_argument("--kills", type=int, default=30)
    parts = [PLAN, *(scenario.name for scenario in SCENARIOS)]
    parser.add_argument("--only", type=lambda text: text.split(","), default=parts, help=f"some of {','.join(parts)}")
    options = parser.parse_args()
    if unknown := set(options.only) - set(parts):
        parser.error(f"--only: {', '.join(sorted(unknown))} is not one of {', '.join(parts)}")
    return options


def _run(plan: Plan, console: Console, path: Path, part: Part) -> None:
    cluster = create_cluster(path, settings=SETTINGS, apis=2, controllers=2, workers=2)
    try:
        cluster.start()
        with Receivers() as receivers:
            traffic, injector = _run_plan(plan, cluster, receivers, console)
            _settle(cluster, part, console)
            _check(cluster, traffic, receivers, injector, part)
    finally:
        cluster.stop()
    check_leftovers(path, part)
    part.count("writes rejected by the lease fence", evidence.fenced_writes(path / "logs"))


def _run_plan(plan: Plan, cluster: Cluster, receivers: Receivers, console: Console) -> tuple[Traffic, FaultInjector]:
    """Run the plan until all clients have finished and all faults are undone."""
    key = issue_key(cluster.environment["PIXELFLOW_DATABASE_URL"], user_id="chaos", name="chaos")
    traffic = Traffic(
        run=f"chaos-{plan.seed}-{secrets.token_hex(4)}",
        jobs=plan.jobs,
        api_urls=cluster.api_urls,
        api_key=key,
        files=make_pictures(plan.seed),
        receivers=receivers,
    )
    injector = FaultInjector(cluster, plan.faults, LEASE_SECONDS)
    began = said = time.monotonic()
    try:
        traffic.begin()
        injector.begin()
        while not (traffic.is_over and injector.is_over):
            injector.tick()
            cluster.tick()
            time.sleep(TICK_SECONDS)
            if time.monotonic() - said > SAY_SECONDS:
                said = time.monotonic()
                through = sum(record.started for record in traffic.records)
                console.print(f"{said - began:4.0f} s: {through} jobs started, {injector.kills} kills")
    finally:
        traffic.stop()
        injector.undo()
    return traffic, injector


def _settle(cluster: Cluster, part: Part, console: Console) -> None:
    """Wait until the system has no work left, up to a time limit."""
    began = time.monotonic()
    left: dict[str, int] = {"unknown": 1}
    while any(left.values()) and time.monotonic() - began < SETTLE_SECONDS:
        cluster.tick()
        time.sleep(TICK_SECONDS * 10)
        try:
            left = dict(evidence.unsettled(cluster))
        except psycopg.OperationalError:
            left = {"unknown": 1}
    console.print(f"settled after {time.monotonic() - began:.0f} s; left: {left}")
    part.count("seconds until settled", f"{time.monotonic() - began:.0f}")


def _check(cluster: Cluster, traffic: Traffic, receivers: Receivers, injector: FaultInjector, part: Part) -> None:
    kept = evidence.collect(cluster)
    cases = invariants.cases(traffic.records, kept)
    _count(traffic, injector, receivers, kept, part)
    part.check("lost", invariants.lost(cases))
    part.check("stuck", invariants.stuck(kept))
    part.check("promises not kept", invariants.broken_promises(cases))
    part.check("unexplained ends", invariants.unexplained_ends(cases))
    part.check("wrong attempts", invariants.wrong_attempts(kept))
    part.check("outputs missing", invariants.missing_outputs(cases, kept))
    part.check("usage rows missing", invariants.missing_usage(kept))
    part.check("usage rows duplicated or unjustified", invariants.extra_usage(kept))
    part.check("events missing or duplicated", invariants.wrong_events(kept))
    part.check("deliveries missing, event IDs reused", invariants.wrong_deliveries(kept, receivers.deliveries))
    part.check("jobs created twice", invariants.doubled_creates(kept))
    part.check("objects of erased jobs", invariants.objects_of_erased(kept))
    found = recoveries(cluster, kept, clock_ahead=evidence.database_clock_ahead(cluster))
    if found:
        part.count("jobs whose worker was killed", len(found))
        part.count(
            "longest time from a worker's death to the next attempt", f"{max(each.seconds for each in found):.1f} s"
        )
        part.count("  excluding outages and saturation", f"{found[0].own_seconds:.1f} s")
    limit = LEASE_SECONDS + ALLOWED_BEYOND_LEASE
    slow = [f"job {each.job_id}: {each.own_seconds:.1f} s" for each in found if each.own_seconds > limit]
    part.check(f"next attempt later than {limit:.0f} s after a death", slow)


def _count(
    traffic: Traffic, injector: FaultInjector, receivers: Receivers, kept: evidence.Evidence, part: Part
) -> None:
    jobs = list(kept.jobs.values())
    part.count("faults", format_counts(Counter({kind.value: count for kind, count in injector.done.items()})))
    part.count("kills", injector.kills)
    part.count("started", sum(record.started for record in traffic.records))
    for status in ("created", "succeeded", "failed", "canceled"):
        part.count(status, sum(job.status == status and not job.is_erased for job in jobs))
    part.count("  failed because every attempt was disturbed", sum(invariants.is_exhausted(job) for job in jobs))
    part.count("erased", sum(job.is_erased for job in jobs))
    part.count("attempts", format_counts(Counter(a["outcome"] or "open" for job in jobs for a in job.attempts)))
    part.count("client calls, retries", f"{_sum(traffic, 'calls')}, {_sum(traffic, 'retries')}")
    part.count("events", sum(len(job.events) for job in jobs))
    part.count(
        "receiver calls", format_counts(Counter(str(call.status or "no answer") for call in receivers.deliveries))
    )
    part.count("outputs of dead attempts", len(invariants.orphan_outputs(kept)))


def _sum(traffic: Traffic, what: str) -> int:
    return sum(getattr(record, what) for record in traffic.records)


def _keep_logs(home: Path) -> Path:
    kept = home.with_name(f"{home.name}-logs")
    if (home / "logs").exists():
        shutil.copytree(home / "logs", kept)
    return kept


if __name__ == "__main__":
    sys.exit(main())
