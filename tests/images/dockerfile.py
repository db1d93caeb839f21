"""Dockerfile parser: stages and their instructions.

It supports the instructions that PixelFlow's Dockerfiles use, and must reject all others instead of skipping them.
"""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

BUILD_INSTRUCTIONS = {"RUN", "COPY", "WORKDIR", "ENV"}
METADATA_INSTRUCTIONS = {
    "ARG", "LABEL", "USER", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT", "CMD", "VOLUME"
}  # fmt: skip


@dataclass(frozen=True)
class Instruction:
    """An instruction, with continuation lines joined."""

    name: str
    text: str

    @property
    def words(self) -> list[str]:
        """The arguments, split like a shell does."""
        return shlex.split(self.text)

    @property
    def json(self) -> list[str]:
        """The list of the exec form.

        Raises:
            ValueError: the instruction is in shell form, which does not forward signals.
        """
        found = json.loads(self.text)
        if not isinstance(found, list):
            raise ValueError(f"{self.name} is not in exec form: {self.text}")  # noqa: TRY004  # as json raises
        return [str(part) for part in found]


@dataclass(frozen=True)
class Stage:
    """A build stage, from one FROM to the next."""

    base: str
    name: str
    instructions: tuple[Instruction, ...]

    def all(self, name: str) -> list[Instruction]:
        """Return the instructions with this name, in order."""
        return [each for each in self.instructions if each.name == name]

    def last(self, name: str) -> Instruction:
        """Return the last instruction with this name, which takes effect.

        Raises:
            LookupError: there is no such instruction.
        """
        found = self.all(name)
        if not found:
            raise LookupError(f"no {name}")
        return found[-1]

    @property
    def health_check(self) -> list[str]:
        """The command of HEALTHCHECK, without its options."""
        _, _, command = self.last("HEALTHCHECK").text.partition("CMD ")
        return Instruction("CMD", command).json


def read(path: Path) -> list[Stage]:
    """Return the stages of a Dockerfile.

    Raises:
        ValueError: an instruction is not supported.
    """
    stages: list[tuple[Instruction, list[Instruction]]] = []
    for instruction in _instructions(path.read_text(encoding="utf-8")):
        if instruction.name == "FROM":
            stages.append((instruction, []))
        elif instruction.name in BUILD_INSTRUCTIONS | METADATA_INSTRUCTIONS and stages:
            stages[-1][1].append(instruction)
        else:
            raise ValueError(f"unsupported: {instruction.name} {instruction.text}")
    return [_stage(opening, inside) for opening, inside in stages]


def _instructions(text: str) -> list[Instruction]:
    code = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE)
    joined = re.sub(r"\\\n\s*", " ", code)
    found = [line.strip().partition(" ") for line in joined.splitlines() if line.strip()]
    return [Instruction(name.upper(), rest.strip()) for name, _, rest in found]


def _stage(opening: Instruction, inside: list[Instruction]) -> Stage:
    base, *named = opening.words
    return Stage(base, named[-1] if named else "", tuple(inside))
