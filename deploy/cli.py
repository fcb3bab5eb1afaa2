"""`medled`: the command line. Each command lives in a module of its own under deploy/commands."""

import logging
import sys
from importlib import metadata
from typing import Annotated

import typer

from deploy.commands import (
    dead_letters,
    demo,
    doctor,
    events,
    grant,
    handlers,
    hr,
    migrate,
    repair,
    sign_ins,
    token,
    topics,
    trace,
    units,
    up,
    verify,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"medled {metadata.version('medled')}")
        raise typer.Exit


app = typer.Typer(
    name="medled",
    help="Run and operate Medled. Commands find the embedded stack that `medled up` started by themselves; for any "
    "other deployment they read the same MEDLED_* settings as the services.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(name="demo")(demo.demo)
app.command(name="up")(up.up)
app.command(name="migrate")(migrate.migrate)
app.command(name="topics")(topics.topics)
app.command(name="doctor")(doctor.doctor)
app.command(name="grant")(grant.grant)
app.command(name="token")(token.token)
app.command(name="verify")(verify.verify)
app.command(name="trace")(trace.trace)
app.add_typer(hr.app, name="hr")
app.add_typer(sign_ins.app, name="sign-ins")
app.add_typer(units.app, name="units")
app.add_typer(events.app, name="events")
app.add_typer(dead_letters.app, name="dead-letters")
app.add_typer(handlers.app, name="handlers")
app.add_typer(repair.app, name="repair")


@app.callback()
def medled(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and end.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Options before any command."""


def main() -> None:
    """Run a command. Exit status 2 when a setting is missing or wrong, as for the services."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # each command says in a sentence what it cannot reach
    try:
        app()
    except Exception as error:
        from pydantic import ValidationError

        from shared.runtime.main import what_is_wrong

        if not isinstance(error, ValidationError):
            raise
        sys.stderr.write(what_is_wrong(error))  # its own text quotes the values, secrets among them
        sys.exit(2)


if __name__ == "__main__":
    main()
