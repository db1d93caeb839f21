"""How far a batch is, as bars on a terminal's stderr; nothing where nobody looks. Never writes to stdout."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich import progress as rich
from rich.console import Console
from rich.text import Text


class Progress:
    """Two bars: bytes uploaded, photos done."""

    def __init__(self, bars: rich.Progress, total_bytes: int, photos: int) -> None:
        self._bars = bars
        self._uploaded = bars.add_task("Upload", total=total_bytes, unit="bytes")
        self._done = bars.add_task("Photos", total=photos, unit="photos")

    def upload(self) -> Callable[[int, int], None]:
        """What one upload reports its bytes to; a repeated try takes its first bytes back."""
        before = 0

        def report(sent: int, _: int) -> None:
            nonlocal before
            self._bars.advance(self._uploaded, sent - before)
            before = sent

        return report

    def finished(self) -> None:
        """One more photo is done, in whatever way."""
        self._bars.advance(self._done)


@contextmanager
def watching(photos: Sequence[Path]) -> Iterator[Progress]:
    """Bars for these photos while within."""
    columns = (
        rich.TextColumn("{task.description}"),
        rich.BarColumn(),
        _Amount(),
        rich.TimeElapsedColumn(),
    )
    with rich.Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bars:
        yield Progress(bars, sum(photo.stat().st_size for photo in photos), len(photos))


class _Amount(rich.ProgressColumn):
    def render(self, task: rich.Task) -> Text:
        counted = rich.DownloadColumn() if task.fields["unit"] == "bytes" else rich.MofNCompleteColumn()
        return counted.render(task)
