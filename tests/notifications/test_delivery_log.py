"""The delivery log: who may read it, what it shows of round mail, and a second chance for what failed."""

from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID

import pytest
from httpx import AsyncClient

from services.notifications.service import SERVICE
from services.notifications.settings import NotificationsSettings
from shared.events import EnrolmentActivated
from shared.events.vocabulary import Role
from shared.ids import new_id
from shared.postgres.pool import Pool
from shared.security.session import COOKIE
from tests.notifications.conftest import Directory, Sending, invite, route, until
from tests.notifications.factories import NOW, received
from tests.notifications.mail_server import ACCEPT, MailServer
from tests.notifications.test_sender import settled
from tests.support.directory import add_machine, add_person, add_unit, grant
from tests.support.serving import ORIGIN, client_of
from tests.support.settings import make_settings
from tests.support.signing_in import session_of

LOG = "/notifications/v1/deliveries"


@pytest.fixture
async def client(dsn: str) -> AsyncIterator[AsyncClient]:
    async with client_of(SERVICE.create_api(make_settings(NotificationsSettings, dsn))) as made:
        yield made


@pytest.fixture
async def operator(pool: Pool) -> dict[str, str]:
    return await as_machine(pool, Role.operator)


async def as_machine(pool: Pool, role: Role, units: frozenset[UUID] | None = None) -> dict[str, str]:
    return {"authorization": f"Bearer {await add_machine(pool, 'a machine', {role: units})}"}


async def place(pool: Pool, directory: Directory) -> UUID:
    """Queue the mail about a place in a cohort; returns whom it is for."""
    person, programme, cohort = await directory.person(), new_id(), new_id()
    await pool.execute("insert into programmes values ($1, $2)", programme, {"sv": "Leda", "en": "Lead"})
    await pool.execute("insert into cohorts values ($1, 'Våren')", cohort)
    fact = EnrolmentActivated(
        enrolment_id=new_id(), person_id=person, cohort_id=cohort, programme_id=programme, unit_id=new_id(),
        promoted=False,
    )  # fmt: skip
    await route(pool, [received(fact)], now=NOW)
    return person


async def fail_all(pool: Pool) -> None:
    await pool.execute(
        """
        update deliveries set status = 'failed', attempts = 8, reason = 'server_busy', reply_code = 451,
            next_attempt_at = null, settled_at = $1
        """,
        NOW,
    )


async def test_round_mail_is_listed_without_recipient_and_other_mail_with_the_persons_id(
    pool: Pool, directory: Directory, client: AsyncClient, operator: dict[str, str]
) -> None:
    await invite(pool, directory)
    person = await place(pool, directory)
    answer = await client.get(LOG, headers=operator)
    assert answer.status_code == 200
    newest, oldest = answer.json()["items"]
    assert (newest["kind"], newest["recipient_id"]) == ("enrolment_active", str(person))
    seen = await pool.fetch("select action, subject from audit_log")
    assert [tuple(row) for row in seen] == [("delivery.read", person)]
    assert (oldest["kind"], oldest["recipient_id"]) == ("invitation", None)
    row = await pool.fetchrow("select recipient_id, caused_by, params from messages where kind = 'invitation'")
    assert row is not None
    one = await client.get(f"{LOG}/{oldest['id']}", headers=operator)
    page = await client.get("/notifications/deliveries", headers=operator)
    for text in (answer.text, one.text, page.text):
        for secret in (row["recipient_id"], row["caused_by"], row["params"]["invitation_id"]):
            assert str(secret) not in text


async def test_rows_are_told_apart_by_recipient_and_trace_but_round_mail_by_its_trace_alone(
    pool: Pool, directory: Directory, client: AsyncClient, operator: dict[str, str]
) -> None:
    await invite(pool, directory, given_name="Hemlig", family_name="Svarande")
    await place(pool, directory)
    traces = {kind: f"{number:032x}" for number, kind in enumerate(("enrolment_active", "invitation"), start=0xABC)}
    for kind, trace in traces.items():
        await pool.execute("update messages set traceparent = $1 where kind = $2", f"00-{trace}-{1:016x}-01", kind)
    page = (await client.get("/notifications/deliveries?lang=en", headers=operator)).text
    assert "Åsa Öberg" in page
    assert "Hemlig" not in page
    for trace in traces.values():
        assert f'<code class="to-copy">{trace}</code>' in page
    client._transport.app.state.settings = make_settings(  # type: ignore[attr-defined]
        NotificationsSettings, "postgresql://nobody@127.0.0.1/x", trace_url="https://traces.example.org/trace/{trace_id}?from=log",
    )  # fmt: skip
    page = (await client.get("/notifications/deliveries?lang=en", headers=operator)).text
    for trace in traces.values():
        assert f'<a href="https://traces.example.org/trace/{trace}?from=log">' in page


