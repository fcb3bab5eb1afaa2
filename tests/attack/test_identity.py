"""Whoever may import people tries to become somebody: by logins swapped, moved and copied."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import httpx
import pytest
from starlette.responses import Response

from services.enrolment.access import actions as access
from services.enrolment.sign_ins import actions
from services.enrolment.sign_ins.domain import Reason
from services.enrolment.sign_ins.handlers import timers
from shared.clock import Clock
from shared.events import AccessState, Role, SignInChanged
from shared.postgres.transaction import transaction
from shared.security.oidc import Account
from shared.security.session import COOKIE, PendingSignIn, set_pending_sign_in
from shared.timers import Timers
from tests.enrolment.imports.conftest import Importer
from tests.enrolment.world import ORIGIN, World, opened, refused
from tests.support.databases import Databases
from tests.support.signing_in import ISSUER, PEOPLE

HEADER = "Employee ID,First Name,Last Name,Email,Unit,Status,Login\n"


class Attack:
    """The house, an import token's reach, and accounts at the issuer that come to sign in."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.people: dict[str, str] = {}

    async def send(self, *, full: bool = True, **logins: str) -> None:
        """The newest file of the HR platform: employee id and login of everybody, or who has left (`-`)."""
        rows = [
            f"{who},{who},Berg,{who}@example.org,Care,Left,\n"
            if login == "-"
            else f"{who},{who},Berg,{who}@example.org,Care,Active,{login}\n"
            for who, login in logins.items()
        ]
        done = await Importer(self.world.pool)(HEADER + "".join(rows), max_deactivations="100%", full=full)
        assert done.status == "done", done.report

    async def id_of(self, employee_id: str) -> UUID:
        found: UUID = await self.world.pool.fetchval("select id from people where employee_id = $1", employee_id)
        return found

    async def grant(self, employee_id: str, role: Role) -> None:
        async with transaction(self.world.pool) as conn:
            await access.grant(conn, access.CONSOLE, await self.id_of(employee_id), role, None, now=self.world.now)

    async def comes(self, subject: str, login: str | None = None) -> httpx.Response:
        """An account arrives from the issuer; its login is called like the account unless said otherwise."""
        async with self._browser() as browser:
            arrival = PendingSignIn(Account(ISSUER, subject, login or subject, 0), subject, "/enrolment/v1/me")
            handed = Response()
            set_pending_sign_in(handed, self.world.settings, arrival)
            browser.cookies.set(*handed.headers["set-cookie"].partition(";")[0].split("=", 1))
            answer = await browser.get("/enrolment/sign-in")
            if answer.status_code != 303:
                return answer
            assert COOKIE in browser.cookies
            return await browser.get(answer.headers["location"])

    async def signs_in(self, subject: str, login: str | None = None) -> str | None:
        """The employee id of whom the account signs in; None when it is not let in."""
        answer = await self.comes(subject, login)
        if answer.status_code == 403:
            return None
        return str(answer.json()["name"]).split()[0]

    @asynccontextmanager
    async def _browser(self) -> AsyncIterator[httpx.AsyncClient]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(self.world.app), base_url=ORIGIN) as client:
            yield client


@pytest.fixture
async def attack(database: Databases, tmp_path: Path) -> AsyncIterator[Attack]:
    async with opened(await database("enrolment"), tmp_path) as world:
        yield Attack(world)


async def test_the_first_sign_in_finds_the_person_by_login_and_is_announced_once(attack: Attack) -> None:
    await attack.send(E1="anna", E2="bo")
    assert await attack.signs_in("f3c1a8d2", "anna") == "E1"
    assert await attack.signs_in("f3c1a8d2", "whatever the issuer calls it now") == "E1"
    [state] = await attack.world.events(AccessState)
    assert (state.person_id, state.roles) == (await attack.id_of("E1"), {})
    assert [(each.issuer, each.subject) for each in state.sign_ins] == [(ISSUER, "f3c1a8d2")]


async def test_swapping_two_logins_swaps_nobody(attack: Attack) -> None:
    await attack.send(E1="anna", E2="mallory")
    await attack.grant("E1", Role.operator)
    assert await attack.signs_in("anna") == "E1"
    assert await attack.signs_in("mallory") == "E2"
    await attack.send(E1="mallory", E2="anna")
    assert await attack.signs_in("mallory") == "E2"
    assert await attack.signs_in("anna") == "E1"


async def test_swapping_logins_of_people_who_never_signed_in_opens_nothing_that_is_somebodys(attack: Attack) -> None:
    await attack.send(E1="anna", E2="mallory")
    await attack.grant("E1", Role.operator)
    await attack.send(E1="mallory", E2="anna")
    assert await attack.signs_in("mallory") is None
    assert await attack.signs_in("anna") is None


