"""What an import does to the people and which events it tells, on a real database."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from services.enrolment.imports import handlers, importing
from services.enrolment.imports.actions import IMPORT
from services.enrolment.imports.handlers import run_imports
from services.enrolment.imports.store import ledger, writing
from shared.clock import Clock
from shared.postgres.transaction import transaction
from shared.timers import Timers, schedule
from tests.enrolment.imports.conftest import NOW, Importer

HEADER = "Employee ID,First Name,Last Name,Email,Title,Grade,Unit,Manager ID,Status,Language,Time Zone,Login\n"


def line(who: str, manager: str = "", **more: str) -> str:
    values = {
        "first": "Anna", "last": "Berg", "email": f"{who}@example.org", "title": "Planner", "grade": "A1",
        "unit": "Care - Home", "manager": manager, "status": "Active", "locale": "sv", "zone": "Europe/Stockholm",
        "login": "",
    } | more  # fmt: skip
    return ",".join([who, *values.values()]) + "\n"


def export(*lines: str) -> str:
    return HEADER + "".join(lines)


def numbered(numbers: range) -> str:
    return export(*(line(f"e{n}") for n in numbers))


async def test_a_first_file_brings_people_units_and_their_events(importer: Importer) -> None:
    done = await importer(export(line("1", "2"), line("2", unit="Care"), line("3", unit="Care - Home - Night")))
    assert done.status == "done"
    assert (done.counts["joined"], done.counts["new_units"]) == (3, 3)
    people = await importer.people()
    assert [people[who]["unit"] for who in "123"] == ["Home", "Care", "Night"]
    assert people["1"]["manager"] == "2"
    assert people["1"]["login"] == "1"
    assert await importer.events() == {"unit.state": 3, "person.state": 3, "person.provisioned": 3}


async def test_an_unchanged_file_writes_nothing_and_tells_nothing(importer: Importer) -> None:
    content = export(line("1", "2"), line("2"), line("3", status="On Leave", title="", login="tre"))
    await importer(content)
    await importer.events()
    before = await importer.pool.fetch("select xmin::text, * from people order by id")
    assert (await importer(content)).counts["unchanged"] == 3
    assert await importer.pool.fetch("select xmin::text, * from people order by id") == before
    assert await importer.events() == {}


@pytest.mark.parametrize(
    ("change", "facts"),
    [
        ({"manager": "3"}, {"person.manager_changed"}),
        ({"manager": ""}, {"person.manager_changed"}),
        ({"unit": "Care"}, {"person.moved"}),
        ({"unit": "Care", "manager": "3"}, {"person.moved", "person.manager_changed"}),
        ({"status": "On Leave"}, set()),
        ({"title": "Chief"}, set()),
        ({"grade": "A2"}, set()),
        ({"title": "", "grade": "Planner"}, set()),
        ({"last": "Ek"}, set()),
        ({"email": "new@example.org"}, set()),
        ({"email": ""}, set()),
        ({"locale": "en"}, set()),
        ({"zone": "Europe/London"}, set()),
        ({"login": "anna"}, set()),
        ({"status": "Terminated"}, {"person.deactivated"}),
    ],
)
async def test_each_change_is_told_once_with_the_state_and_the_fact(
    importer: Importer, change: dict[str, str], facts: set[str]
) -> None:
    rest = [line("2", unit="Care"), line("3")]
    await importer(export(line("1", "2"), *rest))
    await importer.events()
    values = {"manager": "2"} | change
    done = await importer(export(line("1", values.pop("manager"), **values), *rest), max_deactivations="1")
    assert await importer.events() == dict.fromkeys({"person.state", *facts}, 1)
    assert done.counts["unchanged"] == 2
    assert done.report is not None
    [[changed]] = done.report["difference"].values()
    assert changed["employee_id"] == "1"
    assert len(changed["fields"]) == len(change)


async def test_the_difference_is_told_in_the_words_of_the_file(importer: Importer) -> None:
    await importer(export(line("1", "2"), line("2")))
    done = await importer(export(line("1", "3", unit="Care - Night", title="Chief"), line("2"), line("3")))
    assert done.report is not None
    assert done.report["difference"] == {
        "joined": [{"employee_id": "3", "name": "Anna Berg", "fields": {}}],
        "moved": [
            {
                "employee_id": "1",
                "name": "Anna Berg",
                "fields": {
                    "unit": {"before": "Care - Home", "after": "Care - Night"},
                    "manager": {"before": "2", "after": "3"},
                    "title": {"before": "Planner", "after": "Chief"},
                },
            }
        ],
    }


async def test_a_dry_run_tells_the_difference_and_changes_nothing(importer: Importer) -> None:
    done = await importer(export(line("1"), line("2")), dry_run=True)
    assert (done.status, done.counts["joined"], done.counts["new_units"]) == ("done", 2, 2)
    assert done.report is not None
    assert len(done.report["difference"]["joined"]) == 2
    assert await importer.people() == {}
    assert await importer.pool.fetchval("select count(*) from units") == 0
    assert await importer.events() == {}


async def test_long_differences_are_cut_but_counted(importer: Importer) -> None:
    done = await importer(numbered(range(200)), dry_run=True)
    assert done.counts["joined"] == 200
    assert done.report is not None
    assert len(done.report["difference"]["joined"]) == 50


async def test_a_file_that_lost_half_its_rows_deactivates_nobody(importer: Importer) -> None:
    await importer(numbered(range(20)))
    await importer.events()
    refused = await importer(numbered(range(10)))
    assert refused.status == "refused"
    assert refused.report is not None
    assert "10 of 20 people (50.0 %)" in refused.report["refusal"]["detail"]
    assert len(refused.report["difference"]["left"]) == 10
    assert {person["status"] for person in (await importer.people()).values()} == {"active"}
    assert await importer.events() == {}


async def test_a_refused_file_leaves_no_new_people_or_units_behind(importer: Importer) -> None:
    await importer(numbered(range(10)))
    refused = await importer(export(line("new", unit="Elsewhere")))
    assert refused.status == "refused"
    assert len(await importer.people()) == 10
    assert await importer.pool.fetchval("select count(*) from units") == 2


SAME_PEOPLE = {
    "login": (lambda n: line(f"w{n}", email="", login=f"e{n}")),
    "address": (lambda n: line(f"w{n}", email=f"E{n}@Example.org")),
    "employee id": (lambda n: line(f"e{n}", email="", login=f"login{n}")),
}


@pytest.mark.parametrize("same", SAME_PEOPLE)
@pytest.mark.parametrize("dry_run", [False, True])
async def test_a_file_sent_under_another_source_s_name_is_refused_before_everybody_is_there_twice(
    importer: Importer, same: str, dry_run: bool
) -> None:
    await importer(numbered(range(10)))
    await importer.events()
    before = await importer.people()
    known = [SAME_PEOPLE[same](n) for n in range(10)]
    refused = await importer(export(*known, line("n1"), line("n2")), source="workday", dry_run=dry_run)
    assert refused.status == "refused"
    assert refused.report is not None
    assert refused.report["refusal"]["code"] == "known_elsewhere"
    assert "10 of the 12 people who would join" in refused.report["refusal"]["detail"]
    assert "Did you mean source hr?" in refused.report["refusal"]["remedy"]
    assert "allow_overlap" in refused.report["refusal"]["remedy"]
    assert await importer.people() == before
    assert await importer.events() == {}


async def test_an_organisation_that_means_it_may_have_its_people_in_two_sources(importer: Importer) -> None:
    await importer(numbered(range(10)))
    done = await importer(numbered(range(10)), source="workday", allow_overlap=True)
    assert (done.status, done.counts["joined"]) == ("done", 10)


@pytest.mark.parametrize(("shared", "joining"), [(4, 4), (9, 19)])
async def test_a_handful_or_less_than_half_may_be_known_from_another_source(
    importer: Importer, shared: int, joining: int
) -> None:
    await importer(numbered(range(10)))
    done = await importer(numbered(range(10 - shared, 10 - shared + joining)), source="workday")
    assert (done.status, done.counts["joined"]) == ("done", joining)


async def test_people_who_have_left_one_source_may_join_another(importer: Importer) -> None:
    await importer(numbered(range(10)))
    await importer(export(line("e0")), max_deactivations="100%")
    done = await importer(numbered(range(1, 10)), source="workday")
    assert (done.status, done.counts["joined"]) == ("done", 9)


async def test_people_who_leave_keep_what_is_known_of_them_and_may_return(importer: Importer) -> None:
    await importer(export(line("1", "2"), line("2")))
    await importer(export(line("2")), max_deactivations="1")
    gone = (await importer.people())["1"]
    assert (gone["status"], gone["manager"], gone["email"]) == ("inactive", "2", "1@example.org")
    await importer.events()
    again = await importer(export(line("1", "2"), line("2")))
    assert again.counts["reactivated"] == 1
    assert (await importer.people())["1"]["id"] == gone["id"]
    assert await importer.events() == {"person.state": 1, "person.reactivated": 1}


async def test_people_who_had_left_before_are_not_taken_in(importer: Importer) -> None:
    done = await importer(export(line("1"), line("2", status="Terminated")))
    assert done.counts["left_before"] == 1
    assert (await importer.people()).keys() == {"1"}


async def test_people_already_inactive_do_not_count_against_the_cap(importer: Importer) -> None:
    await importer(numbered(range(10)))
    await importer(numbered(range(9)))
    done = await importer(numbered(range(8)), max_deactivations="1")
    assert (done.status, done.counts["deactivated"]) == ("done", 1)


async def test_a_partial_file_deactivates_only_whom_it_names(importer: Importer) -> None:
    await importer(export(line("1"), line("2"), line("3")))
    done = await importer(export(line("3", status="Terminated"), line("4")), full=False, max_deactivations="1")
    assert (done.counts["joined"], done.counts["deactivated"]) == (1, 1)
    assert {who: person["status"] for who, person in (await importer.people()).items()} == {
        "1": "active", "2": "active", "3": "inactive", "4": "active",
    }  # fmt: skip


@pytest.mark.parametrize("broken", ["1,Anna\n", line("1", status="Sabbatical"), line("1", first="", last="")])
async def test_a_row_error_leaves_its_person_as_they_are(importer: Importer, broken: str) -> None:
    await importer(export(line("1"), line("2")))
    before = (await importer.people())["1"]
    await importer.events()
    done = await importer(export(broken, line("2", title="Chief")), max_deactivations="0")
    assert (done.status, done.counts["kept_as_they_were"], done.counts["rows_with_errors"]) == ("done", 1, 1)
    people = await importer.people()
    assert people["1"] == before
    assert people["2"]["title"] == "Chief"


async def test_a_row_about_nobody_knows_whom_keeps_everybody_who_is_missing(importer: Importer) -> None:
    await importer(export(line("1"), line("2")))
    done = await importer(export(line("2"), ",Eva,Lind,eva@example.org,,,Care,,,,,\n"), max_deactivations="100%")
    assert done.status == "done"
    assert done.report is not None
    assert done.report["withheld_deactivations"] == 1
    assert "line 3" in done.report["notes"][0]
    assert (await importer.people())["1"]["status"] == "active"


async def test_a_stray_quotation_mark_before_an_employee_id_removes_nobody(importer: Importer) -> None:
    await importer(export(line("1"), line("2")))
    done = await importer(export('"' + line("1"), line("2")), max_deactivations="100%")
    assert done.report is not None
    assert done.report["withheld_deactivations"] == 1
    assert (await importer.people())["1"]["status"] == "active"


async def test_an_address_written_twice_stays_with_who_had_it(importer: Importer) -> None:
    await importer(export(line("1"), line("2")))
    done = await importer(export(line("1"), line("2", email="1@example.org"), line("3", email="1@example.org")))
    assert done.counts["warnings"] == 3
    people = await importer.people()
    assert [people[who]["email"] for who in "123"] == ["1@example.org", "2@example.org", None]


async def test_columns_that_a_file_lacks_leave_those_values_as_they_were(importer: Importer) -> None:
    await importer(export(line("1", "2", status="On Leave", login="anna"), line("2")))
    before = await importer.people()
    await importer.events()
    await importer("Employee ID,First Name,Last Name,Unit\n1,Anna,Berg,Care - Home\n2,Anna,Berg,Care - Home\n")
    assert await importer.people() == before
    assert await importer.events() == {}


async def test_new_people_without_language_and_time_zone_get_the_defaults(importer: Importer) -> None:
    await importer("Employee ID,First Name,Last Name,Unit\n1,Anna,Berg,Care\n", default_locale="en")
    person = (await importer.people())["1"]
    assert (person["locale"], person["time_zone"]) == ("en", "Europe/Stockholm")


async def test_two_people_swap_logins_and_a_newcomer_takes_one_that_came_free(importer: Importer) -> None:
    await importer(export(line("1", login="x"), line("2", login="y"), line("3", login="z")))
    done = await importer(
        export(line("1", login="y"), line("2", login="x"), line("3", login="w"), line("4", login="z"))
    )
    assert done.counts["warnings"] == 0
    people = await importer.people()
    assert [people[who]["login"] for who in "1234"] == ["y", "x", "w", "z"]


async def test_somebody_employed_anew_gets_their_old_login_and_whoever_left_has_none(importer: Importer) -> None:
    await importer(export(*(line(f"k{n}") for n in range(9)), line("1", login="anna"), line("2", login="bo")))
    await importer(export(*(line(f"k{n}") for n in range(9)), line("1", login="anna")))  # 2 leaves
    await importer.events()
    done = await importer(export(*(line(f"k{n}") for n in range(9)), line("3", login="anna"), line("4", login="bo")))
    assert (done.counts["joined"], done.counts["deactivated"], done.counts["warnings"]) == (2, 1, 0)
    assert (done.counts["changed"], done.counts["unchanged"]) == (1, 9)
    people = await importer.people()
    assert [people[who]["login"] for who in "1234"] == [None, None, "anna", "bo"]
    again = await importer(export(*(line(f"k{n}") for n in range(9)), line("3", login="anna"), line("4", login="bo")))
    assert again.counts["unchanged"] == 11


async def test_another_source_has_employee_ids_and_leavers_of_its_own(importer: Importer) -> None:
    await importer(export(line("1"), line("2")))
    done = await importer(export(line("1", title="Consultant")), source="consultants")
    assert (done.counts["joined"], done.counts["deactivated"]) == (1, 0)
    rows = await importer.pool.fetch("select source, title, login, status from people order by source, employee_id")
    assert [tuple(row) for row in rows] == [
        ("consultants", "Consultant", None, "active"),
        ("hr", "Planner", "1", "active"),
        ("hr", "Planner", "2", "active"),
    ]


async def test_a_report_of_a_refused_file_tells_how_it_was_read(importer: Importer) -> None:
    refused = await importer("Employee ID;Name\n1;Anna Berg\n")
    assert (refused.status, refused.phase) == ("refused", "reading")
    assert refused.report is not None
    assert refused.report["refusal"]["code"] == "missing_columns"
    hopeless = await importer(export("1,Anna\n", "2,Bo\n"))
    assert hopeless.report is not None
    assert hopeless.report["refusal"]["code"] == "no_usable_row"
    assert len(hopeless.report["issues"]) == 2


async def test_the_file_itself_is_dropped_when_the_import_has_ended(importer: Importer) -> None:
    for content in (export(line("1")), "nothing of use"):
        done = await importer(content)
        assert await importer.pool.fetchval("select content from imports where id = $1", done.id) is None
        assert done.finished_at is not None


async def test_a_timer_that_comes_again_imports_nothing_again(importer: Importer) -> None:
    done = await importer(export(line("1")))
    await importer.events()
    async with transaction(importer.pool) as conn:
        await schedule(conn, IMPORT, str(done.id), NOW)
    await Timers(importer.pool, Clock(), {IMPORT: run_imports(importer.pool)}).tick()
    assert await importer.events() == {}
    assert await ledger.find_import(importer.pool, done.id) == done  # type: ignore[arg-type] # a pool asks as well


async def test_progress_shows_while_the_import_still_runs(importer: Importer, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, str, int]] = []
    told = importing.Run.progress

    async def progress(run: importing.Run, phase: str, percent: int) -> None:
        await told(run, phase, percent)
        found = await ledger.find_import(importer.pool, run.id)  # type: ignore[arg-type] # another connection's view
        assert found is not None
        seen.append((found.status, found.phase, found.percent))

    monkeypatch.setattr(importing.Run, "progress", progress)
    monkeypatch.setattr(importing, "CHUNK", 10)
    done = await importer(numbered(range(40)))
    phases = list(dict.fromkeys(phase for _, phase, _ in seen))
    assert phases == ["reading", "checking", "comparing", "writing", "announcing"]
    assert {status for status, _, _ in seen} == {"running"}
    percents = [percent for _, _, percent in seen]
    assert percents == sorted(percents)
    assert len(percents) == 8
    assert (done.phase, done.percent) == ("done", 100)


class Stopped(Clock):
    """Time stands still."""

    def __init__(self) -> None:
        super().__init__()
        self._moment = datetime.now(UTC) + timedelta(seconds=1)

    def now(self) -> datetime:
        """When it was made."""
        return self._moment


async def test_a_fault_of_ours_is_tried_again_and_then_said(
    importer: Importer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(writing, "write", broken)
    import_id = await importer.send(export(line("1")))
    # Its clock is stopped: else a slow machine has the next try within one.
    running = Timers(importer.pool, Stopped(), {IMPORT: run_imports(importer.pool)})
    for attempt in range(3):
        await running.tick()
        found = await ledger.find_import(importer.pool, import_id)  # type: ignore[arg-type] # a pool asks as well
        assert found is not None
        assert found.status == ("failed" if attempt == 2 else "running")
        await importer.pool.execute("update timers set due_at = $1", NOW)
    assert found is not None
    assert found.report is not None
    assert found.report["failure"]["code"] == "fault"
    assert "ours" in found.report["failure"]["detail"]
    assert await importer.people() == {}
    assert await importer.events() == {}
    assert await importer.pool.fetchval("select count(*) from timers") == 0


async def test_two_imports_at_once_take_turns(importer: Importer) -> None:
    for _ in range(2):
        await importer.send(numbered(range(50)))
    workers = [Timers(importer.pool, Clock(), {IMPORT: run_imports(importer.pool)}) for _ in range(2)]
    while await importer.pool.fetchval("select exists (select from timers)"):
        await asyncio.gather(*(worker.tick() for worker in workers))
    counts = await importer.pool.fetch("select (counts->>'joined')::int from imports order by 1")
    assert [row[0] for row in counts] == [0, 50]
    assert await importer.events() == {"unit.state": 2, "person.state": 50, "person.provisioned": 50}


async def test_queued_imports_are_each_done_once_and_kept_by_themselves(
    importer: Importer, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[UUID] = []
    kept: list[int] = []
    apply = importing.apply

    async def counted(run: importing.Run) -> str:
        kept.append(await importer.pool.fetchval("select count(*) from people"))
        begun.append(run.id)
        return await apply(run)

    monkeypatch.setattr(handlers, "apply", counted)
    sent = [await importer.send(numbered(range(100 * n, 150 * n)), source=f"hr{n}") for n in (1, 2)]
    assert await Timers(importer.pool, Clock(), {IMPORT: run_imports(importer.pool)}).tick() == 2
    assert (begun, kept) == (sent, [0, 50])


async def test_two_imports_fit_into_one_transaction(importer: Importer) -> None:
    sent = [
        await importer.send(numbered(range(first, first + 50)), source=source)
        for first, source in ((0, "hr"), (50, "consultants"))
    ]
    async with transaction(importer.pool) as conn:
        for import_id in sent:
            found = await ledger.find_import(conn, import_id)
            assert found is not None
            run = importing.Run(importer.pool, conn, import_id, importing.Options(**found.options), NOW)
            assert await importing.apply(run) == "done"
    assert len(await importer.pool.fetch("select from people")) == 100


async def test_who_has_no_login_in_the_file_is_counted_and_the_report_says_what_works(importer: Importer) -> None:
    header = "Employee ID,First Name,Last Name,Unit,Konto\n"
    content = header + "1,Anna,Berg,Care,annber\n2,Bo,Ek,Care,boek\n"
    tried = await importer(content, dry_run=True)
    assert tried.report is not None
    assert tried.counts["without_login"] == 2
    assert tried.report["suggested_login_column"] == "Konto"
    [works, suggestion] = tried.report["notes"]
    assert "2 people have no login in the file. The employee id is the login" in works
    assert 'columns.login = "Konto"' in suggestion

    mapping = 'columns.login = "Konto"'
    done = await importer(content + "3,Cilla,Dahl,Care,\n", mapping=mapping)
    assert done.report is not None
    assert done.counts["without_login"] == 1
    assert done.report["suggested_login_column"] is None
    people = await importer.people()
    assert [people[who]["login"] for who in "123"] == ["annber", "boek", "3"]
    assert (await importer(header + "1,Anna,Berg,Care,\n", full=False, mapping=mapping)).counts["without_login"] == 0
