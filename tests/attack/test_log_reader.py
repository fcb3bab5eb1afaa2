"""Whoever has the write-ahead log and no secret learns of no respondent which link was theirs (ADR 0004).

The reader sees every row that any transaction wrote, as logical decoding gives them, and joins whatever rows hold the
same id or hash, as far as that leads. A control writes what 0.1.0 wrote, and everybody is found.
"""

import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from uuid import UUID, uuid4

import asyncpg
import pytest

from services.feedback.settings import FeedbackSettings
from shared.events import Group
from shared.postgres.pool import create_pool
from shared.postgres.transaction import transaction
from shared.security.invitation_tokens import token_for, token_hash
from tests.feedback.house import SECRETS, House
from tests.support.databases import Databases
from tests.support.settings import make_settings

_VALUE = re.compile(r"(\w+)\[[^\]]+\]:(?:'((?:[^']|'')*)'|(\S+))")
_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|\\x[0-9a-f]{64}$")
_SLOT = "reader"


@dataclass
class Row:
    """One row that a transaction wrote."""

    transaction: str
    table: str
    kind: str
    values: Mapping[str, str]

    def ids(self) -> set[str]:
        """Every id and hash in it, those inside an event's JSON too."""
        payload = self.values.get("payload", "")
        inside = bytes.fromhex(payload[2:]).decode() if payload.startswith("\\x") else ""
        return {found for value in (*self.values.values(), inside) for found in _ID.findall(value)}


@dataclass
class Reader:
    """Has the log, and knows who works in the organisation."""

    rows: list[Row]
    people: set[str]

    def whose(self, transaction: str, common: set[str]) -> set[str]:
        """The people to whom any chain of shared ids leads from what this transaction wrote, `common` ones aside."""
        known = set[str]().union(*(row.ids() for row in self.rows if row.transaction == transaction)) - common
        while True:
            more = {one for row in self.rows if (ids := row.ids() - common) & known for one in ids} - known
            if not more:
                return known & self.people
            known |= more

    def answering(self) -> list[str]:
        """The transactions that kept an answer."""
        return [row.transaction for row in self.rows if (row.table, row.kind) == ("public.ballots", "INSERT")]


@pytest.fixture
async def house(own_postgres: Databases) -> AsyncIterator[House]:
    """A team on a server of its own, whose log is read from before the round opens."""
    settings = make_settings(FeedbackSettings, await own_postgres("feedback"), **SECRETS)
    pool = await create_pool(settings, name="test")
    house = House(pool, settings)
    await house.move_in()
    yield house
    await pool.close()


async def _listen(own_postgres: Databases, house: House) -> "asyncpg.Connection[asyncpg.Record]":
    database = await house.pool.fetchval("select current_database()")
    reader: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(own_postgres.server.dsn(database))
    await reader.execute("select pg_create_logical_replication_slot($1, 'test_decoding')", _SLOT)
    return reader


async def _read(reader: "asyncpg.Connection[asyncpg.Record]", house: House) -> Reader:
    rows = []
    for xid, line in await reader.fetch(
        "select xid::text, data from pg_logical_slot_get_changes($1, null, null)", _SLOT
    ):
        if line.startswith("table "):
            table, kind = (word.rstrip(":") for word in line.split()[1:3])
            values = {name: (quoted or bare).replace("''", "'") for name, quoted, bare in _VALUE.findall(line)}
            rows.append(Row(xid, table, kind, values))
    return Reader(rows, {str(one) for one in (house.manager, house.co_leader, *house.peers)})


async def test_the_log_leads_from_no_answer_to_a_person(own_postgres: Databases, house: House) -> None:
    reader = await _listen(own_postgres, house)
    round_id = await house.open_round()
    tokens = await house.tokens(round_id)
    for token in tokens[Group.peer]:
        await house.answer(token)
    await house.close(round_id)
    log = await _read(reader, house)
    await reader.close()
    answers = log.answering()
    assert len(answers) == len(house.peers)
    assert set().union(*(log.whose(one, _about_the_round(log)) for one in answers)) == set()


async def test_links_and_those_asked_are_written_in_orders_that_have_nothing_to_do_with_each_other(
    own_postgres: Databases, house: House
) -> None:
    reader = await _listen(own_postgres, house)
    await house.open_round()
    log = await _read(reader, house)
    await reader.close()
    asked = [row.values["id"] for row in log.rows if row.table == "public.invited"]
    links = [row.values["token_hash"] for row in log.rows if row.table == "public.links"]
    assert len(asked) == len(links) == len(house.peers) + 2
    assert asked == sorted(asked)  # random ids and hashes: each order is one of chance
    assert links == sorted(links)
    assert all(UUID(one).version == 4 for one in asked)


async def test_the_same_reader_finds_everybody_in_what_0_1_0_wrote(own_postgres: Databases, house: House) -> None:
    await house.pool.execute(
        """
        create table invitations_of_0_1_0 (
            id uuid primary key, round_id uuid, respondent_id uuid, token_hash bytea, state text default 'issued'
        )
        """
    )
    reader = await _listen(own_postgres, house)
    round_id = await house.open_round()
    asked = {uuid4(): peer for peer in house.peers}
    hashes = {one: token_hash(token_for(house.settings.secrets.link, one)) for one in asked}
    await house.pool.executemany(
        "insert into invitations_of_0_1_0 (id, round_id, respondent_id, token_hash) values ($1, $2, $3, $4)",
        [(one, round_id, peer, hashes[one]) for one, peer in asked.items()],
    )
    for one in asked:
        async with transaction(house.pool) as conn:
            await conn.execute("update invitations_of_0_1_0 set state = 'used' where id = $1", one)
            await conn.execute(
                "insert into ballots (id, round_id, sealed) values ($1, $2, $3)", uuid4(), round_id, bytes(2096)
            )
    log = await _read(reader, house)
    await reader.close()
    found = [who for one in log.answering() for who in log.whose(one, _about_the_round(log))]
    assert sorted(found) == sorted(map(str, house.peers))


def _about_the_round(log: Reader) -> set[str]:
    """What stands in the round's own row: the same for all who were asked, and so of no use to the reader."""
    return {one for row in log.rows if row.table == "public.rounds" for one in row.ids()}