async def test_an_operators_login_moved_to_an_account_nobody_has_heard_of_opens_nothing(attack: Attack) -> None:
    await attack.send(E1="olle", E2="bo")
    await attack.grant("E1", Role.operator)
    await attack.send(E1="mallory", E2="bo")
    refusal = await attack.comes("mallory")
    assert (refusal.status_code, refusal.json()["type"].rpartition("/")[2]) == (403, "sign-in-unconfirmed")
    assert "operator" in refusal.json()["remedy"]
    assert await attack.signs_in("olle") is None  # nor does the old login, which is nobody's now
    await attack.send(E1="OLLE", E2="bo")
    assert await attack.signs_in("olle") is None  # HR moved it: an operator has to look


async def test_a_second_account_with_the_login_of_somebody_who_has_one_waits_for_an_operator(attack: Attack) -> None:
    await attack.send(E1="olle", E2="bo")
    assert await attack.signs_in("first", "olle") == "E1"
    assert await attack.signs_in("second", "olle") is None
    await attack.send(E1="mallory", E2="bo")
    assert await attack.signs_in("mallory") is None
    assert await attack.signs_in("first", "olle") == "E1"


async def test_an_own_login_that_is_renamed_changes_nothing_for_its_person(attack: Attack) -> None:
    await attack.send(E1="anna.berg", E2="bo")
    assert await attack.signs_in("anna", "anna.berg") == "E1"
    await attack.send(E1="anna.lund", E2="bo")
    assert await attack.signs_in("anna", "anna.lund") == "E1"


async def test_a_login_that_hr_corrects_before_anything_was_done_under_it_is_good(attack: Attack) -> None:
    await attack.send(E1="ana", E2="bo")
    await attack.send(E1="anna", E2="bo")
    assert await attack.signs_in("anna") == "E1"


async def test_who_is_employed_anew_as_a_new_person_signs_in_as_that_one(attack: Attack) -> None:
    await attack.send(E1="anna", E2="bo")
    await attack.grant("E1", Role.programme_office)
    assert await attack.signs_in("anna") == "E1"
    await attack.send(E1="-", E2="bo")
    assert await attack.signs_in("anna") is None
    await attack.send(E3="anna", E2="bo")
    answer = await attack.comes("anna")
    assert (answer.json()["name"], answer.json()["roles"]) == ("E3 Berg", {})
    await attack.send(E1="anna2", E3="anna", E2="bo")  # back, but somebody else may have the account by now
    assert await attack.signs_in("anna2") is None
    assert await attack.signs_in("anna") == "E3"


async def test_an_account_of_somebody_who_left_does_not_become_somebody_with_a_history(attack: Attack) -> None:
    await attack.send(E1="mallory", E2="olle")
    await attack.grant("E2", Role.operator)
    assert await attack.signs_in("mallory") == "E1"
    await attack.send(E1="-", E2="mallory")
    assert await attack.signs_in("mallory") is None


async def test_an_account_that_comes_back_under_another_login_is_not_bound_to_who_has_a_history(
    attack: Attack,
) -> None:
    await attack.send(E1="mallory", E2="olle")
    await attack.grant("E2", Role.operator)
    assert await attack.signs_in("f3c1", "mallory") == "E1"
    await attack.send(E1="-", E2="olle")
    assert await attack.signs_in("f3c1", "olle") is None  # renamed at the provider; nobody else ever had the login
    assert await attack.signs_in("a77b", "olle") == "E2"


async def test_a_login_that_somebody_else_had_is_not_bound_to_whoever_has_done_something(attack: Attack) -> None:
    await attack.send(E1="mallory", E2="olle")
    await attack.grant("E2", Role.operator)
    await attack.send(E1="-", E2="olle")
    await attack.send(E1="-", E2="mallory")  # the login passes on; its first holder never signed in
    assert await attack.signs_in("mallory") is None


async def test_capitals_make_no_other_login_but_two_people_who_differ_by_them_are_two(attack: Attack) -> None:
    await attack.send(E1="Anna.Berg", E2="bo")
    assert await attack.signs_in("anna", "anna.berg") == "E1"
    await attack.world.pool.execute(  # as 0.1.0 let them in
        "update people set login = 'ANNA.BERG' where employee_id = 'E2'"
    )
    assert await attack.signs_in("other", "anna.Berg") is None
    assert await attack.signs_in("capitals", "ANNA.BERG") == "E2"  # exactly, and nobody's history


@pytest.mark.parametrize("said", ["Åsa.Öberg", "åsa.öberg", "ÅSA.ÖBERG", "A\u030asa.O\u0308berg"])
async def test_a_login_is_found_in_whatever_capitals_and_encoding_the_provider_says_it(
    attack: Attack, said: str
) -> None:
    await attack.send(E1="Åsa.Öberg", E2="asa.oberg")
    assert await attack.signs_in("f3c1", said) == "E1"


