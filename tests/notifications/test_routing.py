"""Facts in, messages queued: once, to the right person, in their language, or written down why not."""

import json
from datetime import timedelta
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from services.notifications.routing.handlers import handlers
from shared.clock import Clock
from shared.events import (
    CohortOpened,
    EnrolmentActivated,
    EnrolmentApproverChanged,
    EnrolmentExpired,
    EnrolmentRequested,
    EnrolmentWithdrawn,
    InvitationRevoked,
    ProgrammePublished,
    ResultsReleased,
    RoundWithheld,
    Title,
)
from shared.events.enrolment import EnrolmentFact
from shared.ids import new_id
from shared.postgres.pool import Pool
from shared.security.invitation_tokens import token_for
from tests.notifications.conftest import Directory, route
from tests.notifications.factories import LINK_SECRET, NOW, invitation, received


async def test_an_invitation_is_queued_in_the_respondents_language_with_ids_only(
    pool: Pool, directory: Directory
) -> None:
    person = await directory.person(locale="en-GB", email="robin@example.org", given_name="Robin")
    event = received(invitation(person, await directory.person()))
    assert await route(pool, [event], now=NOW) == []
    row = await pool.fetchrow("select m.*, d.* from deliveries d join messages m on m.id = notification_id")
    assert row is not None
    assert (row["status"], row["locale"], row["recipient_id"]) == ("queued", "en", person)
    assert (row["caused_by"], row["correlation_id"], row["next_attempt_at"]) == (event.id, "undertaking", NOW)
    assert row["message_id"] == f"<{row['id']}@example.org>"
    stored = json.dumps({name: str(value) for name, value in row.items()})
    for secret in ("robin@", "Robin", token_for(LINK_SECRET, event.data.invitation_id), "/feedback/r/"):
        assert secret not in stored


async def test_the_same_fact_twice_is_one_message(pool: Pool, directory: Directory) -> None:
    event = received(invitation(await directory.person(), await directory.person()))
    await route(pool, [event, event])
    await route(pool, [event])
    assert await pool.fetchval("select count(*) from deliveries") == 1


async def test_a_person_not_known_yet_is_waited_for_and_holds_up_nobody_else(pool: Pool, directory: Directory) -> None:
    known, subject = await directory.person(), await directory.person()
    strange = new_id()
    waiting, fine = received(invitation(strange, subject)), received(invitation(known, subject))
    (parked,) = await route(pool, [waiting, fine])
    assert (parked.event_id, parked.waiting_for) == (waiting.id, f"person:{strange}")
    assert await pool.fetchval("select recipient_id from messages") == known
    await directory.person(id=strange)
    assert await route(pool, [waiting]) == []
    assert await pool.fetchval("select count(*) from deliveries") == 2


@pytest.mark.parametrize(
    ("person", "reason"),
    [({"status": "inactive"}, "recipient_inactive"), ({"email": None}, "no_address"), ({"email": ""}, "no_address")],
)
async def test_who_cannot_be_written_to_is_in_the_log_with_the_reason(
    pool: Pool, directory: Directory, person: dict[str, str | None], reason: str
) -> None:
    await route(pool, [received(invitation(await directory.person(**person), await directory.person()))])
    row = await pool.fetchrow("select status, reason, next_attempt_at, settled_at from deliveries")
    assert row is not None
    assert (row["status"], row["reason"], row["next_attempt_at"]) == ("suppressed", reason, None)
    assert row["settled_at"] is not None


@pytest.mark.parametrize("order", ["issued first", "revoked first", "together"])
async def test_a_revoked_invitation_is_not_mailed_whichever_comes_first(
    pool: Pool, directory: Directory, order: str
) -> None:
    issued = received(invitation(await directory.person(), await directory.person()))
    taken_back = InvitationRevoked(invitation_id=issued.data.invitation_id, round_id=issued.data.round_id)
    both = [issued, received(taken_back)]
    if order == "together":
        await route(pool, both)
    for event in both if order == "issued first" else reversed(both) if order == "revoked first" else []:
        await route(pool, [event])
    row = await pool.fetchrow("select status, reason from deliveries")
    assert row is not None
    assert tuple(row) == ("suppressed", "invitation_revoked")


