"""Bringing a file in on its pages: look first, choose columns, import; what is wrong is said, and changes nothing."""

import csv
import io
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest

from services.enrolment.imports.actions import FORGET_FILES, IMPORT
from services.enrolment.imports.handlers import forget_files, run_imports
from services.enrolment.imports.store import ledger
from shared.events.vocabulary import Role
from shared.timers import TimerHandler, Timers
from tests.enrolment.imports.test_pages import PAGE, words
from tests.enrolment.world import World, ok

API = "/enrolment/v1/imports"
GOOD = "Employee ID,First Name,Last Name,Unit\n1,Anna,Berg,Care\n"
FILE = "Nr;Förnamn;Efternamn;Enhet;Läge\n1;Åsa;Berg;Vård / Hem;Anställd\n2;Bo;Ek;Vård;Vilar\n"
COLUMNS = {"column-employee_id": "0", "column-given_name": "1", "column-family_name": "2", "column-unit": "3"}
WRITTEN = {"encoding": "", "delimiter": "", "unit_separator": " / ", "full": "yes"}


async def work(world: World) -> None:
    handlers: dict[str, TimerHandler] = {IMPORT: run_imports(world.pool), FORGET_FILES: forget_files}
    await Timers(world.pool, world.app.state.clock, handlers).tick()


async def send(
    world: World, client: httpx.AsyncClient, content: str | bytes = FILE, *, name: str = "people.csv", **form: str
) -> str:
    """Send a file as the page does, and have it tried; the page of its report."""
    data = {"source": "other", "full": "yes"} | form
    sent = await client.post(PAGE, files={"file": (name, content)}, data=data)
    assert sent.status_code == 303, sent.text
    await work(world)
    return str(sent.headers["location"])


async def go_on(world: World, client: httpx.AsyncClient, page: str, step: str, form: dict[str, str]) -> str:
    """Take a step with the file of a report, and have it done; the page of the report that follows."""
    sent = await client.post(f"{page}/{step}", data=form)
    assert sent.status_code == 303, sent.text
    await work(world)
    return str(sent.headers["location"])


async def people(world: World) -> dict[str, dict[str, Any]]:
    rows = await world.pool.fetch(
        "select p.*, u.name as unit from people p join units u on u.id = p.unit_id where source <> 'hr' "
        "order by employee_id"
    )
    return {row["employee_id"]: dict(row) for row in rows}


async def test_a_file_is_looked_at_first_its_columns_chosen_and_then_it_is_imported(world: World) -> None:
    office = await world.office()
    page = await send(world, office, FILE.encode("cp1252"))
    refused = await words(office, page)
    assert "Required columns are missing: employee_id" in refused
    assert "Nr (1, 2)" in refused, "the first values stand beside each column"

    page = await go_on(world, office, page, "again", COLUMNS | WRITTEN | {"column-status": "4"})
    told = await words(office, page)
    assert "1 person joins" in told
    assert "1 row has an error and is not used" in told
    assert await people(world) == {}, "nothing is changed yet"

    form = COLUMNS | WRITTEN | {"column-status": "4", "status-0": "on_leave"}
    page = await go_on(world, office, page, "again", form)
    assert "2 people join" in await words(office, page)
    page = await go_on(world, office, page, "import", {})
    assert "What it says holds now" in await words(office, page)
    known = await people(world)
    assert [(each["given_name"], each["unit"], each["status"]) for each in known.values()] == [
        ("Åsa", "Hem", "active"),
        ("Bo", "Vård", "on_leave"),
    ]


async def test_the_next_file_of_a_source_is_read_as_the_last_one_that_was_imported(world: World) -> None:
    office = await world.office()
    form = COLUMNS | WRITTEN | {"column-status": "4", "status-0": "on_leave"}
    page = await send(world, office)
    page = await go_on(world, office, page, "again", COLUMNS | WRITTEN | {"column-status": "4"})
    page = await go_on(world, office, page, "again", form)
    await go_on(world, office, page, "import", {})
    tried = await send(world, office, FILE + "3;Eva;Ek;Vård / Hem;Vilar\n")
    told = await words(office, tried)
    assert "1 person joins" in told
    assert "2 people stay as they are" in told
    elsewhere = await send(world, office, new_source="elsewhere")
    assert "Required columns are missing" in await words(office, elsewhere), "another source has its own"


