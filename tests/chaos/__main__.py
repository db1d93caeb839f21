"""``python -m tests.chaos``: run a plan against a stage of its own, wait until all has settled, and judge what is left.

Ends by itself, and leaves nothing behind but the home of a run that broke a law.
"""

from __future__ import annotations

import argparse
import secrets
import shutil
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import psycopg
from rich.console import Console
from tests.chaos import audit, evidence
from tests.chaos.faults import Trouble
from tests.chaos.pictures import make_pictures
from tests.chaos.plan import Plan, make_plan
from tests.chaos.receiver import Receivers
from tests.chaos.recovery import ALLOWED_BEYOND_LEASE, recoveries
from tests.chaos.report import Report, in_words
from tests.chaos.stage import Stage, new_home, set_stage
from tests.chaos.traffic import Traffic
from tests.integration.devstack.processes_of import wait_until_none

from pixelflow.controlplane.keys.admin import issue_key

WIDTH = 120
INTERRUPTED = 130
TICK_SECONDS = 0.05
SAY_SECONDS = 10.0
SETTLE_SECONDS = 150.0
ORPHAN_SECONDS = 5.0
LEASE_SECONDS = 5.0
SETTINGS = {
    "PIXELFLOW_LEASE_SECONDS": str(LEASE_SECONDS),
    "PIXELFLOW_WORKER_GRACE_SECONDS": "2",
    "PIXELFLOW_WEBHOOK_ALLOW_CIDRS": "127.0.0.0/8",
    "PIXELFLOW_WEBHOOK_ALLOW_HTTP": "true",
    "PIXELFLOW_RATE_LIMIT_ENABLED": "false",
    "PIXELFLOW_LOG_FORMAT": "json",
}


def main() -> int:
    """Run; the exit status is 1 if a law was broken."""
    options = _options()
    console = Console(width=WIDTH)
    plan = make_plan(options.seed, jobs=options.jobs, kills=options.kills)
    again = f"make chaos SEED={plan.seed} JOBS={options.jobs} KILLS={options.kills}"
    console.print(
        f"seed {plan.seed}: {options.jobs} jobs, {len(plan.faults)} faults in {plan.seconds:.0f} s. Again: {again}"
    )
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with new_home() as path:
        try:
            report = _run(plan, path, console)
        except KeyboardInterrupt:
            console.print("Stopped; nothing is left running.")
            return INTERRUPTED
        except BaseException:
            console.print(f"The logs are kept in {_keep_logs(path)}.")
            raise
        report.print(console)
        if not report.is_clean:
            console.print(f"The logs are kept in {_keep_logs(path)}.\n{again}")
    return 0 if report.is_clean else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, required=True, help="of the plan")
    parser.add_argument("--jobs", type=int, default=400)
    parser.add_argument("--kills", type=int, default=30)
    return parser.parse_args()


def _run(plan: Plan, path: Path, console: Console) -> Report:
    report = Report()
    stage = set_stage(path, settings=SETTINGS, apis=2, controllers=2, workers=2)
    try:
        stage.start()
        with Receivers() as receivers:
            traffic, trouble = _let_loose(plan, stage, receivers, console)
            _settle(stage, report, console)
            _judge(stage, traffic, receivers, trouble, report)
    finally:
        stage.stop()
    report.hold("orphan processes", wait_until_none(path, ORPHAN_SECONDS))
    report.hold("scratch left", [str(found) for found in (path / "scratch").iterdir()])
    report.hold("unforeseen errors logged", evidence.unforeseen_lines(path / "logs"))
    report.count("writes given up at the fence", evidence.refusals_by_fence(path / "logs"))
    return report


def _let_loose(plan: Plan, stage: Stage, receivers: Receivers, console: Console) -> tuple[Traffic, Trouble]:
    """The plan, from its first second until every client is through and everything works again."""
    key = issue_key(stage.environment["PIXELFLOW_DATABASE_URL"], user_id="chaos", name="chaos")
    traffic = Traffic(
        run=f"chaos-{plan.seed}-{secrets.token_hex(4)}",
        jobs=plan.jobs,
        api_urls=stage.api_urls,
        api_key=key,
        files=make_pictures(plan.seed),
        receivers=receivers,
    )
    trouble = Trouble(stage, plan.faults, LEASE_SECONDS)
    began = said = time.monotonic()
    try:
        traffic.begin()
        trouble.begin()
        while not (traffic.is_over and trouble.is_over):
            trouble.tick()
            stage.tick()
            time.sleep(TICK_SECONDS)
            if time.monotonic() - said > SAY_SECONDS:
                said = time.monotonic()
                through = sum(story.started for story in traffic.stories)
                console.print(f"{said - began:4.0f} s: {through} jobs started, {trouble.kills} kills")
    finally:
        traffic.stop()
        trouble.undo()
    return traffic, trouble


