"""What somebody who reads every public event, and nothing else, finds out about who was asked and who answered.

Rounds are opened, mailed, answered and closed for real, with the telemetry on. The attacker joins on whatever two
records share: correlation, causation, traces, ids in headers and values, and when a time-ordered id was made.
"""

import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from services.feedback.settings import FeedbackSettings
from services.notifications.routing.handlers import handlers, queue_mail
from shared.clock import Clock
from shared.events import REGISTRY, Group
from shared.events.envelope import kafka_headers
from shared.ids import new_id
from shared.messaging.dispatch import Handlers, apply
from shared.messaging.handler import Record
from shared.observability import telemetry
from shared.postgres.pool import Pool, create_pool
from shared.settings import Settings
from tests.feedback.house import SECRETS, House, received
from tests.notifications.conftest import sender_for, until
from tests.notifications.mail_server import MailServer
from tests.support.databases import Databases
from tests.support.settings import make_settings

_ID = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


@dataclass(frozen=True)
class Told:
    """One public record: its headers by name, and its value."""

    headers: dict[str, str]
    value: dict[str, Any]

    @property
    def type(self) -> str:
        return self.headers["ce_type"].removeprefix("medled.").removesuffix(".v1")

    @property
    def is_round_mail(self) -> bool:
        return self.value.get("kind") in ("invitation", "results_released", "round_withheld")

    def traits(self) -> set[str]:
        """Everything in it that another record may share and that is not shared by the whole organisation."""
        ids = {found.replace("-", "") for found in _ID.findall(json.dumps([self.headers, self.value]))}
        return ids | {f"made at {moment}" for moment in map(_made_at, ids) if moment is not None}


def _made_at(identifier: str) -> int | None:
    """The millisecond of a time-ordered id; what was made in one go lies within one, or nearly so."""
    one = UUID(identifier)
    return one.int >> 80 if one.version == 7 else None


def joins(these: Iterable[Told], those: Iterable[Told]) -> set[str]:
    """What the two share."""
    return _traits(these) & _traits(those)


def _traits(records: Iterable[Told]) -> set[str]:
    return {trait for record in records for trait in record.traits()}


@dataclass
class Organisation:
    """Feedback and notifications, each with its database, and the mail server between them and people."""

    house: House
    notifications: Pool
    server: MailServer
    mailed: int = 0

    async def open_rounds(self, subjects: Collection[UUID]) -> dict[UUID, UUID]:
        """A round about each, opened by a request of its own; round by subject."""
        for number, subject in enumerate(subjects, 1):
            span = NonRecordingSpan(SpanContext(0xABC0 + number, 0xDEF, is_remote=True, trace_flags=TraceFlags(1)))
            cause = replace(
                received(self.house.milestone(person_id=subject)),
                context=trace.set_span_in_context(span), correlation_id=f"{0xABC0 + number:032x}",
            )  # fmt: skip
            await self.house.handle(cause)
        rows = await self.house.pool.fetch("select id, subject_person_id from rounds")
        return {row["subject_person_id"]: row["id"] for row in rows}

    async def mail(self) -> None:
        """Everything that feedback has announced reaches notifications, and its mail goes out."""
        routing = Handlers("notifications", [replace(each, apply=queue_mail("example.org")) for each in handlers()])
        rows = await self.house.pool.fetch("select * from outbox order by seq offset $1", self.mailed)
        self.mailed += len(rows)
        queue = routing.by_name["notifications.routing.queue_mail"]
        events = [routing.decode(_record(row)) for row in rows if row["type"] in routing.by_type]
        async with self.notifications.acquire() as conn, conn.transaction():
            assert not await apply(conn, queue, events, self.house.now)
        async with sender_for(self.notifications, self.server.port):
            await until(self._is_quiet)

    async def _is_quiet(self) -> bool:
        open_: int = await self.notifications.fetchval(
            "select count(*) from deliveries where status not in ('sent', 'failed', 'suppressed')"
        )
        return open_ == 0

    async def told(self) -> list[Told]:
        """Every record of every public topic."""
        rows = [
            row
            for pool in (self.house.pool, self.notifications)
            for row in await pool.fetch("select type, headers, payload from outbox order by seq")
        ]
        return [told(row["headers"], row["payload"]) for row in rows if not REGISTRY[row["type"]].restricted]


def _record(row: Any) -> Record:
    """An outbox row as Kafka would give it back."""
    headers = tuple(kafka_headers(row["headers"]))
    return Record(
        row["topic"], 0, row["seq"], 0, 0, row["key"].encode(), row["payload"], None, 0, len(row["payload"]), headers
    )


def told(headers: str, payload: bytes) -> Told:
    return Told(dict(line.split(": ", 1) for line in headers.split("\n")), json.loads(payload))


