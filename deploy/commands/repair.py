"""`medled repair`: what a service holds of a person, a unit or a principal, put right from its owner."""

import asyncio
import os
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from deploy.output import DataOption, JsonOption, fail, say, show_json, table
from deploy.services import SERVICES, find_service

if TYPE_CHECKING:
    from deploy.repair import Copy
    from shared.postgres.pool import Connection

app = typer.Typer(
    help="Put right what services hold of a person, a unit or a principal, when a forged or a lost event left it "
    "wrong: enrolment, which owns it, announces it again as it is, and no service is held back by a sequence that "
    "somebody else made up.",
    no_args_is_help=True,
)

OWNER = "enrolment"
DryRun = Annotated[bool, typer.Option("--dry-run", help="Tell what would be done, and change nothing.")]


@dataclass(frozen=True, slots=True)
class RepairOutcome:
    """What was found and done. announced_again_as: None on a dry run."""

    type: str
    subject: str
    known_to_owner: bool
    announced: int
    copies: "list[Copy]"
    set_back_to: int
    set_back: "list[Copy]"
    announced_again_as: int | None


@app.command()
def people(
    person: Annotated[str, typer.Argument(help="The person's id, employee id or login.")],
    dry_run: DryRun = False, data: DataOption = None, as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Have all services hold of a person what enrolment has, or nothing when it has none.

    Is audited and may be repeated. Exit status: 0, 1 when nobody knows the person.
    """

    async def subject(conn: "Connection") -> str:
        return _id(person) or await _person(conn, person)

    _repair("people", subject, dry_run, data, as_json)


@app.command()
def units(
    unit: Annotated[str, typer.Argument(help='The unit\'s id, its name, or its path as in "Care - Home".')],
    dry_run: DryRun = False, data: DataOption = None, as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Have all services hold of a unit what enrolment has, or nothing when it has none.

    Is audited and may be repeated. Exit status: 0, 1 when nobody knows the unit.
    """

    async def subject(conn: "Connection") -> str:
        from deploy.people import unit_named

        return _id(unit) or str(await unit_named(conn, unit))

    _repair("units", subject, dry_run, data, as_json)


@app.command()
def access(
    principal: Annotated[
        str, typer.Argument(help="The principal (person:ID or machine:ID), or a person's employee id or login.")
    ],
    dry_run: DryRun = False, data: DataOption = None, as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Have all services hold of a principal's roles what enrolment has, or nothing when it has none.

    Is audited and may be repeated. Exit status: 0, 1 when nobody knows the principal.
    """

    async def subject(conn: "Connection") -> str:
        if ":" in principal:
            return principal
        return f"person:{_id(principal) or await _person(conn, principal)}"

    _repair("access", subject, dry_run, data, as_json)


def _repair(
    what: str, subject: "Callable[[Connection], Awaitable[str]]", dry_run: bool, data: Path | None, as_json: bool
) -> None:
    outcome = asyncio.run(_do(what, subject, dry_run, data))
    if as_json:
        show_json(asdict(outcome))
        return
    known = f"announced it as {outcome.announced} last" if outcome.announced else "never announced it"
    say(f"{outcome.type} of {outcome.subject}: enrolment {known}{'' if outcome.known_to_owner else ', and has none'}.")
    table(
        ("service", "handler", "has taken", ""),
        [(x.service, x.handler, x.applied, _fate(x, outcome, dry_run)) for x in outcome.copies],
    )
    truth = "as it is" if outcome.known_to_owner else "as gone"
    if outcome.announced_again_as is None:
        say(f"Would be announced again {truth}, as {outcome.set_back_to + 1}. Nothing was changed.")
    else:
        say(f"Announced again {truth}, as {outcome.announced_again_as}; the services take it as they read it.")


def _fate(copy: "Copy", outcome: RepairOutcome, dry_run: bool) -> str:
    if copy not in outcome.set_back:
        return ""
    return f"{'would be' if dry_run else 'was'} set back to {outcome.set_back_to}"


async def _do(
    what: str, subject_of: "Callable[[Connection], Awaitable[str]]", dry_run: bool, data: Path | None
) -> RepairOutcome:
    """Copies are set back first, and then it is announced: the other way round they would pass it over."""
    from deploy import repair
    from deploy.console import database_of
    from shared.postgres.transaction import transaction

    if "MEDLED_DATABASE_URL" in os.environ:
        fail("MEDLED_DATABASE_URL is set, and repairing takes every service's database: set MEDLED_DATABASES.", 2)
    kind = repair.KINDS[what]
    async with database_of(OWNER, data) as (pool, clock):
        async with transaction(pool) as conn:
            subject = await subject_of(conn)
            known = await repair.truth(conn, kind, subject) is not None
            last = await repair.announced(conn, kind, subject)
        copies = [copy for service in SERVICES for copy in await _copies(what, service, subject, data)]
        if not (known or last or copies):
            fail(f"Neither enrolment nor any other service knows of {subject}.")
        level = repair.level(last, copies)
        blocked = defaultdict(list)
        for copy in copies:
            if copy.applied > level:
                blocked[copy.service].append(copy)
        done = None
        if not dry_run:
            for service, theirs in blocked.items():
                async with database_of(service, data) as (other, _), transaction(other) as conn:
                    await repair.set_back(conn, subject, theirs, level, clock.now())
            async with transaction(pool) as conn:
                done = await repair.announce(conn, kind, subject, level, clock.now())
    set_back = [copy for theirs in blocked.values() for copy in theirs]
    return RepairOutcome(kind.type, subject, known, last, copies, level, set_back, done)


async def _copies(what: str, service: str, subject: str, data: Path | None) -> "list[Copy]":
    from deploy import repair
    from deploy.console import database_of
    from shared.postgres.transaction import transaction

    taking = [
        handler
        for handler in find_service(service).handlers
        if handler.mode == "latest_state" and repair.KINDS[what] in handler.events
    ]
    if not taking:
        return []
    async with database_of(service, data) as (pool, _), transaction(pool) as conn:
        return await repair.copies(conn, service, taking, subject)


def _id(text: str) -> str | None:
    try:
        return str(UUID(text))
    except ValueError:
        return None


async def _person(conn: "Connection", text: str) -> str:
    from services.enrolment.people.store import person_named

    found = await person_named(conn, text)
    if not found:
        fail(f"Nobody has the employee id or login {text}.")
    if len(found) > 1:
        fail(f"{len(found)} people go by {text}; name one by id: {', '.join(str(each.id) for each in found)}")
    return str(found[0].id)
