"""`medled handlers`: how far each handler of a service has come, and how to have one do all of it again."""

import asyncio
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.output import DataOption, JsonOption, fail, say, show_json, table
from deploy.services import SERVICES

if TYPE_CHECKING:
    from uuid import UUID

    from shared.messaging.handler import Handler
    from shared.messaging.history import HandlerLag

app = typer.Typer(
    help="What a service does with events, handler by handler: how far each has come, and doing all of it again.",
    no_args_is_help=True,
)

ServiceOption = Annotated[str | None, typer.Option("--service", help=f"One of {', '.join(SERVICES)}; all by default.")]


@dataclass(frozen=True, slots=True)
class Row:
    """One handler. state: live, catching_up, replaying, behind (older workers read without it), not_met, gone.

    began: None is the beginning. progress: percent of what lies behind, None while nothing is caught up. lag: records
    it lacks of those that its service has read, transaction markers included. replay: None, or why it is refused.
    """

    service: str
    handler: str
    state: str
    began: datetime | None
    progress: int | None
    lag: int
    replay: str | None


@app.command(name="list")
def list_(service: ServiceOption = None, data: DataOption = None, as_json: JsonOption = False) -> None:
    """List every handler: whether it is live or still catching up, since when it takes events, and what it lacks.

    How far a service as a whole is behind Kafka, `medled doctor` says. Exit status: 0.
    """
    rows = [row for name in _services(service) for row in asyncio.run(_rows(name, data))]
    if as_json:
        show_json([asdict(row) for row in rows])
        return
    table(
        ("service", "handler", "state", "began (UTC)", "progress", "lag"),
        [
            (
                row.service, row.handler, row.state.replace("_", " "),
                f"{row.began:%Y-%m-%d %H:%M:%S}" if row.began else "the beginning",
                "" if row.progress is None else f"{row.progress} %", row.lag,
            )
            for row in rows
        ],
    )  # fmt: skip


@app.command()
def replay(
    name: Annotated[str, typer.Argument(metavar="NAME", help="As `list` names it.")],
    service: ServiceOption = None, data: DataOption = None, as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Give a handler everything again that Kafka has of its types, while what it made is being read.

    For a projection whose making was mended. Its rows are made anew from each thing's newest event; nothing is deleted
    beforehand. Refused for a handler whose effects must not happen again. May be repeated: it then begins once more.
    Exit status: 0 when a worker will do it, 1 when it is refused or there is no such handler.
    """
    asked = {each: asyncio.run(_replay(each, name, data)) for each in _services(service)}
    done = {each: outcome for each, outcome in asked.items() if outcome is not None}
    if not done:
        fail(f"There is no handler {name}. `medled handlers list` has their names.")
    if as_json:
        show_json([{"service": each, "handler": name, "refused": reason or None} for each, reason in done.items()])
    for each, reason in done.items():
        if reason:
            fail(f"{name} in {each} is not replayed: {reason}.")
        if not as_json:
            say(f"{name} in {each} is being given everything again; `medled handlers list` tells how far it is.")


def _services(service: str | None) -> tuple[str, ...]:
    if service is not None and service not in SERVICES:
        fail(f"There is no service {service}; it is one of {', '.join(SERVICES)}.", status=2)
    return SERVICES if service is None else (service,)


async def _rows(service: str, data: DataOption) -> list[Row]:
    from deploy.console import database_of
    from deploy.services import find_service
    from shared.messaging import epoch, history

    declared = {handler.name: handler for handler in find_service(service).handlers}
    async with database_of(service, data) as (pool, _), pool.acquire() as conn:
        life = await epoch.load_epoch(conn, "consumer")
        known = await history.known_handlers(conn, service)
        lacking = await history.handler_lags(conn, service, life, list(declared.values())) if life else []
    behind = {each.handler: each for each in lacking}
    return [
        _row(service, name, declared.get(name), known, behind.get(name))
        for name in sorted(declared.keys() | known.keys())
    ]


def _row(
    service: str,
    name: str,
    handler: "Handler | None",
    known: "Mapping[str, datetime | None]",
    lacks: "HandlerLag | None",
) -> Row:
    refused = "this version does not have it" if handler is None else handler.why_no_replay
    progress = None
    if handler is None:
        state = "gone"
    elif name not in known:
        state = "not_met"
    elif lacks is None:
        state = "live"
    elif lacks.noted:
        state = "replaying" if lacks.again else "catching_up"
        progress = 100 * lacks.done // (lacks.done + lacks.noted)
    else:
        state = "behind"
    return Row(service, name, state, known.get(name), progress, lacks.records if lacks else 0, refused)


async def _replay(service: str, name: str, data: DataOption) -> str | None:
    """Nothing when it was begun, else why not; None where the service has no such handler."""
    from deploy.console import database_of
    from deploy.services import find_service
    from shared.messaging import epoch, history
    from shared.postgres.transaction import transaction

    handler = next((each for each in find_service(service).handlers if each.name == name), None)
    if handler is None or handler.why_no_replay is not None:
        return None if handler is None else handler.why_no_replay
    async with database_of(service, data) as (pool, _), transaction(pool) as conn:
        life: UUID | None = await epoch.load_epoch(conn, "consumer")
        if life is not None:
            await history.begin_replay(conn, service, life, handler)
    return ""