async def test_a_file_from_which_too_many_would_leave_is_imported_after_somebody_has_looked(world: World) -> None:
    office = await world.office()
    header = "Employee ID,First Name,Last Name,Unit\n"
    rows = [f"{n},Bo,Ek,Care\n" for n in range(10)]
    await go_on(world, office, await send(world, office, header + "".join(rows)), "import", {})
    page = await send(world, office, header + "".join(rows[:7]))
    told = await words(office, page)
    assert "The file would deactivate 3 of 10 people (30.0 %)" in told
    assert "I have checked that the export is complete and that 3 people have left." in told
    assert "Import for real" not in told

    unsure = await office.post(f"{page}/allow", data={}, headers={"accept": "text/html"})
    assert unsure.status_code == 422
    assert "Tick the box if you have checked it." in unsure.text
    page = await go_on(world, office, page, "allow", {"sure": "yes"})
    assert "3 people leave" in await words(office, page)
    assert {each["status"] for each in (await people(world)).values()} == {"active"}, "allowing changes nothing yet"
    await go_on(world, office, page, "import", {})
    assert sorted(who for who, each in (await people(world)).items() if each["status"] == "inactive") == ["7", "8", "9"]

    page = await send(world, office, header + "".join(rows[:3]))
    assert "at most 0 (10 %) may be deactivated" in await words(office, page), "the next file has the usual limit"


async def test_people_who_are_there_from_another_source_join_again_only_if_somebody_says_so(world: World) -> None:
    office = await world.office()
    file = "Employee ID,First Name,Last Name,Unit\n" + "".join(f"{n},Bo,Ek,Care\n" for n in range(6))
    await go_on(world, office, await send(world, office, file), "import", {})
    page = await send(world, office, file, new_source="another")
    assert "I have checked that the 6 who join are other people." in await words(office, page)
    page = await go_on(world, office, page, "allow", {"sure": "yes"})
    assert "6 people join" in await words(office, page)


WRONG_FILES: list[tuple[tuple[str, bytes], dict[str, str], str, str]] = [
    (("", b""), {}, "file", "Choose a file."),
    (("p.csv", b""), {}, "file", "Send a file with a header and one row per person."),
    (("p.xlsx", b"PK\x03\x04" + bytes(100)), {}, "file", "Export or save it as CSV"),
    (("p.csv", FILE.encode()), {"source": "Våra system"}, "source", "begins with a letter or digit"),
    (("p.csv", FILE.encode()), {"source": ""}, "source", "begins with a letter or digit"),
    (("p.csv", FILE.encode()), {"full": "perhaps"}, "full", "Say whether the file has everybody"),
]


async def test_what_cannot_be_sent_is_told_with_field_and_remedy_and_nothing_is_kept(world: World) -> None:
    office = await world.office()
    for file, form, field, remedy in WRONG_FILES:
        data = {"source": "other", "full": "yes"} | form
        answer = await office.post(PAGE, files={"file": file}, data=data, headers={"accept": "text/html"})
        _is_told(answer, field, remedy)
    assert await world.pool.fetchval("select count(*) from imports") == 0
    await send(world, office)
    sent = await office.post(
        PAGE, files={"file": ("p.csv", FILE)}, data={"source": "other", "new_source": "våra system", "full": "yes"},
        headers={"accept": "text/html"},
    )  # fmt: skip
    _is_told(sent, "new_source", "begins with a letter or digit")


WRONG_CHOICES = [
    ({"column-unit": ""}, "column-unit", "Choose the column with the unit."),
    ({"column-unit": "77"}, "column-unit", "Choose one of the file"),
    ({"column-title": "5"}, "column-title", "Several columns have that name."),
    ({"encoding": "cp037"}, "encoding", "Choose an encoding from the list."),
    ({"delimiter": "%"}, "delimiter", "Choose a delimiter from the list."),
    ({"unit_separator": ""}, "unit_separator", "Write them as the file does."),
]


async def test_choices_that_cannot_be_are_told_with_field_and_remedy_and_the_file_is_still_there(world: World) -> None:
    office = await world.office()
    page = await send(world, office, "Nr;Förnamn;Efternamn;Enhet;Läge;Titel;titel\n1;Åsa;Berg;Vård;;A;B\n")
    for change, field, remedy in WRONG_CHOICES:
        answer = await office.post(f"{page}/again", data=COLUMNS | WRITTEN | change, headers={"accept": "text/html"})
        _is_told(answer, field, remedy)
    assert await world.pool.fetchval("select count(*) from imports") == 1
    assert await world.pool.fetchval("select content is not null from imports")


