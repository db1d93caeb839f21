"""Draws ``docs/architecture.svg``: its positions and words are here, its packages and connections come from the code.

The packages of a process, and the servers that it connects to, are what its ``main`` module imports.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from string import Template
from xml.sax.saxutils import escape

from tests.support.imports import ROOT, loaded_with

FILE = Path(__file__).parents[2] / "docs" / "architecture.svg"
TEMPLATE = Template(Path(__file__).with_name("architecture.svg.template").read_text(encoding="utf-8"))
CHARACTER = 6.7
"""Width of a character of a package's name, in pixels."""
CHIP_HEIGHT = 22
LIBRARIES = {"errors", "adapters", "cli", "client", "contracts", "devstack", "imaging", "settings"}
"""Packages that are no process's own: processes and people's programs share them."""
COMMAND_LINE = {"controlplane.secrets"}
"""Packages of the planes that only commands for operators load."""
SERVERS = {
    "pixelflow.adapters.postgres": "postgres",
    "pixelflow.adapters.wakeup": "redis",
    "pixelflow.adapters.storage": "storage",
    "pixelflow.controlplane.webhooks.dispatcher": "receiver",
}
"""A process that imports the one connects to the other. (The API imports ``outbound_http`` only to validate URLs.)"""


@dataclass(frozen=True)
class Box:
    """A process, where it is drawn."""

    package: str
    """Has the module ``main``."""
    title: str
    x: int
    y: int
    width: int
    height: int
    text: str

    @property
    def lines(self) -> list[str]:
        """What is written below the title."""
        return [line.strip() for line in self.text.strip().splitlines()]

    @property
    def loads(self) -> set[str]:
        """The modules of the process."""
        return loaded_with(f"pixelflow.{self.package}.main")

    @property
    def subjects(self) -> list[str]:
        """The packages of its own plane that it loads, except the processes."""
        plane = self.package.partition(".")[0]
        others = {name.split(".")[2] for name in self.loads if name.startswith(f"pixelflow.{plane}.")}
        return sorted(name for name in others if (ROOT / plane / name).is_dir() and not _is_process(plane, name))

    @property
    def servers(self) -> set[str]:
        """What it connects to."""
        return {server for adapter, server in SERVERS.items() if adapter in self.loads}


PROCESSES = {
    "api": Box("controlplane.api", "API", 276, 92, 304, 206, """
        Authenticates, validates, signs URLs,
        stores jobs and enqueues them"""),
    "controller": Box("controlplane.controller", "Controller", 276, 324, 304, 180, """
        Requeues jobs of expired leases,
        delivers webhooks, deletes expired data"""),
    "worker": Box("dataplane.worker", "Worker", 948, 92, 236, 124, """
        Claims jobs, renews leases,
        transfers sources and outputs"""),
    "child": Box("dataplane.child", "Transform child", 948, 324, 236, 180, """
        Decodes images of one user.
        No network, no credentials;
        killed at its deadline"""),
}  # fmt: skip

CONNECTIONS = {
    ("api", "redis"): ("both", "M580 150H676", (628, 140, "middle", "wake-ups, limits")),
    ("api", "postgres"): ("both", "M580 246C640 246 616 370 676 370", None),
    ("api", "storage"): ("end", "M276 270H64V594H252", (158, 586, "middle", "HEAD")),
    ("controller", "redis"): ("end", "M580 366C640 366 616 190 676 190", None),
    ("controller", "postgres"): ("both", "M580 418H676", (628, 408, "middle", "SQL")),
    ("controller", "storage"): ("end", "M428 504V576", (436, 552, "start", "DELETE")),
    ("controller", "receiver"): ("end", "M276 418H200", (229, 408, "middle", "webhook")),
    ("worker", "redis"): ("start", "M948 150H856", (902, 140, "middle", "wake-ups")),
    ("worker", "postgres"): ("both", "M948 194C888 194 916 394 856 394", None),
    ("worker", "storage"): ("bytes", "M1184 150H1200V576", (1190, 552, "end", "image bytes")),
}
"""How a connection is drawn: its arrowheads, its path, and the place and anchor of its label."""


def draw() -> str:
    """The picture as SVG.

    Raises:
        KeyError: a process connects to a server and the picture has no place for that.
    """
    links = [(name, server) for name, box in PROCESSES.items() for server in sorted(box.servers)]
    return TEMPLATE.substitute(
        boxes="\n".join(line for name, box in PROCESSES.items() for line in _box(name, box)),
        links="\n".join(_path(*CONNECTIONS[link][:2]) for link in links),
        labels="\n".join(_label(*label, CONNECTIONS[link][0]) for link in links if (label := CONNECTIONS[link][2])),
    )


def _is_process(plane: str, name: str) -> bool:
    return (ROOT / plane / name / "main.py").exists()


def _box(name: str, box: Box) -> Iterator[str]:
    place = f'x="{box.x}" y="{box.y}" width="{box.width}" height="{box.height}"'
    yield f'  <rect class="box{" sandbox" if name == "child" else ""}" {place} rx="10"/>'
    yield f'  <text class="name" x="{box.x + 16}" y="{box.y + 29}">{box.title}</text>'
    yield f'  <text class="mono faint" x="{box.x + 16}" y="{box.y + 48}">{box.package}</text>'
    for number, line in enumerate(box.lines):
        yield f'  <text class="small" x="{box.x + 16}" y="{box.y + 74 + 18 * number}">{escape(line)}</text>'
    kind = "chip" if box.package.startswith("controlplane") else "chip green-chip"
    yield from _chips(kind, box.subjects, box.x + 16, box.y + 70 + 18 * len(box.lines), box.x + box.width - 16)


def _chips(kind: str, names: Iterable[str], left: float, y: float, right: float) -> Iterator[str]:
    x = left
    for name in names:
        width = CHARACTER * len(name) + 16
        if x + width > right:
            x, y = left, y + CHIP_HEIGHT + 6
        yield f'  <rect class="{kind}" x="{x:g}" y="{y:g}" width="{width:g}" height="{CHIP_HEIGHT}" rx="11"/>'
        yield f'  <text class="mono" x="{x + width / 2:g}" y="{y + 15:g}" text-anchor="middle">{name}</text>'
        x += width + 6


def _path(ends: str, path: str) -> str:
    if ends == "bytes":
        return f'  <path class="bytes" d="{path}" marker-start="url(#bytes)" marker-end="url(#bytes)"/>'
    heads = "".join(f' marker-{end}="url(#control)"' for end in ("start", "end") if ends in {end, "both"})
    return f'  <path class="control" d="{path}"{heads}/>'


def _label(x: int, y: int, anchor: str, text: str, ends: str) -> str:
    kind = "bytes-label" if ends == "bytes" else "small"
    return f'  <text class="{kind}" x="{x}" y="{y}" text-anchor="{anchor}">{text}</text>'


if __name__ == "__main__":
    FILE.write_text(draw(), encoding="utf-8")