LOOKALIKES = {
    "Cyrillic": "ann\u0430", "fullwidth": "\uff41nna", "invisible": "an\u200dna", "dotless": "m\u0131a",
    "dotted": "M\u0130A", "kra": "an\u0138a", "ligature": "\ufb01a", "combining": "anna\u0337", "Greek": "\u03bfle",
}  # fmt: skip


@pytest.mark.parametrize("login", LOOKALIKES.values(), ids=LOOKALIKES.keys())
async def test_a_login_that_looks_like_another_is_given_to_nobody_and_the_report_says_where_it_stands(
    attack: Attack, login: str
) -> None:
    file = HEADER + f"E1,E1,Berg,E1@example.org,Care,Active,anna\nE2,E2,Berg,E2@example.org,Care,Active,{login}\n"
    done = await Importer(attack.world.pool)(file)
    assert done.status == "done"
    kept = {row["employee_id"]: row["login"] for row in await attack.world.pool.fetch("select * from people")}
    assert (kept["E1"], kept.get("E2")) == ("anna", None)
    assert done.report is not None
    [issue] = done.report["issues"]
    assert (issue["line"], issue["column"]) == (3, "Login")
    assert issue["code"] in ("bad_login", "unprintable")
    assert issue["remedy"]


@pytest.mark.parametrize("pair", [("anna", "ANNA"), ("åsa", "ÅSA"), ("strasse", "straße")])
@pytest.mark.parametrize("source", ["hr", "elsewhere"])
async def test_two_logins_that_differ_by_capitals_are_one_in_a_file_and_across_sources(
    attack: Attack, pair: tuple[str, str], source: str
) -> None:
    importer = Importer(attack.world.pool)
    first, second = (f"E{n},E{n},Berg,E{n}@example.org,Care,Active,{login}\n" for n, login in enumerate(pair, start=1))
    await importer(HEADER + first, source=source)
    done = await importer(HEADER + first + second if source == "hr" else HEADER + second)
    assert done.report is not None
    [issue] = done.report["issues"]
    assert (issue["code"], issue["line"]) == ("duplicate_login", 3 if source == "hr" else 2)
    logins = {row["employee_id"]: row["login"] for row in await attack.world.pool.fetch("select * from people")}
    assert logins == {"E1": pair[0], "E2": None}


async def test_logins_of_0_1_0_that_would_be_refused_today_stay_until_hr_changes_them(attack: Attack) -> None:
    await attack.send(E1="x1", E2="x2", E3="x3")
    old = {"E1": "anna", "E2": "ANNA", "E3": "ann\u0430"}
    for who, login in old.items():
        await attack.world.pool.execute("update people set login = $1 where employee_id = $2", login, who)
    await attack.send(full=True, **old)
    kept = {row["employee_id"]: row["login"] for row in await attack.world.pool.fetch("select * from people")}
    assert kept == old
    await attack.send(full=True, **old | {"E3": "aNNa"})
    assert await attack.world.pool.fetchval("select login from people where employee_id = 'E3'") == old["E3"]
    await attack.send(full=True, **old | {"E3": "karin"})
    assert await attack.world.pool.fetchval("select login from people where employee_id = 'E3'") == "karin"


async def test_an_account_without_a_login_or_with_an_unknown_one_is_nobody_and_an_operator_sees_it(
    attack: Attack,
) -> None:
    await attack.send(E1="anna")
    for subject, login in (("opaque", None), ("stranger", "stranger")):
        async with transaction(attack.world.pool) as conn:
            found = await actions.first_sign_in(conn, Account(ISSUER, subject, login, 0), now=attack.world.now)
        assert found is (Reason.NO_LOGIN if login is None else Reason.UNKNOWN_LOGIN)
    await attack.grant("E1", Role.operator)
    client = await _as_operator(attack)
    listed = (await client.get("/enrolment/v1/sign-ins/refused")).json()
    assert {(each["subject"], each["reason"]) for each in listed} == {
        ("opaque", "no_login"), ("stranger", "unknown_login"),
    }  # fmt: skip