def _is_told(answer: httpx.Response, field: str, remedy: str) -> None:
    assert answer.status_code == 422, field
    assert f'<a href="#{field}">' in answer.text
    assert f'id="{field}"' in answer.text
    assert remedy in answer.text


async def test_other_encodings_and_delimiters_show_other_columns(world: World) -> None:
    office = await world.office()
    page = await send(world, office, "Nr,;Förnamn\n1,;Åsa\n")
    page = await go_on(world, office, page, "again", WRITTEN | {"delimiter": "semicolon", "column-unit": "0"})
    told = await words(office, page)
    assert "Nr, (1,)" in told
    assert "semicolon between values" in told


async def test_a_file_that_was_looked_at_before_a_newer_one_was_imported_is_not_imported_unless_looked_at_again(
    world: World,
) -> None:
    office = await world.office()
    page = await send(world, office, GOOD)
    newer = {"file": ("p.csv", GOOD.replace("Care", "Surgery"))}
    await ok(office.post(API, files=newer, data={"source": "other"}), 202)
    waiting = await office.post(f"{page}/import")
    assert waiting.headers["location"].endswith("?refused=import-overtaken"), "also while the newer one waits"
    await work(world)
    assert "Another file of the same source came after this one" in await words(office, page)
    told = await words(office, await go_on(world, office, page, "import", {}))
    assert "Nothing was changed. Look again" in told
    assert "Import for real" not in told
    assert {each["unit"] for each in (await people(world)).values()} == {"Surgery"}

    page = await go_on(world, office, page, "look", {})
    assert "1 person moves" in await words(office, page)
    await go_on(world, office, page, "import", {})
    assert {each["unit"] for each in (await people(world)).values()} == {"Care"}


async def test_a_form_pressed_twice_makes_one_import_and_another_file_in_it_is_told(world: World) -> None:
    office = await world.office()
    assert 'name="form_key"' in (await office.get(f"{PAGE}/new", headers={"accept": "text/html"})).text
    data = {"source": "other", "full": "yes", "form_key": "one"}
    pressed = [await office.post(PAGE, files={"file": ("p.csv", GOOD)}, data=data) for _ in range(2)]
    assert pressed[0].headers["location"] == pressed[1].headers["location"]
    other = await office.post(PAGE, files={"file": ("p.csv", FILE)}, data=data, headers={"accept": "text/html"})
    _is_told(other, "file", "Choose the file again.")
    assert await world.pool.fetchval("select count(*) from imports") == 1


async def test_a_sender_s_next_file_of_a_source_ends_the_one_that_still_waits(world: World) -> None:
    office = await world.office()
    for file in (FILE, GOOD):
        await office.post(PAGE, files={"file": ("p.csv", file)}, data={"source": "other", "full": "yes"})
    assert await world.pool.fetchval("select count(content) from imports") == 1
    await work(world)
    states = await world.pool.fetch("select status, content is not null from imports order by id")
    assert [tuple(row) for row in states] == [("cancelled", False), ("done", True)]


async def test_an_import_for_real_that_waits_is_not_ended_by_its_sender_s_next_file(world: World) -> None:
    office = await world.office()
    page = await send(world, office, GOOD)
    await office.post(f"{page}/import")
    await send(world, office, FILE)
    assert list(await people(world)) == ["1"]


async def test_a_sender_keeps_ten_files_whatever_their_sources(world: World) -> None:
    office = await world.office()
    for n in range(12):
        await office.post(PAGE, files={"file": ("p.csv", GOOD)}, data={"source": f"source-{n}", "full": "yes"})
    rows = await world.pool.fetch("select source from imports where content is not null order by id")
    assert [row["source"] for row in rows] == [f"source-{n}" for n in range(2, 12)]


async def test_whoever_comes_second_to_go_on_in_another_way_is_told_and_led_to_the_later_report(world: World) -> None:
    office = await world.office()
    page = await send(world, office, GOOD)
    await office.post(f"{page}/again", data=COLUMNS | WRITTEN | {"full": "no"})
    second = await office.post(f"{page}/import")
    assert second.headers["location"] == f"{page}?refused=import-followed"
    told = await words(office, second.headers["location"])
    assert "Somebody else had the file read in another way first." in told
    assert "See the later report" in told
    await work(world)
    assert await people(world) == {}


