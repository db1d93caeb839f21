"""Checks a migration's text: the previous release must keep working on the new schema, and no client may have to wait.

Only statements that are known to be safe pass. docs/database.md explains the rules.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile

import sqlparse

_NAME = r"(?:IF NOT EXISTS )?(\w+)"
# Functions of triggers have no parameters. Postgres checks the right to execute them only when a trigger is created.
_ALWAYS_SAFE = re.compile(
    r"CREATE (OR REPLACE )?(FUNCTION|TRIGGER|POLICY|TYPE|STATISTICS) |COMMENT ON |GRANT |CREATE TABLE |LOCK TABLE "
    r"|REVOKE EXECUTE ON FUNCTION \w+\(\) FROM PUBLIC$",
    re.IGNORECASE,
)
_SAFE_ACTIONS = re.compile(
    r"ADD CONSTRAINT \w+ .* NOT VALID$|VALIDATE CONSTRAINT \w+$"
    r"|DROP CONSTRAINT IF EXISTS \w+_check$"  # a check only refuses: no statement fails without it
    # A unique constraint, too, unless a statement names its columns in ON CONFLICT, which the recorded statements show.
    r"|DROP CONSTRAINT IF EXISTS \w+_key$"
    r"|ALTER COLUMN \w+ DROP NOT NULL$"
    r"|ALTER COLUMN \w+ SET (DEFAULT|STATISTICS) |SET \(",
    re.IGNORECASE,
)
_COLUMN = re.compile(r"ADD COLUMN \w+ (.*)$", re.IGNORECASE)
# A constant default is stored once, in the catalog; a volatile one rewrites every row.
_DEFAULT = re.compile(r" (NOT NULL )?DEFAULT ('[^']*'|-?[\d.]+|true|false|now\(\))$", re.IGNORECASE)
_MORE_THAN_A_TYPE = re.compile(
    r"\b(NOT NULL|UNIQUE|PRIMARY KEY|REFERENCES|CHECK|GENERATED|DEFAULT|\w*SERIAL)\b", re.IGNORECASE
)
_CHECK = re.compile(r"(^ADD (CONSTRAINT \w+ )?| )CHECK \(.*\)$", re.IGNORECASE)
_SMALL = {"api_keys", "webhook_secrets"}
"""Tables with few rows: a scan is short. The recorded statements show whether they satisfy the checks."""
_CREATE_INDEX = re.compile(rf"CREATE (UNIQUE )?INDEX (CONCURRENTLY )?{_NAME} ON (?:ONLY )?(\w+)", re.IGNORECASE)
_TAKES = re.compile(r"(?:ALTER TABLE|CREATE TRIGGER .* ON) (\w+) ", re.IGNORECASE)
_DELETE_WITHOUT_PARENT = re.compile(
    r"DELETE FROM (\w+) AS (\w+) WHERE NOT EXISTS \(SELECT FROM (?!\1 )(\w+) WHERE \3\.(\w+) = \2\.\4( AND [^()]*)?\)$",
    re.IGNORECASE,
)
"""Rows whose row in another table is gone: nobody reads them, so nobody waits."""
_DROP_INDEX = re.compile(r"DROP INDEX CONCURRENTLY IF EXISTS (\w+)$", re.IGNORECASE)


@dataclass(frozen=True)
class _File:
    statements: list[str]
    transactional: bool

    @property
    def tables(self) -> set[str]:
        """Tables that the file creates: they have no rows of other clients yet."""
        made = (re.match(rf"CREATE TABLE {_NAME}", each, re.IGNORECASE) for each in self.statements)
        return {found[1] for found in made if found}


def faults(text: str) -> list[str]:
    """Return the violations of the rules."""
    file = _File(_statements(text), not re.search(r"^-- transactional: false$", text, re.MULTILINE))
    check = _in_a_transaction if file.transactional else _index_by_index
    return [f"{fault}: {statement[:80]}" for statement, fault in check(file)]


def _statements(text: str) -> list[str]:
    """Return each statement on one line, without comments and function bodies."""
    bare = (sqlparse.format(each, strip_comments=True) for each in sqlparse.split(text))
    flat = (re.sub(r"\$\$.*?\$\$", "$$", each, flags=re.DOTALL) for each in bare)
    return [found for each in flat if (found := " ".join(each.split()).rstrip("; "))]


def _in_a_transaction(file: _File) -> Iterator[tuple[str, str]]:
    for statement in file.statements:
        if fault := _fault_of(statement, file.tables):
            yield statement, fault
    taken = {found[1] for each in file.statements if (found := _TAKES.match(each))} - file.tables
    if len(taken) > 1 and not taken <= _locked_at_first(file):
        yield file.statements[0], f"takes {', '.join(sorted(taken))} one after another; start with LOCK TABLE"


def _locked_at_first(file: _File) -> set[str]:
    leading = takewhile(lambda each: each.upper().startswith("LOCK TABLE "), file.statements)
    return {name for each in leading for name in re.findall(r"\w+", each.split(" IN ")[0])}


def _fault_of(statement: str, own: set[str]) -> str | None:
    if index := _CREATE_INDEX.match(statement):
        if index[2]:
            return "builds concurrently, which needs `-- transactional: false`"
        return None if index[4] in own | _SMALL else "blocks writes during the build; needs CONCURRENTLY"
    if table := re.match(r"ALTER TABLE (\w+) (.*)", statement, re.IGNORECASE):
        return None if table[1] in own else _fault_of_actions(table[2], checks=table[1] in _SMALL)
    if table := re.match(r"INSERT INTO (\w+)", statement, re.IGNORECASE):
        added = table[1] in own or statement.upper().endswith(" ON CONFLICT DO NOTHING")
        return None if added else "fails if the row exists already"
    if _DELETE_WITHOUT_PARENT.match(statement):
        return None
    return None if _ALWAYS_SAFE.match(statement) else "is not known to be safe"


def _fault_of_actions(actions: str, *, checks: bool) -> str | None:
    split = re.split(r",\s*(?![^()]*\))", actions)
    for action in [_CHECK.sub("", each) for each in split] if checks else split:
        if column := _COLUMN.match(action):
            if _MORE_THAN_A_TYPE.search(_DEFAULT.sub("", column[1])):
                return "requires values that old rows lack, or reads all rows under a lock"
        elif action and not _SAFE_ACTIONS.match(action):
            return "may break old statements"
    return None


def _index_by_index(file: _File) -> Iterator[tuple[str, str]]:
    """Allow only index builds, each after dropping the invalid index that a killed build may have left."""
    dropped = None
    for statement in file.statements:
        if found := _DROP_INDEX.match(statement):
            dropped = found[1]
        elif (index := _CREATE_INDEX.match(statement)) and index[2]:
            if dropped != index[3]:
                yield statement, "can't run again after an interruption; drop that index first"
            dropped = None
        else:
            yield statement, "is no index statement; all others need a transaction"
    if dropped is not None:
        yield f"DROP INDEX {dropped}", "drops an index that the previous release may use"