@pytest.mark.parametrize("address", ["javascript:alert('{trace_id}')", "https://traces.example.org/", "{trace_id}"])
def test_an_address_for_traces_that_is_none_stops_the_start(dsn: str, address: str) -> None:
    with pytest.raises(ValueError, match="trace_url"):
        make_settings(NotificationsSettings, dsn, trace_url=address)


async def test_the_trace_of_round_mail_is_for_operators_alone(
    pool: Pool, directory: Directory, client: AsyncClient, operator: dict[str, str]
) -> None:
    """It is the round's, which is public: the programme office would read how many were asked, and who got no mail."""
    await invite(pool, directory)
    await place(pool, directory)
    await pool.execute("update messages set traceparent = $1", f"00-{0xABC:032x}-{0xDEF:016x}-01")
    office = await as_machine(pool, Role.programme_office)
    read = {name: (await client.get(LOG, headers=who)).json()["items"] for name, who in
            {"office": office, "operator": operator}.items()}  # fmt: skip
    shown = {name: {one["kind"]: one["trace_id"] for one in items} for name, items in read.items()}
    known = f"{0xABC:032x}"
    assert shown["operator"] == {"invitation": known, "enrolment_active": known}
    assert shown["office"] == {"invitation": None, "enrolment_active": known}
    assert (await client.get("/notifications/deliveries", headers=office)).text.count(known) == 1


async def test_the_log_is_filtered_and_paged_without_gap_or_repeat(
    pool: Pool, directory: Directory, client: AsyncClient, operator: dict[str, str]
) -> None:
    await invite(pool, directory, 5)
    await place(pool, directory)
    seen: list[str] = []
    query: dict[str, str] = {"kind": "invitation", "status": "queued", "limit": "2"}
    while True:
        page = (await client.get(LOG, params=query, headers=operator)).json()
        seen += [item["id"] for item in page["items"]]
        if page["next"] is None:
            break
        query["cursor"] = page["next"]
    rows = await pool.fetch("select id from deliveries where kind = 'invitation' order by id desc")
    assert seen == [str(row["id"]) for row in rows]
    assert (await client.get(LOG, params={"status": "sent"}, headers=operator)).json()["items"] == []


@pytest.mark.parametrize("query", ["status=lost", "kind=telegram", "limit=0", "limit=9999"])
async def test_a_filter_that_is_none_is_refused_with_the_field(
    client: AsyncClient, operator: dict[str, str], query: str
) -> None:
    answer = await client.get(f"{LOG}?{query}", headers=operator)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == query.split("=", maxsplit=1)[0]


async def test_a_foreign_cursor_is_refused(client: AsyncClient, operator: dict[str, str]) -> None:
    assert (await client.get(LOG, params={"cursor": "nonsense"}, headers=operator)).status_code == 400


async def test_only_operators_and_the_programme_office_of_the_whole_organisation_read_the_log(
    pool: Pool, directory: Directory, client: AsyncClient
) -> None:
    await invite(pool, directory)
    unit = await add_unit(pool, "North")
    assert (await client.get(LOG)).status_code == 401
    for role, units, status in (
        (Role.operator, None, 200),
        (Role.programme_office, None, 200),
        (Role.programme_office, frozenset({unit}), 403),
        (Role.hr_integration, None, 403),
        (Role.stream_reader, None, 403),
    ):
        headers = await as_machine(pool, role, units)
        for path in (LOG, f"{LOG}/summary", "/notifications/deliveries"):
            assert (await client.get(path, headers=headers)).status_code == status, (role, path)


async def test_the_programme_office_reads_but_does_not_retry(
    pool: Pool, directory: Directory, client: AsyncClient
) -> None:
    await place(pool, directory)
    await fail_all(pool)
    notification = await pool.fetchval("select id from deliveries")
    office = await as_machine(pool, Role.programme_office)
    assert (await client.get(f"{LOG}/{notification}", headers=office)).status_code == 200
    assert (await client.post(f"{LOG}/{notification}/retry", headers=office)).status_code == 403
    assert await pool.fetchval("select status from deliveries") == "failed"


async def test_a_failed_message_gets_a_new_series_of_attempts_and_is_delivered(
    pool: Pool, directory: Directory, client: AsyncClient, operator: dict[str, str], server: MailServer,
    sending: Sending,
) -> None:  # fmt: skip
    await invite(pool, directory)
    await fail_all(pool)
    notification = await pool.fetchval("select id from deliveries")
    headers = operator | {"idempotency-key": "once"}
    first = await client.post(f"{LOG}/{notification}/retry", headers=headers)
    again = await client.post(f"{LOG}/{notification}/retry", headers=headers)
    assert (first.status_code, first.json()["status"], first.json()["attempts"]) == (200, "deferred", 8)
    assert again.text == first.text
    assert await pool.fetchval("select count(*) from outbox") == 1
    assert await pool.fetchval("select count(*) from audit_log where action = 'delivery.retried'") == 1
    server.answer = lambda _: ACCEPT
    async with sending():
        await until(lambda: settled(pool))
        await until(lambda: len(server.accepted) == 1)