async def test_going_on_twice_leads_to_the_same_import(world: World) -> None:
    office = await world.office()
    page = await send(world, office, "Employee ID,First Name,Last Name,Unit\n1,Anna,Berg,Care\n")
    first = await office.post(f"{page}/import")
    again = await office.post(f"{page}/import")
    assert first.headers["location"] == again.headers["location"]
    assert await world.pool.fetchval("select count(*) from imports") == 2
    assert "See the later report" in await words(office, page)
    await work(world)
    assert await world.pool.fetchval("select count(content) from imports") == 0, "what was imported is kept no longer"


async def test_a_file_is_kept_for_a_day_and_one_sender_keeps_one_of_a_source(world: World) -> None:
    office = await world.office()
    first = await send(world, office)
    second = await send(world, office)
    assert await world.pool.fetchval("select count(content) from imports") == 1
    gone = await office.post(f"{first}/import", follow_redirects=True)
    assert "The file is no longer kept. Send it again." in gone.text
    world.pass_time(timedelta(hours=25))
    await work(world)
    assert await world.pool.fetchval("select count(content) from imports") == 0
    assert "Import for real" not in await words(office, second)


async def test_a_file_whose_time_ends_while_it_is_worked_on_is_forgotten_soon_after(world: World) -> None:
    office = await world.office()
    sent = await office.post(PAGE, files={"file": ("p.csv", GOOD)}, data={"source": "other", "full": "yes"})
    import_id, began = UUID(sent.headers["location"].rpartition("/")[2]), world.now
    await world.pool.execute("update imports set status = 'running'")
    world.pass_time(timedelta(hours=25))
    forgetting: dict[str, TimerHandler] = {FORGET_FILES: forget_files}
    await Timers(world.pool, world.app.state.clock, forgetting).tick()
    async with world.pool.acquire() as conn:
        await ledger.end_import(conn, import_id, "done", counts={}, report={}, now=began)
    world.pass_time(timedelta(hours=25, minutes=2))
    await Timers(world.pool, world.app.state.clock, forgetting).tick()
    assert await world.pool.fetchval("select count(content) from imports") == 0
    assert await world.pool.fetchval("select count(*) from timers where kind = $1", FORGET_FILES) == 0


async def test_a_file_that_nobody_wants_is_forgotten_on_request_which_is_on_record(world: World) -> None:
    office = await world.office()
    page = await send(world, office, GOOD)
    assert f'href="{page}/discard"' in (await office.get(page, headers={"accept": "text/html"})).text
    assert "Do you want Medled to forget people.csv?" in await words(office, f"{page}/discard")
    for _ in range(2):
        done = await office.post(f"{page}/discard")
        assert done.headers["location"] == f"{page}?done=import_discarded"
    assert await world.pool.fetchval("select count(content) from imports") == 0
    told = await words(office, page)
    assert "The file is no longer kept" in told
    assert "Import for real" not in told
    assert await world.pool.fetchval("select count(*) from audit_log where action = 'import.discarded'") == 1


async def test_a_file_that_was_only_tried_through_the_api_is_not_kept(world: World) -> None:
    office = await world.office()
    await ok(office.post(API, files={"file": ("p.csv", FILE)}, data={"dry_run": "true"}), 202)
    await work(world)
    assert await world.pool.fetchval("select count(content) from imports") == 0


async def test_a_cancelled_file_is_forgotten_at_once(world: World) -> None:
    office = await world.office()
    sent = await office.post(PAGE, files={"file": ("p.csv", FILE)}, data={"source": "other", "full": "yes"})
    await office.post(f"{sent.headers['location']}/cancel")
    assert await world.pool.fetchval("select count(content) from imports") == 0


