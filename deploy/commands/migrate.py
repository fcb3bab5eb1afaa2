"""`medled migrate`: bring databases up to date."""

import os
import subprocess
from typing import Annotated

import typer

from deploy.output import DataOption, JsonOption, fail, say, show_json
from deploy.services import SERVICES, find_service
from deploy.stack import NoStackError, find_stack, named_databases


def migrate(
    service: Annotated[
        str | None, typer.Argument(help="One service; all of MEDLED_DATABASES or the embedded stack when left out.")
    ] = None,
    database: Annotated[
        str | None, typer.Option(help="That service's database (DSN) [MEDLED_DATABASE_URL, else the embedded stack's].")
    ] = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Apply the migrations a database does not have yet. Safe to run again, and by two at once.

    Exit status: 0 when every database is up to date, 1 otherwise.
    """
    from shared.postgres.migrate import migrate as bring_up_to_date

    if service is not None and service not in SERVICES:
        fail(f"There is no service {service}; it is one of {', '.join(SERVICES)}.", status=2)
    targets = _targets(service, database or os.environ.get("MEDLED_DATABASE_URL"), data)
    for name, dsn in targets.items():
        try:
            bring_up_to_date(dsn, find_service(name))
        except subprocess.CalledProcessError as error:
            fail(f"{name}: {(error.stderr or error.stdout).strip()}")
    if as_json:
        show_json({"migrated": list(targets)})
    else:
        say(f"Up to date: {', '.join(targets)}")


def _targets(service: str | None, dsn: str | None, data: DataOption) -> dict[str, str]:
    if dsn is not None:
        if service is None:
            fail("Name the service whose database this is: medled migrate SERVICE --database DSN", status=2)
        return {service: dsn}
    try:
        databases = named_databases() or find_stack(data).databases
    except NoStackError as reason:
        fail(f"{reason} For another database, set MEDLED_DATABASE_URL, MEDLED_DATABASES or use --database.")
    if service is None:
        return dict(databases)
    if service not in databases:
        fail(f"MEDLED_DATABASES does not name a database for {service}.", status=2)
    return {service: databases[service]}
