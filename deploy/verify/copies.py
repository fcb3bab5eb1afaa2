"""The copies that services keep of people, units, access and sign-ins, compared with their owner's tables.

Row by row, both in the order of their keys, so that memory is the same for any number of people.

Only these are copies: every service has the owner's newest state of them, all of it. What else a service keeps of
others' facts is made of them by its own rules, and is judged by whether it had each fact once.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field

from deploy.verify.report import SAMPLES, Copy
from deploy.verify.session import connect_all
from deploy.verify.store import copies as store
from deploy.verify.store.copies import Row
from deploy.verify.store.tables import Connection
from shared.directory import handlers as directory
from shared.messaging.handler import Handler

OWNER = "enrolment"
LOOKED_AT_AGAIN = 1000  # rows that differ, since on a running system a change may be on its way
_TRIES = 6
_PAUSE_SECONDS = 0.5


def keepers(handlers: Mapping[str, Sequence[Handler]]) -> list[str]:
    """The services that keep copies."""
    kept = {handler.name for handler in directory.handlers()}
    return [service for service, subscribed in handlers.items() if kept & {each.name for each in subscribed}]


def to_compare(databases: Mapping[str, str], handlers: Mapping[str, Sequence[Handler]]) -> list[tuple[str, str]]:
    """Service and table; the owner's own people come first, for the logins they share."""
    if OWNER not in databases or not (services := keepers(handlers)):
        return []
    return [(OWNER, "people"), *[(service, table) for service in services for table in directory.TABLES]]


async def compare(databases: Mapping[str, str], service: str, table: str) -> Copy | None:
    """One copy with its owner's table; None where one of them has no such table."""
    async with connect_all(databases, {OWNER, service}) as sessions:
        owner, conn = sessions[OWNER], sessions[service]
        copy = Copy(service, table, OWNER)
        if service != OWNER:
            differences = await _differences(table, owner, conn)
            if differences is None:
                return None
            differences.put_into(copy)
        if table == "people":
            copy.duplicates, copy.duplicate_ids = await store.shared_logins(conn)
    return copy


async def _differences(table: str, owner: Connection, conn: Connection) -> "_Differences | None":
    theirs, ours = await store.shape(owner, table), await store.shape(conn, table)
    if theirs is None or ours is None:
        return None
    columns = [name for name in ours.columns if name in theirs.columns and name not in ours.key]

    async def look(only: Sequence[Sequence[str]] | None) -> _Differences:
        found = _Differences(columns)
        sides = [_flat(store.rows(side, table, ours.key, columns, only)) for side in (owner, conn)]
        await found.merge(*sides)
        return found

    found = await look(None)
    rows, tries = found.rows, 0
    while 0 < found.count <= LOOKED_AT_AGAIN and tries < _TRIES:
        await asyncio.sleep(_PAUSE_SECONDS)
        found, tries = await look(found.keys), tries + 1
    found.rows = rows
    return found


@dataclass(slots=True)
class _Differences:
    """Rows that are not the same on both sides; the first ones by key, all of them by number."""

    columns: Sequence[str]
    rows: int = 0
    keys: list[list[str]] = field(default_factory=list)
    ghosts: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=lambda: {"ghosts": 0, "missing": 0, "differing": 0})
    fields: dict[str, int] = field(default_factory=dict)

    @property
    def count(self) -> int:
        return sum(self.counts.values())

    async def merge(self, owner: AsyncIterator[Row], copy: AsyncIterator[Row]) -> None:
        theirs, ours = await anext(owner, None), await anext(copy, None)
        while theirs or ours:
            if ours and (theirs is None or ours.key < theirs.key):
                self._note("ghosts", ours)
                self.rows, ours = self.rows + 1, await anext(copy, None)
            elif theirs and (ours is None or theirs.key < ours.key):
                self._note("missing", theirs)
                theirs = await anext(owner, None)
            elif theirs and ours:
                self._compare(theirs, ours)
                self.rows += 1
                theirs, ours = await anext(owner, None), await anext(copy, None)

    def _compare(self, theirs: Row, ours: Row) -> None:
        if theirs.fields != ours.fields:
            self._note("differing", ours)
            for name, one, other in zip(self.columns, theirs.fields, ours.fields, strict=True):
                if one != other:
                    self.fields[name] = self.fields.get(name, 0) + 1

    def _note(self, kind: str, row: Row) -> None:
        self.counts[kind] += 1
        if len(self.keys) < LOOKED_AT_AGAIN:
            self.keys.append(row.key)
        samples: list[str] = getattr(self, kind)
        if len(samples) < SAMPLES:
            samples.append(row.about)

    def put_into(self, copy: Copy) -> None:
        copy.rows = self.rows
        copy.ghosts, copy.missing, copy.differing = self.counts.values()
        copy.ghost_ids, copy.missing_ids, copy.differing_ids = self.ghosts, self.missing, self.differing
        copy.fields = dict(sorted(self.fields.items()))


async def _flat(chunks: AsyncIterator[list[Row]]) -> AsyncIterator[Row]:
    async for rows in chunks:
        for row in rows:
            yield row
