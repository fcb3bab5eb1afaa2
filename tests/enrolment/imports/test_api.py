"""Imports over HTTP."""

from typing import Any
from uuid import UUID

import httpx
import pytest

from services.enrolment.imports import api
from services.enrolment.imports.actions import IMPORT
from services.enrolment.imports.handlers import run_imports
from shared.events import PersonProvisioned, Role
from shared.ids import new_id
from shared.timers import Timers
from tests.enrolment.world import ORIGIN, World, ok, refused

URL = "/enrolment/v1/imports"
CSV = "Employee ID,First Name,Last Name,Email,Unit\n1,Åsa,Öberg,asa@example.org,Care\n2,Bo,Ek,bo@example.org,Care\n"


async def a_machine(world: World, role: Role = Role.hr_integration) -> httpx.AsyncClient:
    token = await world.machine("HR", role)
    client = httpx.AsyncClient(
        transport=httpx.ASGITransport(world.app), base_url=ORIGIN, headers={"authorization": f"Bearer {token}"}
    )
    world.stack.push_async_callback(client.aclose)
    return client


async def work(world: World) -> None:
    await Timers(world.pool, world.app.state.clock, {IMPORT: run_imports(world.pool)}).tick()


async def test_a_file_is_taken_imported_in_the_background_and_reported(world: World) -> None:
    machine = await a_machine(world)
    sent = await machine.post(URL, content=CSV.encode("cp1252"), headers={"content-type": "text/csv"})
    assert sent.status_code == 202
    queued = sent.json()
    assert (queued["status"], queued["percent"], queued["report"]) == ("queued", 0, None)
    assert sent.headers["location"] == f"{URL}/{queued['id']}"
    await work(world)
    done = await ok(machine.get(sent.headers["location"]))
    assert (done["status"], done["phase"], done["percent"], done["counts"]["joined"]) == ("done", "done", 100, 2)
    assert done["report"]["file"]["encoding"] == "cp1252"
    assert done["report"]["difference"]["joined"][0]["name"] == "Åsa Öberg"
    assert len(await world.events(PersonProvisioned)) == 2


async def test_a_form_carries_the_file_its_name_and_the_options(world: World) -> None:
    machine = await a_machine(world)
    mapping = 'columns:\n  employee_id: "Nr"\n'
    sent = await ok(
        machine.post(
            URL,
            files={"file": ("people.csv", CSV.replace("Employee ID", "Nr").encode())},
            data={"dry_run": "true", "mapping": mapping, "max_deactivations": "25 %"},
        ),
        202,
    )
    assert (sent["file_name"], sent["dry_run"]) == ("people.csv", True)
    await work(world)
    assert (await ok(machine.get(f"{URL}/{sent['id']}")))["counts"]["joined"] == 2
    assert await world.events(PersonProvisioned) == []


async def test_the_same_request_again_is_the_same_import(world: World) -> None:
    machine = await a_machine(world)
    headers = {"idempotency-key": "monday"}
    first = await ok(machine.post(URL, content=CSV, headers=headers), 202)
    assert await ok(machine.post(URL, content=CSV, headers=headers), 202) == first
    await refused(machine.post(URL, content=CSV + "\n", headers=headers), 422, "idempotency-key-reused")
    await refused(
        machine.post(URL, params={"dry_run": True}, content=CSV, headers=headers), 422, "idempotency-key-reused"
    )
    assert len((await ok(machine.get(URL)))["items"]) == 1


async def test_the_same_form_again_is_the_same_import_whatever_boundary_the_client_chose(world: World) -> None:
    machine = await a_machine(world)

    def sending(csv: str = CSV, name: str = "people.csv", kind: str = "text/csv", **fields: str) -> Any:
        file = (name, csv, kind)
        return machine.post(URL, files={"file": file}, data=fields, headers={"idempotency-key": "monday"})

    first, again = await sending(source="hr"), await sending(source="hr")
    assert first.request.headers["content-type"] != again.request.headers["content-type"]
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json() == again.json()
    for other in (
        sending(CSV + "\n", source="hr"),
        sending(source="hr2"),
        sending(source="hr", full="true"),
        sending(name="b.csv", source="hr"),
        sending(kind="text/plain", source="hr"),
        machine.post(URL, params={"source": "hr"}, content=CSV, headers={"idempotency-key": "monday"}),
        machine.post(f"{URL}?full=true", files={"file": CSV}, headers={"idempotency-key": "monday"}),
    ):
        await refused(other, 422, "idempotency-key-reused")
    assert len((await ok(machine.get(URL)))["items"]) == 1


