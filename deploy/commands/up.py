"""`medled up`: the embedded stack in the foreground."""

import signal
from pathlib import Path
from typing import Annotated

import typer

from deploy.embedded.process import StartFailedError
from deploy.output import JsonOption, fail, note, say, show_json
from deploy.stack import data_directory


def up(
    data: Annotated[Path | None, typer.Option(help="Where everything is kept [MEDLED_DATA, else .medled].")] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the portal, the one address people use.")] = 8080,
    broker: Annotated[str | None, typer.Option(help="Use this Kafka (host:port) instead of the embedded one.")] = None,
    database: Annotated[
        str | None,
        typer.Option(help="Use this Postgres (DSN of a role that may create roles and databases)."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Start all of Medled on this machine and keep it running until Ctrl-C.

    Exit status: 0 after Ctrl-C or SIGTERM, 1 when it could not start.
    """
    from deploy.local import CannotStartError, Options, running
    from deploy.provision import MigrationFailedError

    # Ctrl-C, `kill` and a closed terminal all end it the same way: children first, in order.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    options = Options(data=data_directory(data), port=port, broker=broker, database=database)
    note(f"Starting Medled on {options.data}")
    try:
        with running(options, note) as (stack, supervisor):
            if ahead := stack.clock_days_ahead:
                note(f"The clock of this data runs {ahead:,.1f} days ahead: `medled demo` let time pass on it.")
            if as_json:
                show_json(stack.model_dump(include={"public_url", "kafka_bootstrap", "data", "pid"}))
            else:
                say(f"Medled runs: {stack.public_url}  (Ctrl-C ends it; mail is kept in {stack.mail})")
                say(f"Its broker, for consumers of your own: {stack.kafka_bootstrap}")
            supervisor.watch()
    except (CannotStartError, StartFailedError, MigrationFailedError) as reason:
        fail(str(reason))
    except KeyboardInterrupt:
        note("Medled has ended.")