@pytest.mark.parametrize(("language", "delimiter"), [("sv", ";"), ("en", ",")])
async def test_what_is_to_be_put_right_comes_as_a_file_in_which_nothing_is_a_formula(
    world: World, language: str, delimiter: str
) -> None:
    office = await world.office()
    await world.pool.execute("update people set locale = $1", language)
    rows = [
        "=1+1,Anna,Berg,Care,=HYPERLINK", "3,Eva", "4,Bo,Ek,Care,x;=cmd|' /C calc'!A0;", '5,Bo,Ek,Care,"x,@SUM(A1)"',
        '6,Bo,Ek,Care,"y; ""=cmd"""', '7,Bo,Ek,Care,"y,+1"',
    ]  # fmt: skip
    page = await send(world, office, "\n".join(["Employee ID,First Name,Last Name,Unit,Email", *rows, ""]))
    answer = await office.get(f"{page}/issues.csv", headers={"accept-language": language})
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert "attachment" in answer.headers["content-disposition"]
    text = answer.text.removeprefix("\ufeff")
    lines = text.splitlines()
    assert lines[0] == delimiter.join(["line", "severity", "column", "employee_id", "detail", "remedy"])
    assert any(line.startswith(delimiter.join(["3", "error", "", "3", ""])) for line in lines)
    for told in ("'=1+1", "=cmd|", "@SUM", "=cmd", "+1"):
        assert told in text
    for splits in ",;\t":
        cells = [cell for row in csv.reader(io.StringIO(text), delimiter=splits) for cell in row]
        assert not [cell for cell in cells if cell.strip(' "').startswith(("=", "+", "-", "@"))]


async def test_every_column_that_is_read_can_be_chosen_however_far_to_the_right_it_stands(world: World) -> None:
    office = await world.office()
    names = ["Employee ID", "First Name", "Last Name", "Unit", *(f"Extra {n}" for n in range(400)), "Email"]
    values = ["1", "Anna", "Berg", "Care", *[""] * 400, "anna@example.org"]
    page = await send(world, office, f"{','.join(names)}\n{','.join(values)}\n")
    shown = (await office.get(page, headers={"accept": "text/html"})).text
    assert f'<option value="{len(names) - 1}" selected' in shown


async def test_words_for_statuses_are_chosen_of_many_and_those_beyond_the_form_stay_as_they_were(world: World) -> None:
    office = await world.office()
    mapping = "[statuses]\n" + "".join(f'"Word {n}" = "active"\n' for n in range(250))
    sent = {"file": ("p.csv", GOOD)}
    await ok(office.post(API, files=sent, data={"source": "other", "mapping": mapping}), 202)
    await work(world)
    page = await send(world, office, GOOD)
    form = COLUMNS | WRITTEN | {f"status-{n}": "on_leave" for n in range(200)}
    page = await go_on(world, office, page, "again", form)
    import_id = UUID(page.rpartition("/")[2])
    written = await world.pool.fetchval("select options ->> 'mapping' from imports where id = $1", import_id)
    assert '"Word 199" = "on_leave"' in written
    assert '"Word 249" = "active"' in written


async def test_nobody_else_brings_a_file_in_or_goes_on_with_one(world: World) -> None:
    office = await world.office()
    page = await send(world, office)
    part = await world.office("part", world.north)
    await world.grant(await world.person("operator"), Role.operator)
    await world.person("colleague")
    for client in (part, world.client("operator"), world.client("colleague")):
        for path in (f"{PAGE}/new", page, f"{page}/issues.csv", f"{page}/discard"):
            assert (await client.get(path)).status_code == 403
        assert (await client.post(PAGE, files={"file": ("p.csv", FILE)}, data={"source": "hr"})).status_code == 403
        for step in ("again", "allow", "look", "import", "discard"):
            assert (await client.post(f"{page}/{step}", data={"sure": "yes"})).status_code == 403
    assert await world.pool.fetchval("select count(*) from imports") == 1


async def test_a_file_from_another_sites_page_is_not_taken(world: World) -> None:
    office = await world.office()
    page = await send(world, office)
    for path in (PAGE, f"{page}/again", f"{page}/allow", f"{page}/look", f"{page}/import", f"{page}/discard"):
        answer = await office.post(path, data={"sure": "yes"}, headers={"sec-fetch-site": "cross-site"})
        assert answer.status_code == 403, path
    assert await world.pool.fetchval("select count(*) from imports") == 1


async def test_whoever_holds_hr_integration_for_everybody_may_bring_a_file_in(world: World) -> None:
    await world.grant(await world.person("hr-person"), Role.hr_integration)
    page = await send(world, world.client("hr-person"), "Employee ID,First Name,Last Name,Unit\n1,Anna,Berg,Care\n")
    assert "1 person joins" in await words(world.client("hr-person"), page)
