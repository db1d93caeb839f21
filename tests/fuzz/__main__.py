"""``python -m tests.fuzz --seconds 600``: fuzz the transform, then send what was found through real confined children.

Ends by itself. The exit status is 1 if a file crashed or hung a transform; such files are kept in ``.fuzz/crashes``.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from pydantic import TypeAdapter
from tests.fuzz.pipelines import LIMITS, pipeline_for
from tests.fuzz.seeds import write_seeds
from tests.integration.sandbox.sandboxes import opened_sandbox, transformed
from tests.support.rendering import set_up_libvips

from pixelflow.dataplane.worker.sandbox import TransformJob
from pixelflow.dataplane.worker.template import ChildLimits
from pixelflow.errors import JobError
from pixelflow.imaging.pipeline import Pipeline

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".fuzz"
_SHARE_FUZZED = 0.6
"""Of the time; the rest is for the confined children."""
_FILE_SECONDS = 20
_MEMORY_MB = 3000
_MAX_FILE_BYTES = 8192
_UNACCEPTABLE = {"transform_crashed", "transform_timeout", "worker_unavailable"}
_STATE = re.compile(r"#(\d+)\s.*?cov: (\d+).*?corp: (\d+)")


def main() -> int:
    """Fuzz, replay, print a report and return the exit status."""
    parser = argparse.ArgumentParser(description="Fuzz the transform of images")
    parser.add_argument("--seconds", type=int, default=600)
    seconds: int = parser.parse_args().seconds
    corpus, crashes = FOLDER / "corpus", FOLDER / "crashes"
    for folder in (corpus, crashes):
        folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as fonts:
        set_up_libvips(Path(fonts))
        print(f"{write_seeds(corpus)} seeds; {seconds} s in all", flush=True)
    before = set(crashes.iterdir())
    runs = _fuzz(corpus, crashes, time.monotonic() + seconds * _SHARE_FUZZED)
    ends, failures = _replay(corpus, seconds * (1 - _SHARE_FUZZED))
    found = sorted(set(crashes.iterdir()) - before)
    print(f"{runs} runs of the fuzzer; {len(found)} crashed or hung")
    print(
        f"{ends.total()} files through confined children: " + ", ".join(f"{n} {end}" for end, n in ends.most_common())
    )
    for path in [*found, *failures]:
        print(f"failed: {path.relative_to(ROOT)}")
    return 1 if found or failures else 0


def _fuzz(corpus: Path, crashes: Path, end: float) -> int:
    """Run the fuzzer, again after each crash, and return the number of files that it tried."""
    runs = 0
    while (left := int(end - time.monotonic())) > 0:
        command = [
            sys.executable, "-m", "tests.fuzz.target", str(corpus), f"-max_total_time={left}",
            f"-timeout={_FILE_SECONDS}", f"-rss_limit_mb={_MEMORY_MB}", f"-max_len={_MAX_FILE_BYTES}",
            f"-artifact_prefix={crashes}/", "-len_control=0",
        ]  # fmt: skip
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, errors="replace", check=False)
        (FOLDER / "fuzzer.log").write_text(done.stderr)
        states = _STATE.findall(done.stderr)
        if not states:
            sys.exit(f"The fuzzer did not start:\n{done.stderr[-2000:]}")
        runs += int(states[-1][0])
        print(f"fuzzer: {states[-1][0]} runs, coverage {states[-1][1]}, exit {done.returncode}", flush=True)
        if done.returncode == 0:
            break
    return runs


def _replay(corpus: Path, seconds: float) -> tuple[Counter[str], list[Path]]:
    """Send files of the corpus through confined children. Returns how they ended, and the files that failed one."""
    ends: Counter[str] = Counter()
    failures = []
    limit = ChildLimits(memory_bytes=2_000_000_000, seconds=_FILE_SECONDS)
    end = time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as scratch, opened_sandbox(Path(scratch), slots=1, limits=limit) as sandbox:
        for path in _newest_first(corpus):
            if time.monotonic() > end:
                break
            steps = TypeAdapter(Pipeline).validate_python(pipeline_for(path.read_bytes()))
            try:
                with transformed(sandbox, TransformJob(path, tuple(steps), LIMITS, "user")):
                    code = "succeeded"
            except JobError as error:
                code = error.code
            ends[code] += 1
            if code in _UNACCEPTABLE:
                failures.append(path)
    return ends, failures


def _newest_first(folder: Path) -> Iterator[Path]:
    yield from sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)


if __name__ == "__main__":
    sys.exit(main())