async def test_who_was_not_let_in_is_forgotten_90_days_after_they_came_last(
    attack: Attack, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool, came = attack.world.pool, attack.world.now

    async def comes(subject: str, after: timedelta) -> None:
        async with transaction(pool) as conn:
            await actions.first_sign_in(conn, Account(ISSUER, subject, subject, 0), now=came + after)

    async def kept(after: timedelta) -> set[str]:
        monkeypatch.setattr(Clock, "now", lambda _: came + after)
        await Timers(pool, Clock(), timers()).tick()
        return {row["subject"] for row in await pool.fetch("select subject from refused_sign_ins")}

    await comes("once", timedelta())
    await comes("again", timedelta())
    await comes("again", timedelta(days=30))
    assert await kept(timedelta(days=89)) == {"once", "again"}
    assert await kept(timedelta(days=90)) == {"again"}
    assert await kept(timedelta(days=120)) == set()


async def test_an_operator_binds_another_account_sessions_end_and_every_known_address_hears_of_it(
    attack: Attack,
) -> None:
    await attack.send(E1="anna", E2="olle")
    await attack.grant("E2", Role.operator)
    assert await attack.signs_in("old", "anna") == "E1"
    client, anna = await _as_operator(attack), await attack.id_of("E1")
    await attack.world.pool.execute("update people set email = 'mallory@example.org' where id = $1", anna)
    body = {"person_id": str(anna), "subject": "new"}
    for _ in range(2):  # saying it again changes nothing
        assert (await client.post("/enrolment/v1/sign-ins", json=body)).status_code == 204
    assert await attack.signs_in("new", "anything") == "E1"
    assert await attack.signs_in("old", "anna") is None
    told = await attack.world.events(SignInChanged)
    assert [(each.person_id, each.change, each.address) for each in told] == [
        (anna, "replaced", None), (anna, "replaced", "E1@example.org"),
    ]  # fmt: skip
    newest = (await attack.world.events(AccessState))[-1]
    assert [each.subject for each in newest.sign_ins] == ["new"]
    assert newest.sessions_from is not None
    audited = await attack.world.pool.fetch("select action from audit_log where subject = $1 order by at, id", anna)
    assert [row["action"] for row in audited] == ["sign_in.bound", "sign_in.bound"]


async def test_a_sign_in_that_an_operator_ended_comes_back_by_nobodys_login(attack: Attack) -> None:
    await attack.send(E1="anna", E2="olle")
    await attack.grant("E2", Role.operator)
    assert await attack.signs_in("anna") == "E1"
    client, anna = await _as_operator(attack), await attack.id_of("E1")
    for status in (204, 404):
        answer = await client.delete("/enrolment/v1/sign-ins", params={"person_id": str(anna)})
        assert answer.status_code == status
    assert await attack.signs_in("anna") is None
    body = {"person_id": str(anna), "subject": "anna"}
    assert (await client.post("/enrolment/v1/sign-ins", json=body)).status_code == 204
    assert await attack.signs_in("anna") == "E1"


async def test_nobody_but_an_operator_binds_accounts_and_none_takes_somebodys_who_is_at_work(attack: Attack) -> None:
    await attack.send(E1="anna", E2="olle", E3="hr")
    await attack.grant("E2", Role.operator)
    assert await attack.signs_in("anna") == "E1"
    operator, anna, hr = await _as_operator(attack), await attack.id_of("E1"), await attack.id_of("E3")
    await refused(
        operator.post("/enrolment/v1/sign-ins", json={"person_id": str(hr), "subject": "anna"}), 409, "account-in-use"
    )
    for role in (Role.hr_integration, Role.programme_office):
        token = await attack.world.machine(role.value, role)
        bearer = {"authorization": f"Bearer {token}"}
        order = {"person_id": str(anna), "subject": "mallory"}
        await refused(operator.post("/enrolment/v1/sign-ins", json=order, headers=bearer), 403, "forbidden")
        await refused(operator.get("/enrolment/v1/sign-ins", headers=bearer), 403, "forbidden")
        await refused(operator.get("/enrolment/v1/sign-ins/refused", headers=bearer), 403, "forbidden")
        ending = operator.delete("/enrolment/v1/sign-ins", params={"person_id": str(anna)}, headers=bearer)
        await refused(ending, 403, "forbidden")
    listed = (await operator.get("/enrolment/v1/sign-ins")).json()["items"]
    assert {(each["person_id"], each["subject"], each["login"]) for each in listed} == {(str(anna), "anna", "anna")}


async def test_an_arrival_holds_in_the_browser_that_brings_it_for_two_minutes_and_as_nothing_else(
    attack: Attack,
) -> None:
    await attack.send(E1="anna")
    async with attack._browser() as browser:
        assert (await browser.get("/enrolment/sign-in")).headers["location"] == "/login"
        browser.cookies.set("medled_arrival", attack.world.client("anna").cookies[COOKIE])
        assert (await browser.get("/enrolment/sign-in")).headers["location"] == "/login"
        assert COOKIE not in browser.cookies


async def _as_operator(attack: Attack) -> httpx.AsyncClient:
    row = await attack.world.pool.fetchrow(
        "select p.id, p.login from people p join access a on a.person_id = p.id where a.roles ? 'operator'"
    )
    assert row is not None
    PEOPLE[row["login"]] = row["id"]
    return attack.world.client(row["login"])
