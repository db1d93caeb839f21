"""A worker's transform children: forked from one template, each for one user, and never for a second one.

A child is kept for the next job of its user for some seconds (isolation ``user``) or ended after its job (``job``). One
fresh child, which no user has used yet, is forked ahead.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from pathlib import Path

import structlog

from pixelflow.dataplane.worker.child_process import ChildProcess
from pixelflow.dataplane.worker.template import PROGRAM, ChildDiedError, ChildLimits, ChildTimedOutError, Template
from pixelflow.errors import WorkerUnavailableError

IDLE_SECONDS = 5.0
"""Time that an idle child is kept for its user. libvips' own idle threads end later: they would move it."""

_log = structlog.get_logger(__name__)


class Isolation(StrEnum):
    """What a child serves."""

    USER = "user"
    """Jobs of one user."""
    JOB = "job"
    """One job."""


class ConfinementMissingError(Exception):
    """Confinement is required, and a part of it is not available here."""


class Children:
    """The pool. Thread-safe."""

    def __init__(
        self,
        limits: ChildLimits,
        scratch: Path,
        *,
        isolation: Isolation = Isolation.USER,
        max_idle: int = 1,
        program: Sequence[str] = PROGRAM,
        on_start: Callable[[], None] = lambda: None,
        on_confinement: Callable[[Mapping[str, bool]], None] = lambda _: None,
    ) -> None:
        """Start no process yet.

        Args:
            limits: of each child.
            scratch: folder for outputs in progress.
            isolation: what a child serves.
            max_idle: number of idle children that are kept.
            program: arguments of the Python interpreter that starts the template.
            on_start: called for each child that starts.
            on_confinement: called for each template that starts, with the parts of the confinement that are in force.
        """
        self._require_confinement = False
        self._limits = limits
        self._scratch = scratch
        self._isolation = isolation
        self._max_idle = max_idle
        self._program = program
        self._on_start = on_start
        self._on_confinement = on_confinement
        self._template: Template | None = None
        self.libvips = ""
        """Version of libvips, once a template has started."""
        self.extras: tuple[str, ...] = ()
        """Optional capabilities that work, once a template has started."""
        self._fresh: ChildProcess | None = None
        self._idle: list[ChildProcess] = []
        self._closed = False
        self._changed = threading.Condition()
        # The kernel kills the template when the thread that started it ends; this thread lives as long as the worker.
        self._starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="template")
        self._keeper = threading.Thread(target=self._end_idle_children, name="children", daemon=True)

    def start(self, *, require_confinement: bool = False) -> None:
        """Start the template and one child, so that a worker whose children can't start fails at once.

        Raises:
            ChildDiedError, ChildTimedOutError: the template or the child did not start.
            ConfinementMissingError: a part of the confinement is required and not available.
        """
        self._require_confinement = require_confinement
        self._starter.submit(self._live_template).result()
        self._fresh = self._new_child()
        self._keeper.start()

    def take(self, user_id: str) -> ChildProcess:
        """Return a child for a job of the user, idle or fresh.

        Raises:
            WorkerUnavailableError: no child could be started.
            OSError: the worker lacks descriptors or processes.
        """
        while (idle := self._pop_idle(user_id)) is not None:
            if idle.usable:
                return idle
            idle.close()
        child = self._pop_fresh()
        if child is not None and not child.usable:
            child.close()
            child = None
        try:
            child = child or self._new_child()
        except (ChildDiedError, ChildTimedOutError, ConfinementMissingError) as error:
            _log.warning("transform child failed to start", reason=str(error))
            raise WorkerUnavailableError("The transform process could not be started") from error
        child.user_id = user_id
        self._in_background(self._fork_ahead)
        return child

    def put_back(self, child: ChildProcess) -> None:
        """Keep the child for the next job of its user, or end it."""
        child.settle()
        surplus = child
        if self._isolation is Isolation.USER and child.usable:
            with self._changed:
                self._idle.append(child)
                if len(self._idle) <= self._max_idle:
                    self._changed.notify_all()
                    return
                surplus = self._idle.pop(0)
        self._in_background(surplus.close)

    def close(self) -> None:
        """End idle children and the template; all others end with it."""
        with self._changed:
            self._closed = True
            children, self._idle = [*self._idle, *filter(None, [self._fresh])], []
            self._fresh = None
            self._changed.notify_all()
        for child in children:
            child.close()
        self._starter.shutdown()
        if self._template is not None:
            self._template.close()

    def _in_background(self, work: Callable[[], None]) -> None:
        try:
            self._starter.submit(work)
        except RuntimeError:  # closed
            if work != self._fork_ahead:
                work()

    def _live_template(self) -> Template:
        """Return the template; start it if it does not run. Runs in the starter's thread only."""
        if self._template is not None:
            if self._template.alive:
                return self._template
            _log.warning("template of the transform children died")
            self._template.close()
            self._template = None
        template = Template(self._limits, self._scratch, self._program)
        try:
            confinement = template.wait_ready()
            self._on_confinement(confinement)
            self._check_confinement(confinement)
        except BaseException:
            template.close()
            raise
        for name, reason in template.broken_extras.items():
            _log.warning("extra does not load", extra=name, reason=reason)
        self._template, self.libvips, self.extras = template, template.libvips, template.extras
        return template

    def _check_confinement(self, parts: Mapping[str, bool]) -> None:
        missing = sorted(part for part, available in parts.items() if not available)
        if missing and self._require_confinement:
            raise ConfinementMissingError(f"Transform children can't be confined by: {', '.join(missing)}")
        if missing:
            _log.warning("transform children are not fully confined", missing=missing)

    def _new_child(self) -> ChildProcess:
        template = self._template
        if template is None or not template.alive:
            template = self._starter.submit(self._live_template).result()
        return self._started(template)

    def _started(self, template: Template) -> ChildProcess:
        child = ChildProcess(template, self._limits)
        self._on_start()
        try:
            child.wait_ready()
        except BaseException:
            child.close()
            raise
        return child

    def _fork_ahead(self) -> None:
        if self._fresh is not None or self._closed:
            return
        try:
            child = self._started(self._live_template())
        except (ChildDiedError, ChildTimedOutError, ConfinementMissingError, OSError) as error:  # the next job fails
            _log.warning("transform child failed to start", reason=str(error))
            return
        with self._changed:
            if not self._closed:
                self._fresh = child
                return
        child.close()

    def _pop_fresh(self) -> ChildProcess | None:
        with self._changed:
            child, self._fresh = self._fresh, None
            return child

    def _pop_idle(self, user_id: str) -> ChildProcess | None:
        with self._changed:
            for place in reversed(range(len(self._idle))):
                if self._idle[place].user_id == user_id:
                    return self._idle.pop(place)
        return None

    def _end_idle_children(self) -> None:
        while True:
            with self._changed:
                if self._closed:
                    return
                oldest = self._idle[0].idle_since + IDLE_SECONDS if self._idle else None
                if oldest is None or oldest > time.monotonic():
                    self._changed.wait(None if oldest is None else oldest - time.monotonic())
                    continue
                child = self._idle.pop(0)
            child.close()