@pytest.mark.parametrize("changed", ["respondent", "round", "nothing but the event"])
async def test_an_invitation_is_issued_once_and_its_link_goes_to_whom_it_was_issued_to(
    pool: Pool, directory: Directory, changed: str
) -> None:
    respondent, thief, subject = [await directory.person() for _ in range(3)]
    true = invitation(respondent, subject)
    changes = {"respondent": {"respondent_id": thief}, "round": {"round_id": new_id()}}.get(changed, {})
    forged = received(true.model_copy(update=changes))
    assert await route(pool, [received(true)]) == []
    for _ in range(2):
        [refused] = await route(pool, [forged])
        assert (refused.event_id, refused.reason) == (forged.id, "conflict")
    assert [row["recipient_id"] for row in await pool.fetch("select recipient_id from messages")] == [respondent]


async def test_a_forged_invitation_beside_the_true_one_or_before_its_person_is_known_gets_no_link(
    pool: Pool, directory: Directory
) -> None:
    thief, subject, unknown = await directory.person(), await directory.person(), new_id()
    true = received(invitation(unknown, subject))
    forged = received(true.data.model_copy(update={"respondent_id": thief}))
    refused, parked = await route(pool, [true, forged])
    assert (refused.event_id, parked.event_id) == (forged.id, true.id)
    [again] = await route(pool, [forged])
    assert again.reason == "conflict"
    assert await pool.fetchval("select count(*) from deliveries") == 0
    await directory.person(id=unknown)
    assert await route(pool, [true]) == []
    assert await pool.fetchval("select recipient_id from messages") == unknown


async def test_an_invitation_is_taken_back_by_its_own_round_only(pool: Pool, directory: Directory) -> None:
    issued = received(invitation(await directory.person(), await directory.person()))
    await route(pool, [issued])
    forged = received(InvitationRevoked(invitation_id=issued.data.invitation_id, round_id=new_id()))
    [refused] = await route(pool, [forged])
    assert (refused.event_id, refused.reason) == (forged.id, "conflict")
    assert await pool.fetchval("select status from deliveries") == "queued"
    await route(
        pool, [received(InvitationRevoked(invitation_id=issued.data.invitation_id, round_id=issued.data.round_id))]
    )
    assert await pool.fetchval("select status from deliveries") == "suppressed"


@pytest.mark.parametrize(
    ("reason", "kinds"),
    [
        ("too_few_answers", ["round_withheld"]), ("asked_recently", ["round_withheld"]),
        ("nobody_to_ask", ["round_withheld"]), ("not_known_yet", ["round_withheld"]),
        ("team_changed", ["round_withheld"]), ("milestone_undone", []), ("enrolment_withdrawn", []),
        ("a_reason_of_tomorrow", []),
    ],
)  # fmt: skip
async def test_a_withheld_round_is_mailed_about_only_where_the_mail_is_true(
    pool: Pool, directory: Directory, reason: str, kinds: list[str]
) -> None:
    fact = RoundWithheld(
        round_id=new_id(), subject_person_id=await directory.person(), enrolment_id=new_id(), milestone="first",
        cohort_id=new_id(), programme_id=new_id(), unit_id=new_id(), reason=reason,
    )  # fmt: skip
    await route(pool, [received(fact)])
    assert [row["kind"] for row in await pool.fetch("select kind from deliveries")] == kinds


@pytest.fixture
async def place(pool: Pool, directory: Directory) -> dict[str, Any]:
    """What every fact about one enrolment says, in a cohort whose titles are known."""
    ids: dict[str, Any] = {
        "enrolment_id": new_id(), "person_id": await directory.person(), "cohort_id": new_id(),
        "programme_id": new_id(), "unit_id": new_id(),
    }  # fmt: skip
    await pool.execute("insert into programmes values ($1, $2)", ids["programme_id"], {"sv": "Leda", "en": "Leading"})
    await pool.execute("insert into cohorts values ($1, 'Våren')", ids["cohort_id"])
    return ids


async def test_when_somebody_else_answers_a_request_they_are_asked_and_nobody_before_them(
    pool: Pool, directory: Directory, place: dict[str, Any]
) -> None:
    old, new, until = await directory.person(), await directory.person(), NOW + timedelta(days=14)
    await route(pool, [received(EnrolmentRequested(**place, manager_id=old, approve_before=until))])
    change = EnrolmentApproverChanged(**place, manager_id=new, approve_before=until)
    await route(pool, [received(change)])
    rows = await pool.fetch(
        "select recipient_id, status, reason, pointless_after "
        "from deliveries join messages m on m.id = notification_id order by m.id"
    )
    assert [tuple(row) for row in rows] == [
        (old, "suppressed", "approver_changed", until),
        (new, "queued", None, until),
    ]


