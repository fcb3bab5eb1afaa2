"""`medled hr import`, `grant` and `token` against enrolment's API and timers, found as an embedded stack is."""

import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
import structlog
from typer.testing import CliRunner, Result

from deploy.cli import app
from deploy.stack import Stack, write_stack
from services.enrolment.imports.actions import IMPORT
from services.enrolment.imports.handlers import run_imports
from services.enrolment.imports.store import turns
from services.enrolment.sign_ins.actions import first_sign_in
from shared.events import AccessState
from shared.postgres.failures import UNAVAILABLE
from shared.postgres.transaction import transaction
from shared.security.oidc import Account
from shared.timers import Timers
from tests.enrolment.world import World, opened
from tests.support.databases import Databases
from tests.support.serving import on_a_port

CSV = "Employee ID,First Name,Last Name,Email,Unit\n"
PEOPLE = [f"e{n},Anna{n},Berg,e{n}@example.org,Care - Home\n" for n in range(4)]

Medled = Callable[..., Awaitable[Result]]


@pytest.fixture
async def world(database: Databases, tmp_path: Path) -> AsyncIterator[World]:
    dsn = await database("enrolment")
    async with opened(dsn, tmp_path) as world, on_a_port(world.app) as origin:
        environment = {
            "MEDLED_ENVIRONMENT": "development",
            "MEDLED_PUBLIC_URL": origin,
            "MEDLED_OIDC_ISSUER": world.settings.oidc_issuer,
            "MEDLED_KAFKA_BOOTSTRAP": "127.0.0.1:1",
            "MEDLED_KAFKA_TRANSACTIONS": "false",
            "MEDLED_SESSION_SECRET": world.settings.session_secret.get_secret_value(),
            "MEDLED_CLOCK_FILE": str(world.clock_file),
        }
        write_stack(
            Stack(
                pid=os.getpid(), started_at=datetime.now(UTC), data=tmp_path, public_url=origin,
                oidc_issuer=world.settings.oidc_issuer, kafka_bootstrap="127.0.0.1:1", kafka_transactions=False,
                databases={"enrolment": dsn}, ports={}, pids={}, environment=environment,
            )
        )  # fmt: skip
        # The worker of a deployment is another process, whose log is not what a command prints.
        structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
        working = asyncio.create_task(_work(world))
        yield world
        working.cancel()
        structlog.reset_defaults()


async def _work(world: World) -> None:
    timers = Timers(world.pool, world.app.state.clock, {IMPORT: run_imports(world.pool)})
    while True:
        with suppress(*UNAVAILABLE):  # looked for again, as a worker does
            await timers.tick()
        await asyncio.sleep(0.05)


@pytest.fixture
def medled(world: World, tmp_path: Path) -> Medled:
    async def run(*arguments: object) -> Result:
        words = [*map(str, arguments), "--data", str(tmp_path)]
        return await asyncio.to_thread(lambda: CliRunner().invoke(app, words))

    return run


@pytest.fixture
def export(tmp_path: Path) -> Path:
    file = tmp_path / "people.csv"
    file.write_text(CSV + "".join(PEOPLE))
    return file


async def test_an_export_is_imported_and_the_report_printed(world: World, medled: Medled, export: Path) -> None:
    ended = await medled("hr", "import", export)
    assert ended.exit_code == 0, ended.output
    assert "Read as utf-8" in ended.stdout
    assert "Anna0 Berg" in ended.stdout
    assert await world.pool.fetchval("select count(*) from people") == 4
    assert await world.pool.fetchval("select count(*) from access") == 0  # the token it was lent is withdrawn


async def test_a_dry_run_as_json_changes_nothing(world: World, medled: Medled, export: Path) -> None:
    ended = await medled("hr", "import", export, "--dry-run", "--json")
    assert ended.exit_code == 0
    assert json.loads(ended.stdout)["counts"]["joined"] == 4
    assert await world.pool.fetchval("select count(*) from people") == 0


async def test_a_refused_file_ends_with_status_1_and_says_why(world: World, medled: Medled, export: Path) -> None:
    await medled("hr", "import", export)
    export.write_text(CSV + "".join(PEOPLE[:2]))
    refused = await medled("hr", "import", export)
    assert refused.exit_code == 1
    assert "2 of 4 people (50.0 %)" in refused.stdout
    done = await medled("hr", "import", export, "--max-deactivations", "50%")
    assert done.exit_code == 0
    assert await world.pool.fetchval("select count(*) from people where status = 'inactive'") == 2