@pytest.fixture
async def organisation(database: Databases, tmp_path: Path) -> AsyncIterator[Organisation]:
    settings = make_settings(FeedbackSettings, await database("feedback"), **SECRETS)
    dsn = await database("notifications")
    telemetry.setup(make_settings(Settings, dsn, span_file=tmp_path / "spans.jsonl"), "notifications-worker")
    server = MailServer()
    await server.start()
    async with _pool(settings) as feedback, _pool(make_settings(Settings, dsn)) as notifications:
        house = House(feedback, settings, now=Clock().now())  # the sender goes by the time of today
        await house.move_in()
        people = await feedback.fetch("select * from people")
        names = list(people[0].keys())
        places = ", ".join(f"${place}" for place in range(1, len(names) + 1))
        await notifications.executemany(f"insert into people ({', '.join(names)}) values ({places})", people)
        yield Organisation(house, notifications, server)
    await server.stop()
    telemetry.teardown()


@asynccontextmanager
async def _pool(settings: Settings) -> AsyncIterator[Pool]:
    pool = await create_pool(settings, name="test")
    yield pool
    await pool.close()


def _by_round(records: Sequence[Told]) -> Iterator[tuple[str, list[Told]]]:
    rounds = {record.value["round_id"] for record in records if "round_id" in record.value}
    for round_id in rounds:
        yield round_id, [record for record in records if record.value.get("round_id") == round_id]


async def test_nothing_public_joins_mail_about_a_round_with_the_round_or_with_other_mail(
    organisation: Organisation,
) -> None:
    house = organisation.house
    rounds = await organisation.open_rounds([house.co_leader, *house.peers[:3]])
    await organisation.mail()
    for round_id in rounds.values():
        for token in (await house.tokens(round_id))[Group.peer][:6]:
            await house.answer(token)
    for round_id in rounds.values():
        await house.close(round_id)
    await organisation.mail()
    records = await organisation.told()
    mails = [record for record in records if record.is_round_mail]
    assert Counter(mail.value["kind"] for mail in mails) == {"invitation": 40, "results_released": 4}
    assert {mail.value["recipient_id"] for mail in mails} == {None}
    for _, about in _by_round(records):
        assert joins(about, mails) == set()
    shared = Counter(trait for mail in mails for trait in mail.traits() if "made at" not in trait)
    ids = [mail.headers["ce_id"].replace("-", "") for mail in mails]
    assert [trait for trait, times in shared.items() if times > 1 and trait not in ids] == []
    assert {UUID(mail.value["notification_id"]).version for mail in mails} == {4}


async def test_told_as_0_1_0_told_it_the_attacker_puts_every_mail_with_its_round(organisation: Organisation) -> None:
    """The control: the same records, with the cause, correlation and trace that the notification's row keeps."""
    house = organisation.house
    await organisation.open_rounds([house.co_leader, *house.peers[:3]])
    await organisation.mail()
    records = await organisation.told()
    rows = await organisation.notifications.fetch(
        "select m.*, d.* from deliveries d join messages m on m.id = notification_id"
    )
    before = [
        Told({"ce_type": "medled.notification.sent.v1", "ce_id": str(new_id()), "ce_causationid": str(row["caused_by"]),
              "ce_correlationid": row["correlation_id"], "traceparent": row["traceparent"]},
             {"notification_id": str(row["id"]), "kind": row["kind"]})
        for row in rows
    ]  # fmt: skip
    found = {round_id: sum(bool(joins(about, [mail])) for mail in before) for round_id, about in _by_round(records)}
    assert list(found.values()) == [10] * 4


async def test_a_round_that_everybody_answered_is_told_like_one_whose_time_is_up(organisation: Organisation) -> None:
    house = organisation.house
    everybody, most = (await organisation.open_rounds([house.co_leader, house.peers[0]])).values()
    for round_id in (everybody, most):
        given = [token for tokens in (await house.tokens(round_id)).values() for token in tokens]
        for token in given if round_id == everybody else given[:-1]:
            await house.answer(token)
        await house.count(round_id)
    await house.close(everybody, now=house.now + timedelta(hours=1))
    await house.close(most)
    by_round = dict(_by_round(await organisation.told()))
    closings = [[(one.type, one.value.get("reason")) for one in by_round[str(id_)][-2:]] for id_ in (everybody, most)]
    assert closings[0] == closings[1] == [("round.closed", "time"), ("results.released", None)]
    counted = {
        id_: [one.value["bucket"] for one in by_round[str(id_)] if one.type == "responses.counted"]
        for id_ in (everybody, most)
    }
    assert counted == {everybody: [], most: ["5-9"]}