async def test_imports_are_listed_newest_first_without_their_reports(world: World) -> None:
    machine = await a_machine(world, Role.programme_office)
    sent = [(await ok(machine.post(URL, content=CSV), 202))["id"] for _ in range(3)]
    await work(world)
    first = await ok(machine.get(URL, params={"limit": 2}))
    rest = await ok(machine.get(URL, params={"limit": 2, "cursor": first["next"]}))
    assert [item["id"] for item in first["items"] + rest["items"]] == sent[::-1]
    assert {item["report"] for item in first["items"]} == {None}
    assert rest["next"] is None


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"max_deactivations": "lots"}, "max_deactivations"),
        ({"max_deactivations": "101%"}, "max_deactivations"),
        ({"source": "HR platform!"}, "source"),
        ({"dry_run": "perhaps"}, "dry_run"),
        ({"unit_separator": ""}, "unit_separator"),
        ({"default_time_zone": "Mars"}, "default_time_zone"),
        ({"default_locale": "?"}, "default_locale"),
        ({"ful": "false"}, "ful"),
    ],
)
@pytest.mark.parametrize("form", [False, True])
async def test_a_wrong_option_is_named_and_nothing_is_taken(
    world: World, options: dict[str, str], field: str, form: bool
) -> None:
    machine = await a_machine(world)
    sending: dict[str, Any] = {"files": {"file": CSV.encode()}, "data": options} if form else {"params": options}
    problem = await refused(
        machine.post(URL, **({"content": CSV} if not form else {}) | sending), 422, "invalid-request"
    )
    assert [error["field"] for error in problem["errors"]] == [field]
    assert await world.pool.fetchval("select count(*) from imports") == 0


async def test_a_form_without_a_file_is_refused(world: World) -> None:
    machine = await a_machine(world)
    problem = await refused(machine.post(URL, files={"other": b"x"}), 422, "invalid-request")
    assert problem["errors"][0]["field"] == "file"


async def test_a_file_above_the_limit_is_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = await a_machine(world)
    monkeypatch.setattr(api, "LARGEST_FILE", 100)
    await refused(machine.post(URL, content=b"x" * 101), 413, "too-large")
    assert (await machine.post(URL, content=b"x" * 100)).status_code == 202


async def test_a_body_of_many_megabytes_is_taken_and_a_larger_one_never_read(world: World) -> None:
    machine = await a_machine(world)
    rows = "".join(f"{n},Åsa,Öberg,{n}@example.org,{'Care' * 40}\n" for n in range(15_000))
    content = ("Employee ID,First Name,Last Name,Email,Unit\n" + rows).encode()
    assert len(content) > 2 * 1024 * 1024
    assert (await ok(machine.post(URL, content=content), 202))["size"] == len(content)
    too_large = {"content-length": str(80 * 1024 * 1024)}
    await refused(machine.post(URL, content=b"x", headers=too_large), 413, "too-large")


@pytest.mark.parametrize("role", [Role.stream_reader, Role.operator])
async def test_other_roles_may_neither_send_nor_read(world: World, role: Role) -> None:
    other = await a_machine(world, role)
    for sending in (other.post(URL, content=CSV), other.get(URL), other.get(f"{URL}/{new_id()}")):
        await refused(sending, 403, "forbidden")


async def test_a_role_for_one_unit_is_not_enough_for_a_file_about_everybody(world: World) -> None:
    local = await world.office("local", world.north)
    await refused(local.post(URL, content=CSV), 403, "forbidden")


async def test_nobody_gets_in_without_a_token(world: World) -> None:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(world.app), base_url=ORIGIN) as stranger:
        await refused(stranger.post(URL, content=CSV), 401, "unauthenticated")


async def test_an_unknown_import_is_not_found(world: World) -> None:
    await refused((await a_machine(world)).get(f"{URL}/{new_id()}"), 404, "not-found")


