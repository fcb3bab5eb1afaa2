"""`medled dead-letters`: what could not be handled, and what to do about it."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from deploy.output import DataOption, JsonOption, fail, note, say, show_json, table
from deploy.services import SERVICES

if TYPE_CHECKING:
    from deploy.dead_letters import Letter
    from shared.postgres.pool import Connection
    from shared.settings import Settings

app = typer.Typer(
    help="Records that a service could not handle: look at them, have them tried again, or give them up.",
    no_args_is_help=True,
)

Deed = Callable[["Connection", Sequence[UUID], datetime, "Settings"], Awaitable[list[UUID]]]


class ListedLetter(StrEnum):
    """What is set aside: given up on, waiting for a parent, or discarded by somebody."""

    dead = "dead"
    parked = "parked"
    discarded = "discarded"


ServiceOption = Annotated[str | None, typer.Option("--service", help=f"One of {', '.join(SERVICES)}; all by default.")]
ReasonOption = Annotated[str | None, typer.Option("--reason", help="Only of this reason, as `list` tells it.")]
AllOption = Annotated[bool, typer.Option("--all", help="All dead letters (of the given service and reason).")]
Ids = Annotated[list[UUID] | None, typer.Argument(metavar="[ID]...", help="Dead letters, as `list` names them.")]


@app.command(name="list")
def list_(
    service: ServiceOption = None,
    reason: ReasonOption = None,
    state: Annotated[ListedLetter, typer.Option(help="What to list.")] = ListedLetter.dead,
    limit: Annotated[int, typer.Option(min=1, help="Most to list of each service.")] = 100,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """List dead letters, oldest first, without what they hold. Exit status: 0, also when there are none."""
    from deploy.dead_letters import letters

    async def find(conn: "Connection", name: str, _: datetime) -> "list[Letter]":
        return await letters(conn, name, state.value, reason=reason, limit=limit)

    found = [letter for some in asyncio.run(_in_each(service, data, find)) for letter in some]
    if as_json:
        show_json([_summary(letter) for letter in found])
    elif not found:
        say("There are no dead letters." if state is ListedLetter.dead else f"Nothing is {state.value}.")
    else:
        table(
            ("id", "service", "since (UTC)", "event", "reason", "detail"),
            [(x.id, x.service, f"{x.since:%Y-%m-%d %H:%M:%S}", x.type, x.reason, x.detail or "") for x in found],
        )


@app.command()
def show(
    letter_id: Annotated[UUID, typer.Argument(metavar="ID", help="As `list` names it.")],
    service: ServiceOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one dead letter with its headers and value, which may be personal data: that you looked is on record.

    Exit status: 1 when there is none of that id.
    """
    from deploy.dead_letters import read

    async def find(conn: "Connection", _: str, now: datetime) -> "Letter | None":
        return await read(conn, letter_id, now)

    letter = next((each for each in asyncio.run(_in_each(service, data, find)) if each is not None), None)
    if letter is None:
        fail(f"There is no dead letter {letter_id}.")
    note("This may show personal data. The audit log has it that you looked.")
    if as_json:
        show_json(_summary(letter) | _content(letter))
        return
    table(("", ""), [(name, "" if value is None else value) for name, value in _summary(letter).items()])
    say("\nheaders")
    table(("", ""), [(f"  {name}", _text(value)) for name, value in letter.headers])
    say("\nvalue")
    say(_pretty(letter.value))


