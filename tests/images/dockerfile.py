"""A Dockerfile, read: its stages and what each of their instructions says.

Knows the instructions that ours use, and refuses others: what a check does not understand, it must not skip.
"""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

DONE_AT_BUILD = {"RUN", "COPY", "WORKDIR", "ENV"}
TOLD_OF_THE_IMAGE = {
    "ARG", "LABEL", "USER", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT", "CMD", "VOLUME"
}  # fmt: skip


@dataclass(frozen=True)
class Instruction:
    """One of a stage, its lines joined."""

    name: str
    text: str

    @property
    def words(self) -> list[str]:
        """Split as a shell would."""
        return shlex.split(self.text)

    @property
    def json(self) -> list[str]:
        """The list of the exec form.

        Raises:
            ValueError: it is in shell form, which signals do not get through.
        """
        found = json.loads(self.text)
        if not isinstance(found, list):
            raise ValueError(f"{self.name} is not in exec form: {self.text}")  # noqa: TRY004  # what json raises, too
        return [str(part) for part in found]


@dataclass(frozen=True)
class Stage:
    """From one FROM to the next."""

    base: str
    name: str
    instructions: tuple[Instruction, ...]

    def all(self, name: str) -> list[Instruction]:
        """Those of that name, in order."""
        return [each for each in self.instructions if each.name == name]

    def last(self, name: str) -> Instruction:
        """The one that counts.

        Raises:
            LookupError: there is none.
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
    """The stages of a Dockerfile.

    Raises:
        ValueError: it holds an instruction that is not known here.
    """
    stages: list[tuple[Instruction, list[Instruction]]] = []
    for instruction in _instructions(path.read_text(encoding="utf-8")):
        if instruction.name == "FROM":
            stages.append((instruction, []))
        elif instruction.name in DONE_AT_BUILD | TOLD_OF_THE_IMAGE and stages:
            stages[-1][1].append(instruction)
        else:
            raise ValueError(f"not known: {instruction.name} {instruction.text}")
    return [_stage(opening, inside) for opening, inside in stages]


def _instructions(text: str) -> list[Instruction]:
    code = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE)
    joined = re.sub(r"\\\n\s*", " ", code)
    found = [line.strip().partition(" ") for line in joined.splitlines() if line.strip()]
    return [Instruction(name.upper(), rest.strip()) for name, _, rest in found]


def _stage(opening: Instruction, inside: list[Instruction]) -> Stage:
    base, *named = opening.words
    return Stage(base, named[-1] if named else "", tuple(inside))