async def test_of_many_who_were_to_answer_in_turn_only_the_last_is_asked(
    pool: Pool, directory: Directory, place: dict[str, Any]
) -> None:
    managers, until = [await directory.person() for _ in range(3)], NOW + timedelta(days=14)
    facts: list[Any] = [EnrolmentRequested(**place, manager_id=managers[0], approve_before=until)]
    facts += [EnrolmentApproverChanged(**place, manager_id=each, approve_before=until) for each in managers[1:]]
    events = [received(fact) for fact in facts]
    for number, event in enumerate(events):
        event.sequence = number + 1
    await route(pool, events)
    rows = await pool.fetch(
        "select recipient_id from deliveries join messages m on m.id = notification_id where status = 'queued'"
    )
    assert [row["recipient_id"] for row in rows] == [managers[2]]


@pytest.mark.parametrize(("fact", "how"), [(EnrolmentExpired, "expired"), (EnrolmentWithdrawn, "withdrawn")])
async def test_whose_enrolment_ended_is_told_how(
    pool: Pool, place: dict[str, Any], fact: type[EnrolmentFact], how: str
) -> None:
    await route(pool, [received(fact(**place))])
    row = await pool.fetchrow("select kind, recipient_id, params ->> 'how' as how from messages")
    assert row is not None
    assert tuple(row) == ("enrolment_ended", place["person_id"], how)


async def test_an_enrolment_waits_for_the_titles_its_mail_names(pool: Pool, directory: Directory) -> None:
    programme_id, cohort_id = new_id(), new_id()
    fact = EnrolmentActivated(
        enrolment_id=new_id(), person_id=await directory.person(), cohort_id=cohort_id, programme_id=programme_id,
        unit_id=new_id(), promoted=False,
    )  # fmt: skip
    event = received(fact)
    (parked,) = await route(pool, [event])
    assert parked.waiting_for == f"programme:{programme_id}"
    title = Title(sv="Leda möten", en="Leading meetings")
    day = NOW.date()
    catalogue = [
        received(ProgrammePublished(programme_id=programme_id, version=1, title=title, milestones=())),
        received(
            CohortOpened(cohort_id=cohort_id, programme_id=programme_id, programme_version=1, name="Våren",
                         capacity=4, starts_on=day, ends_on=day + timedelta(days=90))
        ),
    ]  # fmt: skip
    keep = next(h for h in handlers() if h.name.endswith("keep_titles"))
    async with pool.acquire() as conn, conn.transaction():
        await keep.apply(conn, catalogue, NOW)
        await keep.apply(conn, catalogue, NOW)
    assert await route(pool, [event]) == []
    assert await pool.fetchval("select kind from deliveries") == "enrolment_active"


async def test_a_message_continues_the_trace_of_its_cause(pool: Pool, directory: Directory) -> None:
    span = NonRecordingSpan(SpanContext(0xABC, 0xDEF, is_remote=True, trace_flags=TraceFlags(1)))
    round_fact = ResultsReleased(
        round_id=new_id(), subject_person_id=await directory.person(), enrolment_id=new_id(), milestone="first",
        cohort_id=new_id(), programme_id=new_id(), unit_id=new_id(),
    )  # fmt: skip
    await route(pool, [received(round_fact, context=trace.set_span_in_context(span))])
    traceparent = await pool.fetchval("select traceparent from messages")
    assert traceparent == f"00-{0xABC:032x}-{0xDEF:016x}-01"


async def test_a_thousand_invitations_are_queued_in_one_go(pool: Pool, directory: Directory) -> None:
    subject = await directory.person()
    await pool.execute(
        """
        insert into people (id, given_name, family_name, email, unit_id, status, locale, time_zone)
        select gen_random_uuid(), 'P', 'Q', 'p' || n || '@example.org', gen_random_uuid(), 'active', 'sv', 'UTC'
        from generate_series(1, 1000) n
        """
    )
    people = [row["id"] for row in await pool.fetch("select id from people where id <> $1", subject)]
    events = [received(invitation(person, subject)) for person in people]
    started = Clock().now()
    await route(pool, events)
    assert await pool.fetchval("select count(*) from deliveries where status = 'queued'") == 1000
    assert Clock().now() - started < timedelta(seconds=3)  # set-wise takes a tenth of that on a busy machine
