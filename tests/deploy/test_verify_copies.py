"""`medled verify` on the services' copies of who signs in as whom."""

import asyncpg
import pytest

from deploy.services import SERVICES, find_service
from deploy.verify.copies import compare, to_compare
from shared.ids import random_id
from tests.support.databases import Databases

ISSUER = "https://login.example.org"
OWN = "insert into sign_ins (issuer, subject, person_id, bound_at, bound_by) values ($1, $2, $3, now(), 'test')"
COPY = "insert into sign_ins (issuer, subject, person_id) values ($1, $2, $3)"
PERSON = """
    insert into people
        (id, source, employee_id, given_name, family_name, unit_id, status, locale, time_zone, changed_at)
    select $1::uuid, 'hr', $1::uuid::text, 'Test', 'Test', id, 'active', 'en', 'Europe/Stockholm', now() from units
"""


@pytest.mark.parametrize("service", ["feedback", "notifications", "portal"])
async def test_an_account_that_signs_in_as_somebody_else_than_the_owner_says_is_told_by_its_person(
    database: Databases, service: str
) -> None:
    databases = {name: await database(name) for name in ("enrolment", service)}
    anna, berit, carl = (random_id() for _ in range(3))
    owner, copy = [await asyncpg.connect(dsn) for dsn in databases.values()]
    try:
        await owner.execute("insert into units (id, name) values ($1, 'Care')", random_id())
        await owner.executemany(PERSON, [(each,) for each in (anna, berit, carl)])
        await owner.executemany(OWN, [(ISSUER, "a", anna), (ISSUER, "b", berit), (ISSUER, "c", carl)])
        await copy.executemany(COPY, [(ISSUER, "a", anna), (ISSUER, "b", berit), (ISSUER, "c", carl)])
        sound = await compare(databases, service, "sign_ins")
        assert sound is not None
        assert (sound.rows, sound.faults) == (3, 0)

        await copy.execute("update sign_ins set person_id = $1 where subject = 'b'", anna)
        await copy.execute("delete from sign_ins where subject = 'c'")
        damaged = await compare(databases, service, "sign_ins")
    finally:
        await owner.close()
        await copy.close()
    assert damaged is not None
    assert (damaged.ghosts, damaged.ghost_ids) == (1, [str(anna)])
    assert (damaged.missing, set(damaged.missing_ids)) == (2, {str(berit), str(carl)})


def test_sign_ins_are_among_what_is_compared() -> None:
    handlers = {name: find_service(name).handlers for name in SERVICES}
    compared = to_compare(dict.fromkeys(SERVICES, ""), handlers)
    assert {(name, "sign_ins") for name in SERVICES if name != "enrolment"} <= set(compared)