async def test_reading_a_report_is_put_on_record(world: World) -> None:
    machine = await a_machine(world)
    sent = await ok(machine.post(URL, content=CSV), 202)
    await ok(machine.get(f"{URL}/{sent['id']}"))
    assert await world.pool.fetchval("select count(*) from audit_log") == 0
    await work(world)
    await ok(machine.get(f"{URL}/{sent['id']}"))
    [row] = await world.pool.fetch("select action, subject from audit_log")
    assert tuple(row) == ("import.read", UUID(sent["id"]))


async def test_an_import_is_cancelled_over_the_api_and_whoever_did_it_is_told(world: World) -> None:
    machine = await a_machine(world)
    office = await world.office()
    sent = await ok(machine.post(URL, content=CSV), 202)
    for _ in range(2):
        cancelled = await ok(office.post(f"{URL}/{sent['id']}/cancel"), 202)
        assert (cancelled["status"], cancelled["report"]) == ("cancelled", None)
        assert cancelled["cancelled_by"].startswith("person:")
    await work(world)
    assert await ok(machine.get(f"{URL}/{sent['id']}")) == cancelled
    assert await world.pool.fetchval("select count(*) from people") == 1  # of the office
    assert await world.pool.fetchval("select count(*) from audit_log where action = 'import.cancelled'") == 1


async def test_an_import_that_has_ended_cannot_be_cancelled(world: World) -> None:
    machine = await a_machine(world)
    sent = await ok(machine.post(URL, content=CSV), 202)
    await work(world)
    problem = await refused(machine.post(f"{URL}/{sent['id']}/cancel"), 409, "import-ended")
    assert "undone by importing the last good file" in problem["remedy"]
    await refused(machine.post(f"{URL}/{new_id()}/cancel"), 404, "not-found")


async def test_who_cancels_what_has_ended_without_a_change_is_promised_no_undoing(world: World) -> None:
    machine = await a_machine(world)
    dry = await ok(machine.post(f"{URL}?dry_run=true", content=CSV), 202)
    bad = await ok(machine.post(URL, content="no,such,columns\n1,2,3\n"), 202)
    await work(world)
    for sent, why in ((dry, "It was a dry run, and changed nothing."), (bad, "It was refused, and changed nothing.")):
        problem = await refused(machine.post(f"{URL}/{sent['id']}/cancel"), 409, "import-ended")
        assert (problem["title"], problem["detail"]) == ("The import has ended", why)
        assert problem["remedy"] == "There is nothing to undo."


async def test_who_may_not_import_may_not_cancel(world: World) -> None:
    sent = await ok((await a_machine(world)).post(URL, content=CSV), 202)
    await world.person("anna")
    for other in (await a_machine(world, Role.operator), world.client("anna"), await world.office("n", world.north)):
        await refused(other.post(f"{URL}/{sent['id']}/cancel"), 403, "forbidden")
    assert await world.pool.fetchval("select status = 'queued' and cancelled_by is null from imports")


@pytest.mark.parametrize(
    ("mapping", "words"),
    [
        ('encoding = "punycode"', "not an encoding that exports come in"),
        ('encoding = "windows 1252x"', "Did you mean"),
        ('[columns]\nemial = "Mejl"', "Did you mean email?"),
        ('[statuses]\nTjänstledig = "on_leave"', 'stands in quotes: "Tjänstledig"'),
    ],
)
@pytest.mark.parametrize("form", [False, True])
async def test_a_mapping_that_is_wrong_is_refused_when_it_is_sent(
    world: World, mapping: str, words: str, form: bool
) -> None:
    machine = await a_machine(world)
    sending: dict[str, Any] = (
        {"files": {"file": CSV.encode()}, "data": {"mapping": mapping}}
        if form
        else {"params": {"mapping": mapping}, "content": CSV}
    )
    problem = await refused(machine.post(URL, **sending), 422, "invalid-request")
    [error] = problem["errors"]
    assert error["field"] == "mapping"
    assert words in f"{error['detail']} {problem['remedy']}"
    assert "line" in error["detail"]
    assert await world.pool.fetchval("select count(*) from imports") == 0
