"""`medled sign-ins`: which account of the identity provider is which person, and who was not let in (ADR 0007)."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer

from deploy.output import DataOption, JsonOption, fail, say, show_json, table

app = typer.Typer(
    help="Which account of the identity provider signs in as whom: look, bind another, end.", no_args_is_help=True
)

PersonOption = Annotated[str, typer.Option(help="Employee id or login.")]
IssuerOption = Annotated[str | None, typer.Option(help="The identity provider [MEDLED_OIDC_ISSUER].")]
_MOST_REFUSED = 200


@app.command("list")
def list_(
    person: Annotated[
        str | None, typer.Option(help="Employee id or login: this person's accounts instead of those refused.")
    ] = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Accounts that came and were bound to nobody, the latest first, and why; with --person, that person's accounts."""
    found = asyncio.run(_refused(data) if person is None else _accounts(person, data))
    if as_json:
        show_json(found)
    elif not found:
        say("Nobody was refused." if person is None else f"No account signs in as {person}.")
    else:
        table(list(found[0]), [list(each.values()) for each in found])


@app.command()
def bind(
    person: PersonOption,
    subject: Annotated[str, typer.Option(help="The account: its `sub`, as `medled sign-ins list` shows it.")],
    issuer: IssuerOption = None,
    data: DataOption = None,
) -> None:
    """This account is this person, instead of the one they had. Their sessions end, and they are told by mail.

    Writes to enrolment's database itself, is audited, and may be repeated. Exit status: 0 when it is bound, 1 when the
    person is not known or the account signs in somebody else who is at work.
    """
    from services.enrolment.sign_ins import actions

    async def do(conn: Any, who: Any, person_id: UUID, provider: str, now: Any) -> None:
        await actions.bind(conn, who, person_id, provider, subject, now=now)

    name = asyncio.run(_change(person, issuer, data, do))
    say(f"The account {subject} signs in as {name}.")


@app.command()
def end(person: PersonOption, issuer: IssuerOption = None, data: DataOption = None) -> None:
    """Nobody signs in as this person until you bind an account. Their sessions end, and they are told by mail."""
    from services.enrolment.sign_ins import actions

    async def do(conn: Any, who: Any, person_id: UUID, provider: str, now: Any) -> None:
        await actions.end(conn, who, person_id, provider, now=now)

    name = asyncio.run(_change(person, issuer, data, do))
    say(f"Nobody signs in as {name} now.")


async def _change(
    person: str, issuer: str | None, data: Path | None, do: Callable[[Any, Any, UUID, str, Any], Awaitable[None]]
) -> str:
    from deploy.console import database_of, settings_of
    from deploy.people import person_called
    from services.enrolment.access.actions import CONSOLE
    from shared.errors import RuleError
    from shared.postgres.transaction import transaction

    provider = issuer or settings_of("enrolment", data).oidc_issuer
    async with database_of("enrolment", data) as (pool, clock):
        try:
            async with transaction(pool) as conn:
                found = await person_called(conn, person)
                await do(conn, CONSOLE, found.id, provider, clock.now())
        except RuleError as refused:
            fail(f"{refused.detail} {refused.remedy or ''}".strip())
    return f"{found.given_name} {found.family_name}".strip()


async def _refused(data: Path | None) -> list[dict[str, Any]]:
    from deploy.console import database_of
    from services.enrolment.sign_ins import store
    from shared.postgres.transaction import transaction

    async with database_of("enrolment", data) as (pool, _), transaction(pool) as conn:
        refused = await store.refused(conn, _MOST_REFUSED)
    return [
        {"at": f"{each.at:%Y-%m-%d %H:%M}", "reason": each.reason, "login": each.login or "", "subject": each.subject,
         "issuer": each.issuer}
        for each in refused
    ]  # fmt: skip


async def _accounts(person: str, data: Path | None) -> list[dict[str, Any]]:
    from deploy.console import database_of
    from deploy.people import person_called
    from services.enrolment.sign_ins import store
    from shared.postgres.transaction import transaction

    async with database_of("enrolment", data) as (pool, _), transaction(pool) as conn:
        bound = await store.all_of(conn, (await person_called(conn, person)).id)
    return [
        {"person": each.person_name, "bound": f"{each.bound_at:%Y-%m-%d %H:%M}", "by": each.bound_by,
         "login": each.login or "", "subject": each.subject, "issuer": each.issuer}
        for each in bound
    ]  # fmt: skip
