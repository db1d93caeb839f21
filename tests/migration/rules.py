"""What may stand in a migration, so that the previous release goes on under it and nobody waits: told of a file's text.

Only what is known to be safe passes. The rules are explained in docs/database.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile

import sqlparse

_NAME = r"(?:IF NOT EXISTS )?(\w+)"
_ALWAYS_SAFE = re.compile(
    r"CREATE (OR REPLACE )?(FUNCTION|TRIGGER|POLICY|TYPE|STATISTICS) |COMMENT ON |GRANT |CREATE TABLE |LOCK TABLE ",
    re.IGNORECASE,
)
_SAFE_ACTIONS = re.compile(
    r"ADD CONSTRAINT \w+ .* NOT VALID$|VALIDATE CONSTRAINT \w+$|ALTER COLUMN \w+ SET (DEFAULT|STATISTICS) |SET \(",
    re.IGNORECASE,
)
_COLUMN = re.compile(r"ADD COLUMN \w+ (.*)$", re.IGNORECASE)
# A constant default is kept once, beside the table; one that differs from row to row has all of them written anew.
_DEFAULT = re.compile(r" (NOT NULL )?DEFAULT ('[^']*'|-?[\d.]+|true|false|now\(\))$", re.IGNORECASE)
_MORE_THAN_A_TYPE = re.compile(
    r"\b(NOT NULL|UNIQUE|PRIMARY KEY|REFERENCES|CHECK|GENERATED|DEFAULT|\w*SERIAL)\b", re.IGNORECASE
)
_CHECK = re.compile(r"(^ADD (CONSTRAINT \w+ )?| )CHECK \(.*\)$", re.IGNORECASE)
_SMALL = {"api_keys", "webhook_secrets"}
"""A user has few of them: reading all is over at once, and what the checks ask for is tried by the tapes."""
_CREATE_INDEX = re.compile(rf"CREATE (UNIQUE )?INDEX (CONCURRENTLY )?{_NAME} ON (?:ONLY )?(\w+)", re.IGNORECASE)
_TAKES = re.compile(r"(?:ALTER TABLE|CREATE TRIGGER .* ON) (\w+) ", re.IGNORECASE)
_DROP_INDEX = re.compile(r"DROP INDEX CONCURRENTLY IF EXISTS (\w+)$", re.IGNORECASE)


@dataclass(frozen=True)
class _File:
    statements: list[str]
    transactional: bool

    @property
    def tables(self) -> set[str]:
        """What it makes itself: nobody else has a row there yet."""
        made = (re.match(rf"CREATE TABLE {_NAME}", each, re.IGNORECASE) for each in self.statements)
        return {found[1] for found in made if found}


def faults(text: str) -> list[str]:
    """What is wrong with a migration, if anything is."""
    file = _File(_statements(text), not re.search(r"^-- transactional: false$", text, re.MULTILINE))
    check = _in_a_transaction if file.transactional else _index_by_index
    return [f"{fault}: {statement[:80]}" for statement, fault in check(file)]


def _statements(text: str) -> list[str]:
    """Each on one line, without comments and bodies of functions."""
    bare = (sqlparse.format(each, strip_comments=True) for each in sqlparse.split(text))
    flat = (re.sub(r"\$\$.*?\$\$", "$$", each, flags=re.DOTALL) for each in bare)
    return [found for each in flat if (found := " ".join(each.split()).rstrip("; "))]


def _in_a_transaction(file: _File) -> Iterator[tuple[str, str]]:
    for statement in file.statements:
        if fault := _fault_of(statement, file.tables):
            yield statement, fault
    taken = {found[1] for each in file.statements if (found := _TAKES.match(each))} - file.tables
    if len(taken) > 1 and not taken <= _locked_at_first(file):
        yield file.statements[0], f"takes {', '.join(sorted(taken))} one after another; begin with LOCK TABLE"


def _locked_at_first(file: _File) -> set[str]:
    leading = takewhile(lambda each: each.upper().startswith("LOCK TABLE "), file.statements)
    return {name for each in leading for name in re.findall(r"\w+", each.split(" IN ")[0])}


def _fault_of(statement: str, own: set[str]) -> str | None:
    if index := _CREATE_INDEX.match(statement):
        if index[2]:
            return "builds concurrently, which needs `-- transactional: false`"
        return None if index[4] in own | _SMALL else "keeps everybody from writing while it builds; needs CONCURRENTLY"
    if table := re.match(r"ALTER TABLE (\w+) (.*)", statement, re.IGNORECASE):
        return None if table[1] in own else _fault_of_actions(table[2], checks=table[1] in _SMALL)
    if table := re.match(r"INSERT INTO (\w+)", statement, re.IGNORECASE):
        added = table[1] in own or statement.upper().endswith(" ON CONFLICT DO NOTHING")
        return None if added else "may end in a row that is there already"
    return None if _ALWAYS_SAFE.match(statement) else "is not known to be safe"


def _fault_of_actions(actions: str, *, checks: bool) -> str | None:
    split = re.split(r",\s*(?![^()]*\))", actions)
    for action in [_CHECK.sub("", each) for each in split] if checks else split:
        if column := _COLUMN.match(action):
            if _MORE_THAN_A_TYPE.search(_DEFAULT.sub("", column[1])):
                return "asks of old rows what they don't have, or reads all of them under a lock"
        elif action and not _SAFE_ACTIONS.match(action):
            return "is no addition that old statements don't notice"
    return None


def _index_by_index(file: _File) -> Iterator[tuple[str, str]]:
    """Each index after the ruin that a killed building of it may have left is dropped; nothing else."""
    dropped = None
    for statement in file.statements:
        if found := _DROP_INDEX.match(statement):
            dropped = found[1]
        elif (index := _CREATE_INDEX.match(statement)) and index[2]:
            if dropped != index[3]:
                yield statement, "can't be run again after it was cut off; drop that index before it"
            dropped = None
        else:
            yield statement, "is no index; what else there is belongs in a transaction"
    if dropped is not None:
        yield f"DROP INDEX {dropped}", "drops what the previous release may use"
