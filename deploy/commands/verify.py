"""`medled verify`: did every event arrive, and have its effect once, and nothing else?"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deploy.output import DataOption, JsonOption, fail, show_json
from deploy.services import SERVICES, find_service
from deploy.stack import NoStackError, find_stack

if TYPE_CHECKING:
    from deploy.verify import Report


def verify(
    wait: Annotated[float, typer.Option(min=0, help="Most seconds to wait until nothing is under way.")] = 60,
    database: Annotated[
        list[str] | None,
        typer.Option(
            help="SERVICE=DSN of another deployment, once for each service; Kafka is then read from MEDLED_KAFKA_*.",
            envvar="MEDLED_DATABASES",
        ),
    ] = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Follow every event from its producer to Kafka and to each handler that takes it, and count what went wrong.

    Lost: published, passed by, and neither applied, superseded, parked nor a dead letter. Doubled: two effects of one
    cause. Foreign: on a topic, and written by no outbox, as far back as outboxes remember. Astray: rows of a service's
    copy of people, units or access that are not as their owner has them, and logins that two people at work hold.
    Changes nothing. Exit status: 0 when all came to rest and nothing of that was found, 1 otherwise.
    """
    from deploy.verify import CannotVerifyError

    try:
        report = asyncio.run(_verify(database or [], data, wait, quiet=as_json))
    except CannotVerifyError as reason:
        fail(f"Nothing could be judged: {reason}")
    if as_json:
        show_json(report.as_json())
    if not report.clean:
        raise typer.Exit(1)


async def _verify(named: Sequence[str], data: DataOption, wait: float, *, quiet: bool) -> "Report":
    from deploy import verify
    from deploy.verify.printing import Printer, Progress
    from shared.clock import Clock
    from shared.settings import KafkaSettings

    clock = Clock()
    if named:
        databases: Mapping[str, str] = dict(map(_service_and_dsn, named))
        kafka: Mapping[str, Any] | str = KafkaSettings().kafka_client()
    else:
        try:
            stack = find_stack(data)
        except NoStackError as reason:
            fail(f"{reason} For another deployment, use --database and MEDLED_KAFKA_*.")
        databases, kafka, clock = stack.databases, stack.kafka_bootstrap, Clock(stack.clock_file)
    handlers = {service: find_service(service).handlers for service in databases}
    timers = {service: list(find_service(service).timers) for service in databases}
    progress = Progress()
    printer = Printer(handlers, progress)
    listener = verify.Listener(progress.tell)
    if not quiet:
        listener = verify.Listener(progress.tell, printer.verdict, printer.copy)
    try:
        report = await verify.verify(
            databases, kafka, handlers, timers=timers, wait=wait, clock=clock, listener=listener
        )
    finally:
        progress.clear()
    if not quiet:
        printer.rest(report)
    return report


def _service_and_dsn(text: str) -> tuple[str, str]:
    service, _, dsn = text.partition("=")
    if service not in SERVICES or not dsn:
        fail(f"--database takes SERVICE=DSN, where SERVICE is one of {', '.join(SERVICES)}.", status=2)
    return service, dsn
