"""The programme office is told of an import that changed much of a team, in its units' names and at the right page."""

from typing import Any
from uuid import UUID

import pytest

from shared.events import Bucket, TeamsChanged
from shared.ids import new_id
from shared.postgres.pool import Pool
from tests.notifications.conftest import Directory, Sending, route, until
from tests.notifications.factories import mail, received
from tests.notifications.mail_server import MailServer
from tests.notifications.test_compose import body, read
from tests.notifications.test_sender import settled


def notice(person_id: UUID, **more: Any) -> TeamsChanged:
    values: dict[str, Any] = {
        "notice_id": new_id(), "person_id": person_id, "import_id": new_id(), "teams": Bucket.few, "unit_ids": (),
        "may_read": True,
    }  # fmt: skip
    return TeamsChanged(**(values | more))


@pytest.mark.parametrize("person", [{}, {"status": "inactive"}])
async def test_each_who_is_to_hear_of_it_gets_one_mail_whatever_is_delivered_twice(
    pool: Pool, directory: Directory, server: MailServer, sending: Sending, person: dict[str, str]
) -> None:
    """Also whoever the same file says has left."""
    office = await directory.person(email="office@example.org", **person)
    unit = new_id()
    await pool.execute("insert into units (id, name) values ($1, 'Hemtjänst')", unit)
    event = received(notice(office, unit_ids=(new_id(), unit)))
    await route(pool, [event, event])
    await route(pool, [event])
    async with sending():
        await until(lambda: settled(pool))
    assert [recipient for recipient, _ in server.accepted] == ["office@example.org"]
    told = await pool.fetchrow("select kind, status from deliveries")
    assert tuple(told or ()) == ("teams_changed", "sent")


async def test_a_number_that_is_none_makes_no_mail(pool: Pool, directory: Directory) -> None:
    await route(pool, [received(notice(await directory.person(), teams=Bucket.none))])
    assert await pool.fetchval("select count(*) from deliveries") == 0


def about(*, may_read: bool, units: tuple[str, ...] = ("Hemtjänst", "Natt")) -> Any:
    params = {"import_id": "0198c0de", "teams": "5-9", "unit_ids": [], "may_read": may_read}
    return mail("teams_changed", locale="en", params=params, units=units, pointless_after=None)


def test_the_mail_says_how_many_teams_in_which_units_and_leads_to_the_report() -> None:
    text = body(about(may_read=True), "plain")
    assert "much of five to nine teams at once" in text
    assert "Units concerned: Hemtjänst, Natt." in text
    assert "https://medled.example.org/enrolment/imports/0198c0de" in text
    assert read(about(may_read=True))["Subject"] == "An import of people has changed much of a team"


def test_whoever_may_not_read_the_report_is_told_who_can_and_not_sent_there() -> None:
    text = body(about(may_read=False), "plain")
    assert "in your units" in text
    assert "They can read the report" in text
    assert "/enrolment/imports" not in text


def test_units_that_are_not_known_here_yet_are_left_out() -> None:
    assert "Units concerned" not in body(about(may_read=True, units=()), "plain")