async def test_the_same_people_under_another_source_are_refused_unless_told_otherwise(
    world: World, medled: Medled, export: Path
) -> None:
    export.write_text(CSV + "".join(PEOPLE) + "".join(PEOPLE).replace("e", "f"))
    await medled("hr", "import", export)
    refused = await medled("hr", "import", export, "--source", "workday")
    assert refused.exit_code == 1
    assert "Did you mean source hr?" in refused.stdout
    assert await world.pool.fetchval("select count(distinct source) from people") == 1
    assert (await medled("hr", "import", export, "--source", "workday", "--allow-overlap")).exit_code == 0


async def test_a_mapping_file_and_row_errors_reach_the_report(medled: Medled, export: Path, tmp_path: Path) -> None:
    mapping = tmp_path / "mapping.toml"
    mapping.write_text('[columns]\nemployee_id = "Nr"\n')
    export.write_text((CSV + "".join(PEOPLE) + "e9,Eva\n").replace("Employee ID", "Nr"))
    ended = await medled("hr", "import", export, "--mapping", mapping)
    assert ended.exit_code == 0
    assert "2 values where the header has 5" in ended.stdout


async def test_a_wrong_option_is_named_in_a_sentence(medled: Medled, export: Path) -> None:
    ended = await medled("hr", "import", export, "--max-deactivations", "lots")
    assert ended.exit_code == 2
    assert "--max-deactivations: give a share such as 10%" in ended.stderr
    refused = await medled("hr", "import", export, "--default-time-zone", "Mars/Olympus")
    assert refused.exit_code == 1
    assert "default_time_zone" in refused.stderr


async def test_a_report_names_the_teams_of_which_much_changes(medled: Medled, export: Path) -> None:
    await medled("hr", "import", export)
    rows = export.read_text().splitlines()
    team = "\n".join([f"{rows[0]},Manager ID", f"{rows[1]},", *(f"{row},e0" for row in rows[2:]), "e9,Bo,Ek,,Care,e0"])
    export.write_text(team)
    ended = await medled("hr", "import", export)
    assert ended.exit_code == 0, ended.output
    assert re.search(r"teams that change much at once\s+1\b", ended.stdout)
    assert re.search(r"e0\s+Anna0 Berg\s+Care; Care - Home\s+4\s+0 -> 4", ended.stdout)


async def test_the_first_role_is_granted_from_the_console(world: World, medled: Medled, export: Path) -> None:
    await medled("hr", "import", export)
    for person in ("e1", "e1"):
        granted = await medled("grant", "--person", person, "--role", "programme_office", "--unit", "Care - Home")
        assert granted.exit_code == 0, granted.output
    assert "Anna1 Berg now holds programme_office" in granted.stdout
    [told] = await world.pool.fetch("select payload from outbox where key like 'person:%'")
    assert AccessState.decode(told["payload"]).roles["programme_office"] is not None
    row = await world.pool.fetchrow("select principal, action from audit_log where action = 'access.granted'")
    assert row is not None
    assert row["principal"] == "machine:console"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--person", "nobody", "--role", "operator"], "Nobody has"),
        (
            ["--person", "e1", "--role", "operator", "--unit", "Nowhere"],
            "no unit Nowhere. All units: medled units list",
        ),
        (["--person", "e1", "--role", "operator", "--unit", "hoem"], "Did you mean Care - Home?"),
        (["--person", "e1", "--role", "operator", "--unit", "Care-Home"], "Did you mean Care - Home?"),
    ],
)
async def test_a_grant_to_nobody_or_nowhere_fails(
    medled: Medled, export: Path, arguments: list[str], words: str
) -> None:
    await medled("hr", "import", export)
    ended = await medled("grant", *arguments)
    assert ended.exit_code == 1
    assert words in ended.stderr


async def test_the_units_are_listed_as_a_tree(world: World, medled: Medled, export: Path) -> None:
    await world.pool.execute("truncate units cascade")
    assert "There are no units yet" in (await medled("units", "list")).stdout
    export.write_text(
        "".join([CSV, *PEOPLE, "e8,Bo,Ek,,Care - Home - Night\n", "e9,Eva,Ek,,Care - A\n", "e7,Ola,Ek,,Adm\n"])
    )
    await medled("hr", "import", export)
    assert (await medled("units", "list")).stdout == "Adm\nCare\n  A\n  Home\n    Night\n"
    listed = json.loads((await medled("units", "list", "--json")).stdout)
    assert [unit["path"] for unit in listed][-1] == "Care - Home - Night"