async def test_only_what_failed_can_be_retried(
    pool: Pool, directory: Directory, client: AsyncClient, operator: dict[str, str]
) -> None:
    await place(pool, directory)
    notification = await pool.fetchval("select id from deliveries")
    for status in ("queued", "sending", "deferred", "sent", "suppressed"):
        await pool.execute("update deliveries set status = $1", status)
        answer = await client.post(f"{LOG}/{notification}/retry", headers=operator)
        assert (answer.status_code, answer.json()["type"].rsplit("/", 1)[1]) == (409, "not-failed")
    assert await pool.fetchval("select count(*) from outbox") == 0
    assert (await client.post(f"{LOG}/{new_id()}/retry", headers=operator)).status_code == 404
    assert (await client.get(f"{LOG}/{new_id()}", headers=operator)).status_code == 404
    assert (await client.get(f"{LOG}/not-an-id", headers=operator)).status_code == 422


async def test_the_summary_counts_every_status_and_tells_of_an_outage(
    pool: Pool, directory: Directory, client: AsyncClient, operator: dict[str, str]
) -> None:
    await invite(pool, directory, 2)
    summary = (await client.get(f"{LOG}/summary", headers=operator)).json()
    assert {one["status"]: one["messages"] for one in summary["counts"]} == {
        "queued": 2, "sending": 0, "deferred": 0, "sent": 0, "failed": 0, "suppressed": 0,
    }  # fmt: skip
    assert summary["mail_server"] is None
    await pool.execute("insert into mail_server values (true, false, 'unreachable', $1)", NOW - timedelta(hours=1))
    summary = (await client.get(f"{LOG}/summary", headers=operator)).json()
    assert summary["mail_server"]["reason"] == "unreachable"
    page = await client.get("/notifications/deliveries", headers=operator)
    assert "The mail server has not answered since" in page.text


async def test_the_page_explains_every_reason_in_both_languages(
    pool: Pool, directory: Directory, client: AsyncClient, operator: dict[str, str]
) -> None:
    await place(pool, directory)
    await fail_all(pool)
    await pool.execute("update deliveries set resent = 2")
    swedish = await client.get("/notifications/deliveries?lang=sv", headers=operator)
    english = await client.get("/notifications/deliveries?lang=en", headers=operator)
    assert "E-postservern bad oss återkomma." in swedish.text
    assert "kan ha kommit fram flera gånger" in swedish.text
    assert "The mail server asked us to come back later." in english.text
    assert "Try again" in english.text


async def test_a_filter_without_hits_says_what_to_do_next(client: AsyncClient, operator: dict[str, str]) -> None:
    empty = await client.get("/notifications/deliveries?lang=en", headers=operator)
    assert "Messages are queued automatically" in empty.text
    filtered = await client.get("/notifications/deliveries?lang=en&status=failed&kind=nonsense", headers=operator)
    assert filtered.status_code == 200
    assert "No messages match your filters." in filtered.text


async def test_an_operator_retries_from_the_page_and_another_site_cannot(
    pool: Pool, directory: Directory, client: AsyncClient
) -> None:
    person = await add_person(pool, "olle")
    await grant(pool, person, {Role.operator: None})
    await place(pool, directory)
    await fail_all(pool)
    notification = await pool.fetchval("select id from deliveries")
    settings = client._transport.app.state.settings  # type: ignore[attr-defined]
    client.cookies.set(COOKIE, session_of(settings, "olle"))
    page = await client.get("/notifications/", follow_redirects=True)
    assert f"/notifications/deliveries/{notification}/retry" in page.text
    path = f"/notifications/deliveries/{notification}/retry"
    foreign = await client.post(path, data={"back": ""}, headers={"origin": "https://evil.example"})
    assert foreign.status_code == 403
    keyed = {"origin": ORIGIN, "idempotency-key": "k"}  # a page has no use for one
    answer = await client.post(path, data={"back": "status=failed"}, headers=keyed)
    assert (answer.status_code, answer.headers["location"]) == (303, "/notifications/deliveries?status=failed")
    assert await pool.fetchval("select status from deliveries") == "deferred"


async def test_a_visitor_is_sent_to_sign_in(client: AsyncClient) -> None:
    answer = await client.get("/notifications/deliveries", headers={"accept": "text/html"})
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/login?next=")