def _settle(stage: Stage, report: Report, console: Console) -> None:
    """Wait until the system has nothing left to do, or too long."""
    began = time.monotonic()
    left: dict[str, int] = {"unknown": 1}
    while any(left.values()) and time.monotonic() - began < SETTLE_SECONDS:
        stage.tick()
        time.sleep(TICK_SECONDS * 10)
        try:
            left = dict(evidence.unsettled(stage))
        except psycopg.OperationalError:
            left = {"unknown": 1}
    console.print(f"settled after {time.monotonic() - began:.0f} s; left: {left}")
    report.count("seconds until all had settled", f"{time.monotonic() - began:.0f}")


def _judge(stage: Stage, traffic: Traffic, receivers: Receivers, trouble: Trouble, report: Report) -> None:
    kept = evidence.collect(stage)
    cases = audit.cases(traffic.stories, kept)
    _count(traffic, trouble, receivers, kept, report)
    report.hold("lost", audit.lost(cases))
    report.hold("stuck", audit.stuck(kept))
    report.hold("promises broken", audit.broken_promises(cases))
    report.hold("ended for no reason that we caused", audit.unexplained_ends(cases))
    report.hold("wrong attempts", audit.wrong_attempts(kept))
    report.hold("outputs missing", audit.missing_outputs(cases, kept))
    report.hold("usage rows missing", audit.missing_usage(kept))
    report.hold("usage rows doubled or without cause", audit.extra_usage(kept))
    report.hold("events missing or doubled", audit.wrong_events(kept))
    report.hold("deliveries missing, event ids doubled", audit.wrong_deliveries(kept, receivers.heard))
    report.hold("jobs created twice", audit.doubled_creates(kept))
    report.hold("objects of erased jobs", audit.objects_of_erased(kept))
    found = recoveries(stage, kept, clock_ahead=evidence.database_clock_ahead(stage))
    if found:
        report.count("jobs whose worker was killed", len(found))
        report.count("longest from death to next attempt", f"{max(each.seconds for each in found):.1f} s")
        report.count("  without outages and full hands", f"{found[0].own_seconds:.1f} s")
    limit = LEASE_SECONDS + ALLOWED_BEYOND_LEASE
    slow = [f"job {each.job_id}: {each.own_seconds:.1f} s" for each in found if each.own_seconds > limit]
    report.hold(f"next attempt later than {limit:.0f} s after a death", slow)


def _count(traffic: Traffic, trouble: Trouble, receivers: Receivers, kept: evidence.Evidence, report: Report) -> None:
    jobs = list(kept.jobs.values())
    report.count("faults", in_words(Counter({kind.value: count for kind, count in trouble.done.items()})))
    report.count("kills", trouble.kills)
    report.count("started", sum(story.started for story in traffic.stories))
    for status in ("created", "succeeded", "failed", "canceled"):
        report.count(status, sum(job.status == status and not job.is_erased for job in jobs))
    report.count("  failed because every attempt was disturbed", sum(audit.is_exhausted(job) for job in jobs))
    report.count("erased", sum(job.is_erased for job in jobs))
    report.count("attempts", in_words(Counter(a["outcome"] or "open" for job in jobs for a in job.attempts)))
    report.count("calls of clients, tries beyond the first", f"{_sum(traffic, 'calls')}, {_sum(traffic, 'retries')}")
    report.count("events", sum(len(job.events) for job in jobs))
    report.count("calls of receivers", in_words(Counter(str(call.status or "no answer") for call in receivers.heard)))
    report.count("outputs of dead attempts", len(audit.orphan_outputs(kept)))


def _sum(traffic: Traffic, what: str) -> int:
    return sum(getattr(story, what) for story in traffic.stories)


def _keep_logs(home: Path) -> Path:
    kept = home.with_name(f"{home.name}-logs")
    shutil.copytree(home / "logs", kept)
    return kept


if __name__ == "__main__":
    sys.exit(main())
