"""A kind is one record, and a fact may call for any number of messages: each once, whatever comes twice."""

from dataclasses import fields, replace
from typing import Any

import pytest

from services.notifications.kinds.every import EVERY, KINDS, messages_for
from services.notifications.kinds.kind import Channel, Kind, To
from services.notifications.routing.handlers import queue_mail
from shared.events import EnrolmentDeclined
from shared.ids import new_id
from shared.postgres.pool import Pool
from tests.notifications.conftest import Directory
from tests.notifications.factories import NOW, received


def told(*people: Any) -> Any:
    return lambda _: [To(person, {}) for person in people]


def kind(name: str, *people: Any) -> Kind:
    """A kind that the refusal of a request causes, to these people."""
    return replace(KINDS["enrolment_declined"], name=name, causes={EnrolmentDeclined: told(*people)})


def declined() -> Any:
    ids = {f"{what}_id": new_id() for what in ("enrolment", "person", "cohort", "programme", "unit", "manager")}
    return EnrolmentDeclined.model_validate(ids)


async def route(pool: Pool, kinds: list[Kind], event: Any) -> list[Any]:
    async with pool.acquire() as conn, conn.transaction():
        return list(await queue_mail("example.org", kinds)(conn, [event], NOW) or ())


async def queued(pool: Pool) -> list[tuple[Any, ...]]:
    rows = await pool.fetch(
        "select m.kind, recipient_id, channel from messages m join deliveries on notification_id = m.id order by m.id"
    )
    return [tuple(row) for row in rows]


async def test_a_fact_makes_a_message_of_every_kind_to_everybody_it_concerns_and_each_once(
    pool: Pool, directory: Directory
) -> None:
    one, other = await directory.person(), await directory.person()
    kinds, event = [kind("first", one, other, one), kind("second", one)], received(declined())
    for _ in range(2):
        assert await route(pool, kinds, event) == []
    assert await queued(pool) == [("first", one, "mail"), ("first", other, "mail"), ("second", one, "mail")]


async def test_who_is_not_known_yet_is_waited_for_and_the_others_of_the_same_fact_are_told_at_once(
    pool: Pool, directory: Directory
) -> None:
    known, strange = await directory.person(), new_id()
    kinds, event = [kind("first", strange, known), kind("second", strange)], received(declined())
    [parked] = await route(pool, kinds, event)
    assert (parked.event_id, parked.waiting_for) == (event.id, f"person:{strange}")
    assert await queued(pool) == [("first", known, "mail")]
    await directory.person(id=strange)
    assert await route(pool, kinds, event) == []
    assert sorted(await queued(pool)) == sorted(
        [("first", known, "mail"), ("first", strange, "mail"), ("second", strange, "mail")]
    )


async def test_a_fact_that_names_nobody_is_told_to_nobody_once(pool: Pool) -> None:
    kinds, event = [kind("first", None)], received(declined())
    for _ in range(2):
        await route(pool, kinds, event)
    assert await queued(pool) == [("first", None, "mail")]


async def test_the_database_itself_refuses_a_second_message_and_a_second_delivery(
    pool: Pool, directory: Directory
) -> None:
    await route(pool, [kind("first", await directory.person())], received(declined()))
    again = "insert into {0} select * from jsonb_populate_record(null::{0}, (select to_jsonb(t) || $1 from {0} t))"
    for table in ("messages", "deliveries"):
        with pytest.raises(Exception, match="unique"):
            await pool.execute(again.format(table), {"id": str(new_id())})


def test_a_kind_says_everything_that_sets_it_apart_and_what_must_be_weighed_has_no_default() -> None:
    weighed = {"name", "may_name", "mandatory", "also_to_whoever_left", "causes", "pointless_after", "channels", "link"}
    given = dict.fromkeys(weighed, None)
    for missing in weighed:
        with pytest.raises(TypeError, match=missing):
            Kind(**{name: value for name, value in given.items() if name != missing})  # type: ignore[arg-type]
    assert {each.name for each in fields(Kind)} == weighed | {"texts", "text", "words"}


def test_kinds_have_names_of_their_own_and_only_rounds_keep_people_out_of_sight() -> None:
    assert len(KINDS) == len(EVERY) == len({each.name for each in EVERY})
    assert {each.name for each in EVERY if each.is_private} == {"invitation", "results_released", "round_withheld"}
    assert all(each.channels == (Channel.MAIL,) for each in EVERY)
    assert next(messages_for(declined())).kind is KINDS["enrolment_declined"]