async def test_a_report_says_in_words_what_it_counts_and_is_shown_again(medled: Medled, export: Path) -> None:
    await medled("hr", "import", export)
    export.write_text(
        (CSV + "".join(PEOPLE[:3]) + "e3,Anna3\ne7,Gone,Long,,Care,Inactive\n").replace("Unit\n", "Unit,Status\n")
    )
    ended = await medled("hr", "import", export)
    assert re.search(r"known people left unchanged: their row has an error +4", ended.stdout), ended.output
    assert re.search(r"left before Medled knew of them: not included +1", ended.stdout)
    [(page, command)] = re.findall(r"kept at (\S+), and medled (.+) prints it", ended.stdout)
    assert page.endswith(f"/enrolment/imports/{command.split()[-1]}")
    again = await medled(*command.split())
    assert "people.csv from hr, sent " in again.stdout
    assert "left before Medled knew of them" in again.stdout


async def test_a_token_stands_alone_on_stdout_and_opens_the_api(world: World, medled: Medled) -> None:
    issued = await medled("token", "--role", "hr_integration", "--name", "HR", "--days", "7")
    assert issued.exit_code == 0, issued.output
    token = issued.stdout.strip()
    assert token.startswith("mlt_")
    assert token not in issued.stderr
    assert re.search(r"good until \d{4}-\d\d-\d\d \d\d:\d\d UTC\.", issued.stderr)
    client = world.client("nobody")
    seen = await client.get("/enrolment/v1/imports", headers={"authorization": f"Bearer {token}"})
    assert seen.status_code == 200


async def test_without_a_stack_the_commands_say_how_to_start_one(tmp_path: Path) -> None:
    words = ["token", "--role", "operator", "--data", str(tmp_path / "none")]
    ended = await asyncio.to_thread(lambda: CliRunner().invoke(app, words))
    assert ended.exit_code == 1
    assert "medled up" in ended.stderr


async def test_an_operator_sees_who_was_refused_binds_the_account_and_ends_it(
    world: World, medled: Medled, export: Path
) -> None:
    await medled("hr", "import", export)
    assert "Nobody was refused" in (await medled("sign-ins", "list")).stdout
    async with transaction(world.pool) as conn:
        account = Account(world.settings.oidc_issuer, "f3c1a8d2", "anna.new", 0)
        await first_sign_in(conn, account, now=world.now)
    [refused] = json.loads((await medled("sign-ins", "list", "--json")).stdout)
    assert (refused["reason"], refused["login"], refused["subject"]) == ("unknown_login", "anna.new", "f3c1a8d2")
    bound = await medled("sign-ins", "bind", "--person", "e0", "--subject", "f3c1a8d2")
    assert (bound.exit_code, "signs in as Anna0 Berg" in bound.stdout) == (0, True)
    assert "f3c1a8d2" in (await medled("sign-ins", "list", "--person", "e0")).stdout
    taken = await medled("sign-ins", "bind", "--person", "e1", "--subject", "f3c1a8d2")
    assert (taken.exit_code, "signs in Anna0 Berg" in taken.stderr) == (1, True)
    for status in (0, 1):
        assert (await medled("sign-ins", "end", "--person", "e0")).exit_code == status
    assert (await medled("sign-ins", "bind", "--person", "nobody", "--subject", "x")).exit_code == 1


async def test_imports_are_listed_and_one_that_has_ended_is_not_cancelled(medled: Medled, export: Path) -> None:
    assert "Nothing was imported yet" in (await medled("hr", "list")).stdout
    sent = json.loads((await medled("hr", "import", export, "--json")).stdout)
    [listed] = json.loads((await medled("hr", "list", "--json")).stdout)
    assert (listed["id"], listed["status"]) == (sent["id"], "done")
    await medled("hr", "import", export, "--dry-run")
    assert re.findall(r"done.*", (await medled("hr", "list")).stdout) == ["done (dry run)", "done"]
    refused = await medled("hr", "cancel", sent["id"])
    assert (refused.exit_code, "What the file says holds now" in refused.stderr) == (1, True)


async def test_whoever_follows_an_import_that_is_cancelled_is_told(
    world: World, medled: Medled, export: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "deploy.cli", "hr", "import", str(export), "--data", str(tmp_path)]
    async with transaction(world.pool) as busy:
        assert await turns.take_source(busy, "hr")  # as another worker would, so that this one waits
        following = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        while not (waiting := json.loads((await medled("hr", "list", "--json")).stdout)):
            await asyncio.sleep(0.05)
        cancelled = await medled("hr", "cancel", waiting[0]["id"])
        assert cancelled.exit_code == 0, cancelled.output
        said, progress = await asyncio.wait_for(following.communicate(), 20)
    assert (following.returncode, "Cancelled, nothing was changed." in said.decode()) == (1, True)
    assert f"import {waiting[0]['id']}: " in progress.decode()  # in lines, since no terminal shows a bar
    assert await world.pool.fetchval("select count(*) from people") == 0
