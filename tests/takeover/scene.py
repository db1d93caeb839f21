"""A worker's sandbox whose children an attacker controls, and what they could reach: files, processes and sockets.

``python -m tests.takeover.scene`` runs all attempts as the user that it is, and prints the results as JSON.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import structlog
from tests.acceptance import pictures
from tests.support.system_calls import numbers_here
from tests.takeover.attempts import Attempt, attempts

from pixelflow.dataplane.child import confinement
from pixelflow.dataplane.worker.child_process import ChildProcess
from pixelflow.dataplane.worker.sandbox import Sandbox, TransformJob
from pixelflow.dataplane.worker.template import ChildLimits
from pixelflow.errors import JobError, StepFailedError, TransformCrashedError, TransformTimeoutError
from pixelflow.imaging.operations.resize.model import Resize
from pixelflow.imaging.protocol import TransformLimits

MEMORY_BYTES = 1_000_000_000
FILE_BYTES = 4_000_000
LIMITS = TransformLimits(max_source_pixels=10**6, max_output_pixels=10**6, max_output_bytes=FILE_BYTES)
STEPS = (Resize.model_validate({"id": "small", "action": "resize", "width": 120, "format": "jpeg"}),)
REFUSALS = {
    "EPERM": "seccomp", "ENOSYS": "seccomp", "ENOTTY": "seccomp", "SIGSYS": "seccomp",
    "EACCES": "Landlock or file mode",
    "EBADF": "descriptor is read-only", "EFBIG": "limit of file size", "ENOMEM": "limit of memory",
    "EMFILE": "limit of open files", "EAGAIN": "limit of threads, or a full pipe", "EISCONN": "socket is connected",
}  # fmt: skip
"""Errors that are a refusal, and the usual measure behind each. Any other error means that the attempt is wrong."""


@dataclass(frozen=True)
class Result:
    """The result of one attempt."""

    group: str
    name: str
    result: str
    prevented: bool


def judge(attempt: Attempt, result: str, changes: Sequence[str] = ()) -> Result:
    """Judge what the child reports and what the attempt has changed outside."""
    if changes:
        return Result(attempt.group, attempt.name, f"changed {', '.join(changes)}", prevented=False)
    if attempt.allowed:
        return Result(attempt.group, attempt.name, "allowed" if result == "done" else result, result == "done")
    kind, _, reason = result.partition(" ")
    return Result(attempt.group, attempt.name, result, kind in {"refused", "killed"} and reason in REFUSALS)


class Scene:
    """The sandbox and its surroundings."""

    def __init__(self, sandbox: Sandbox, folder: Path, bystander: int, listeners: Sequence[socket.socket]) -> None:
        self.sandbox = sandbox
        self.source = folder / "jobs/source"
        self._asset = folder / "jobs/asset"
        self._asset.write_text("logo of one user")
        self._folder = folder / "worker"
        self._listeners = listeners
        self._sibling = sandbox.children.take("sibling")
        self._taken: list[ChildProcess] = []
        take = sandbox.children.take

        def recorded(user_id: str) -> ChildProcess:
            self._taken.append(take(user_id))
            return self._taken[-1]

        sandbox.children.take = recorded  # type: ignore[method-assign]
        assert sandbox.children._template
        template = sandbox.children._template.pid
        self._pids = {"worker": os.getpid(), "template": template, "sibling": self._sibling.pid, "bystander": bystander}
        self._names = {
            **self._pids,
            "folder": str(self._folder), "victim": str(self._folder / "victim"), "mark": folder.name,
            "unix_socket": str(folder / "socket"),
            "others_source": str(self._folder / "source"), "others_asset": str(self._folder / "asset"),
            "library": str(Path(structlog.__file__).parent),
            "port": listeners[0].getsockname()[1], "bound": FILE_BYTES, "memory": MEMORY_BYTES,
            "many": 700 + 2 * confinement._count_threads(os.getuid()), "nr": numbers_here(),
            "photo": pictures.photo().hex(),
        }  # fmt: skip

    @property
    def last_child(self) -> ChildProcess:
        """The child of the last job."""
        return self._taken[-1]

    def run(self, attempt: Attempt) -> tuple[str, list[str]]:
        """Run an attempt in a child of its own; return its result and what it has changed."""
        self._lay_files()
        before = self._look()
        result = self.transform(attempt.name, attempt=attempt.code)
        after = self._look()
        return result, [name for name in before if before[name] != after[name]]

    def transform(self, user_id: str, **code: str) -> str:
        """Run a job whose source is code; return how it ended."""
        self.source.write_text(json.dumps({"names": self._names, **code}))
        try:
            with self.sandbox.slot() as transform:
                job = TransformJob(self.source, STEPS, LIMITS, user_id, {"logo": self._asset})
                transform(job, lambda _: None).close()
        except StepFailedError as error:
            return str(error)
        except TransformCrashedError:
            ended = self.last_child._exit
            if ended is not None and ended.code != -signal.SIGKILL:  # which is the worker's
                return f"killed {signal.Signals(-ended.code).name}" if ended.code < 0 else f"ended {ended.code}"
            return "crashed"
        except JobError as error:
            return "timed out" if isinstance(error, TransformTimeoutError) else type(error).__name__
        return "succeeded"

    def _lay_files(self) -> None:
        shutil.rmtree(self._folder)
        (self._folder / "empty").mkdir(parents=True)
        for name in ("victim", "source", "asset"):
            (self._folder / name).write_text("precious")

    def _look(self) -> dict[str, object]:
        """Observe what an attempt could change."""
        victim = self._folder / "victim"
        states = {name: _state(pid) for name, pid in self._pids.items()}
        return states | {
            "files": sorted(path.name for path in self._folder.iterdir()),
            "the file": (victim.read_text(), victim.stat()[:6], victim.stat().st_mtime_ns) if victim.exists() else None,
            "a connection": [_is_called(listener) for listener in self._listeners],
        }

    def runs(self, pid: int) -> bool:
        """Whether a process runs."""
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
        except FileNotFoundError:
            return False


def _state(pid: int) -> object:
    """What of a process an attempt could change."""
    process = Path(f"/proc/{pid}")
    runs = process.joinpath("stat").read_text().rpartition(")")[2].split()[0] in "RSDI"
    scheduling = os.getpriority(os.PRIO_PROCESS, pid), os.sched_getscheduler(pid), os.sched_getaffinity(pid)
    return runs, scheduling, process.joinpath("limits").read_text()


def _is_called(listener: socket.socket) -> bool:
    try:
        listener.accept()[0].close()
    except BlockingIOError:
        return False
    return True


@contextmanager
def opened(*, confined: bool = True) -> Iterator[Scene]:
    """Start the sandbox with a program that an attacker controls, and the processes and sockets around it."""
    child_user = 50_000 + os.getpid() % 10_000  # shares its limit of threads with no other run
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="takeover-")))
        for path in (folder / "jobs", folder / "worker"):
            path.mkdir()
        folder.chmod(0o755)
        bystander = stack.enter_context(
            subprocess.Popen(["sleep", "300"], user=child_user if os.getuid() == 0 else None, env={"SECRET": "hush"})
        )
        stack.callback(bystander.kill)
        listeners = [stack.enter_context(each) for each in _listeners(folder)]
        code = f"import sys; sys.path[:0] = {[path for path in sys.path if path]}; "
        code += f"from tests.takeover import hostile; hostile.run(confined={confined})"
        limits = ChildLimits(memory_bytes=MEMORY_BYTES, seconds=5, file_bytes=FILE_BYTES, user=child_user)
        sandbox = Sandbox(slots=1, limits=limits, scratch=folder, program=("-c", code))
        stack.callback(sandbox.close)
        sandbox.start(require_confinement=confined)
        scene = Scene(sandbox, folder, bystander.pid, listeners)
        stack.callback(scene._sibling.close)
        yield scene


def _listeners(folder: Path) -> Iterator[socket.socket]:
    """Servers that a child could connect to: by TCP as the database, by path, and by an abstract name."""
    for family, address in (
        (socket.AF_INET, ("127.0.0.1", 0)),
        (socket.AF_UNIX, str(folder / "socket")),
        (socket.AF_UNIX, f"\0{folder.name}"),
    ):
        listener = socket.socket(family)
        listener.bind(address)
        listener.listen()
        listener.setblocking(False)
        yield listener


# ── Conduct that takes more than one call ────────────────────────────────────────────────────────

_RENDER = "job.render(output, bytes.fromhex(photo)); "
_CRASHED, _TIMED_OUT = "crashed", "timed out"
_REPLIES = {
    "reply with the ID of another request": ("job.refuse('', request_id='0' * 16)", _CRASHED),
    "reply with invalid JSON": ("job.worker.sendall(b'{]\\n')", _CRASHED),
    "reply without end (1 GB)": ("for _ in range(1024): job.worker.sendall(bytes(1 << 20))", _CRASHED),
    "reply with an output that is not an image": ("job.render(output, b'x' * 999)", _CRASHED),
    "reply with an output of another format": ("job.render(output, b'GIF89a' + bytes(99))", _CRASHED),
    "reply with a code of its own": ("job.refuse('', code='evil')", _CRASHED),
    "compute without end, with all signals blocked": (
        "signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\nwhile True: pass", _TIMED_OUT,
    ),
}  # fmt: skip
_MAX_GROWTH_KB = 32 * 1024


def _conduct(scene: Scene) -> Iterator[Result]:
    for name, (script, expected) in _REPLIES.items():
        memory = _max_memory()
        result = scene.transform(name, script=script)
        faults = []
        if scene.runs(scene.last_child.pid):
            faults.append("lives on")
        if _max_memory() - memory > _MAX_GROWTH_KB:
            faults.append("filled the worker's memory")
        yield _conclude("replies", name, f"{result}, child ended", result.startswith(expected), *faults)
    yield _attach_descriptors(scene)
    yield _compute_while_idle(scene)
    yield _stay_for_the_next_user(scene)
    yield _keep_outputs(scene)
    yield _find_descriptors(scene)


def _max_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _conclude(group: str, name: str, result: str, prevented: bool, *faults: str) -> Result:
    return Result(group, name, ", ".join([*faults] or [result]), prevented and not faults)


def _attach_descriptors(scene: Scene) -> Result:
    before = set(Path("/proc/self/fd").iterdir())
    script = "job.refuse('taken', [source] * 100)"
    result = scene.transform("attach", script=script)
    scene.sandbox.children._starter.submit(lambda: None).result()  # the next child is forked
    gained = [fd for fd in set(Path("/proc/self/fd").iterdir()) - before if _leads_to(fd, scene.source)]
    return _conclude("replies", "attach descriptors", "dropped", result == "taken" and not gained)


def _leads_to(link: Path, path: Path) -> bool:
    try:
        return link.readlink() == path
    except FileNotFoundError:
        return False


def _compute_while_idle(scene: Scene) -> Result:
    spin = "threading.Thread(target=lambda: [0 for _ in iter(int, 1)], daemon=True).start()"
    first = scene.transform("idle", script=_RENDER + spin)
    child = scene.last_child
    time.sleep(0.1)
    second = scene.transform("idle", script=_RENDER)
    prevented = first == second == "succeeded" and scene.last_child.pid != child.pid and not scene.runs(child.pid)
    return _conclude("users", "compute while idle", "replaced", prevented)


def _stay_for_the_next_user(scene: Scene) -> Result:
    first = scene.transform("one", script=_RENDER + "serving.left_behind = True")
    child = scene.last_child
    kept = scene.transform("one", attempt="assert serving.left_behind")
    same = scene.last_child is child
    second = scene.transform("two", attempt="assert not hasattr(serving, 'left_behind')")
    prevented = (first, kept, second, same) == ("succeeded", "done", "done", True)
    prevented = prevented and scene.last_child.pid != child.pid
    return _conclude("users", "stay, with code of its own, for the next user", "replaced", prevented)


def _find_descriptors(scene: Scene) -> Result:
    """Look for descriptors of another user's files, in a child that another user's transforms preceded."""
    first = scene.transform("owner", script=_RENDER)
    result = scene.transform("finder", attempt="assert open_descriptors() == {0, 1, 2, 3, source, output, asset}")
    found = "none" if result == "done" else result
    return _conclude("users", "find descriptors of another user", found, (first, result) == ("succeeded", "done"))


def _keep_outputs(scene: Scene) -> Result:
    """Keep the file of each job, and fill them all to the bound afterwards."""
    keep = "serving.kept = getattr(serving, 'kept', []) + [os.dup(output)]; "
    jobs = [scene.transform("keeper", script=keep + _RENDER) for _ in range(4)]
    child = scene.last_child
    fill = (
        "[(os.lseek(fd, bound - 1, 0), os.write(fd, b'x')) for fd in serving.kept]; held = map(os.fstat, serving.kept)"
    )
    result = scene.transform(
        "keeper", attempt=f"{fill}; assert sum({{each.st_ino: each.st_size for each in held}}.values()) <= bound"
    )
    prevented = [*jobs, result] == ["succeeded"] * 4 + ["done"] and scene.last_child is child
    return _conclude("its own files", "fill the outputs of earlier jobs", "bounded" if prevented else result, prevented)


def results(*, confined: bool) -> Iterator[Result]:
    """Run everything; without confinement, only what it would refuse."""
    with opened(confined=confined) as scene:
        for attempt in attempts():
            if confined or (attempt.harmless and not attempt.allowed):
                yield judge(attempt, *scene.run(attempt))
        if confined:
            yield from _conduct(scene)


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    json.dump([asdict(result) for result in results(confined="--unconfined" not in sys.argv)], sys.stdout)