@app.command()
def replay(
    ids: Ids = None, service: ServiceOption = None, reason: ReasonOption = None, every: AllOption = False,
    data: DataOption = None, as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Have the service's worker try dead letters again, for as long as it waits for any parked record.

    Is audited and may be repeated. Exit status: 0 when each is being tried again or was before, 1 when one is unknown
    or was discarded.
    """
    from datetime import timedelta

    from deploy.dead_letters import replay as again

    async def deed(conn: "Connection", chosen: Sequence[UUID], now: datetime, settings: "Settings") -> list[UUID]:
        return await again(conn, chosen, now, timedelta(hours=settings.park_timeout_hours))

    done = asyncio.run(_do(deed, ids or [], service, reason, every, data))
    _tell("being tried again", done, ("parked", "replayed"), as_json)


@app.command()
def discard(
    ids: Ids = None, service: ServiceOption = None, reason: ReasonOption = None, every: AllOption = False,
    data: DataOption = None, as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Give dead letters up for good: what they hold is deleted, that they were there stays known.

    Is audited and may be repeated. Exit status: 0 when each is discarded, 1 when one is unknown or being tried again.
    """
    from deploy.dead_letters import discard as drop

    async def deed(conn: "Connection", chosen: Sequence[UUID], now: datetime, _: "Settings") -> list[UUID]:
        return await drop(conn, chosen, now)

    done = asyncio.run(_do(deed, ids or [], service, reason, every, data))
    _tell("discarded", done, ("discarded",), as_json)


async def _do(
    deed: Deed, ids: Sequence[UUID], service: str | None, reason: str | None, every: bool, data: DataOption
) -> dict[str, str]:
    """What became of each id: 'done', the state that kept it from being done, or 'unknown'."""
    from deploy.dead_letters import letters, state_of

    if bool(ids) == every:
        fail("Name dead letters by id, or say --all.", status=2)

    async def act(conn: "Connection", name: str, now: datetime) -> dict[str, str]:
        settings = _settings(name, data)
        chosen = [x.id for x in await letters(conn, name, "dead", reason=reason)] if every else ids
        done = await deed(conn, chosen, now, settings)
        others = {each: await state_of(conn, each) for each in chosen if each not in done}
        return {str(each): "done" for each in done} | {str(each): state for each, state in others.items() if state}

    fates = {str(each): "unknown" for each in ids}
    for found in await _in_each(service, data, act):
        fates |= found
    return fates


def _tell(deed: str, fates: dict[str, str], fine: Sequence[str], as_json: bool) -> None:
    if as_json:
        show_json(fates)
    else:
        count = sum(fate == "done" for fate in fates.values())
        say(f"{count} {deed}.")
        for letter, fate in fates.items():
            if fate in fine:
                say(f"{letter}: was {'replayed' if fate == 'parked' else fate} before")
            elif fate != "done":
                say(f"{letter}: {'there is no such dead letter' if fate == 'unknown' else f'is {fate}, left alone'}")
    if any(fate != "done" and fate not in fine for fate in fates.values()):
        raise typer.Exit(1)


async def _in_each(service: str | None, data: DataOption, act: Callable[..., Awaitable[Any]]) -> list[Any]:
    """Do it in the database of the service, or of each, in one transaction each."""
    from deploy.console import database_of
    from shared.postgres.transaction import transaction

    if service is not None and service not in SERVICES:
        fail(f"There is no service {service}; it is one of {', '.join(SERVICES)}.", status=2)
    if service is None and "MEDLED_DATABASE_URL" in os.environ:
        fail("MEDLED_DATABASE_URL is set; say with --service whose database it is.", status=2)
    results = []
    for name in SERVICES if service is None else (service,):
        async with database_of(name, data) as (pool, clock), transaction(pool) as conn:
            results.append(await act(conn, name, clock.now()))
    return results


def _settings(service: str, data: DataOption) -> "Settings":
    from deploy.console import settings_of

    return settings_of(service, data)


def _summary(letter: "Letter") -> dict[str, Any]:
    return {
        "id": letter.id, "service": letter.service, "state": letter.state, "since": letter.since.isoformat(),
        "type": letter.type, "event_id": letter.event_id, "handler": letter.handler, "reason": letter.reason,
        "detail": letter.detail, "attempts": letter.attempts, "topic": letter.topic, "partition": letter.partition,
        "offset": letter.offset,
    }  # fmt: skip


def _content(letter: "Letter") -> dict[str, Any]:
    return {
        "key": _text(letter.key),
        "headers": [[name, _text(value)] for name, value in letter.headers],
        "value": _text(letter.value),
    }


def _text(raw: bytes | None) -> str:
    """Bytes as text; what is no UTF-8 as Python writes bytes; nothing as `null`."""
    if raw is None:
        return "null"
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return repr(raw)


def _pretty(raw: bytes | None) -> str:
    import json

    try:
        return json.dumps(json.loads(raw or b""), indent=2, ensure_ascii=False)
    except ValueError:
        return _text(raw)
