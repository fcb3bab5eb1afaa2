"""`medled verify`: did every event arrive, and have its effect once?"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deploy.output import DataOption, JsonOption, fail, many, say, show_json, table
from deploy.stack import SERVICES, NoStack, find_stack

if TYPE_CHECKING:
    from deploy.verify import Fact, Report, Subscription


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
    cause. Reads only. Exit status: 0 when all came to rest and nothing was lost or doubled, 1 otherwise.
    """
    from deploy.verify import CannotVerify

    try:
        report = asyncio.run(_verify(database or [], data, wait))
    except CannotVerify as reason:
        fail(f"Nothing could be judged: {reason}")
    if as_json:
        show_json(report.as_json())
    else:
        _show(report)
    if not report.clean:
        raise typer.Exit(1)


async def _verify(named: Sequence[str], data: DataOption, wait: float) -> "Report":
    from deploy import verify
    from shared.clock import Clock
    from shared.settings import KafkaSettings

    clock = Clock()
    if named:
        databases: Mapping[str, str] = dict(map(_service_and_dsn, named))
        kafka: Mapping[str, Any] | str = KafkaSettings().kafka_client()
    else:
        try:
            stack = find_stack(data)
        except NoStack as reason:
            fail(f"{reason} For another deployment, use --database and MEDLED_KAFKA_*.")
        databases, kafka, clock = stack.databases, stack.kafka_bootstrap, Clock(stack.clock_file)
    return await verify.verify(
        databases, kafka, {service: await verify.declared_handlers(service) for service in databases},
        timers={service: await verify.declared_timers(service) for service in databases}, wait=wait, clock=clock,
    )  # fmt: skip


def _service_and_dsn(text: str) -> tuple[str, str]:
    service, _, dsn = text.partition("=")
    if service not in SERVICES or not dsn:
        fail(f"--database takes SERVICE=DSN, where SERVICE is one of {', '.join(SERVICES)}.", status=2)
    return service, dsn


def _show(report: "Report") -> None:
    table(("event, and who takes it", "published", "arrived", ""), list(_lines(report)))
    for service, types in report.skipped.items():
        say(f"{service} passed over {_passed_over(types)}")
    for remark in report.remarks:
        say(remark)
    for reason in report.under_way:
        say(f"Still under way: {reason}")
    if dead := sum(each.dead for each in report.subscriptions):
        say(f"Dead letters: {dead}, discarded ones included. `medled dead-letters list` has those to look at.")
    published = f"{many(report.published, 'event')} published"
    if report.clean and not report.published:
        say("Clean: nothing was published yet.")
    elif report.clean:
        say(f"Clean: {published}, each accounted for; nothing lost, nothing doubled.")
    else:
        rest = "" if not report.under_way else "; not everything had come to rest, so wait longer with --wait"
        say(f"NOT CLEAN: {published}, {report.lost} lost, {report.doubled} doubled{rest}.")


def _lines(report: "Report") -> Iterator[tuple[str, object, object, str]]:
    facts = {fact.type: fact for fact in report.facts}
    for name in sorted(facts.keys() | {each.type for each in report.subscriptions}):
        fact = facts.get(name)
        yield (name, fact.published, fact.on_kafka, _fate_of(fact)) if fact else (name, "", "", "")
        for each in report.subscriptions:
            if each.type == name:
                # The directory's handlers have the same name in every service.
                where = "" if each.handler.startswith(each.service) else f" in {each.service}"
                yield f"  {each.handler}{where}", each.published, each.applied, _fate_at(each)


def _fate_of(fact: "Fact") -> str:
    """What stands beside the two numbers of a type: only what is not nothing."""
    return _words(
        ("replaced by a newer state", fact.replaced), ("repeated", fact.repeated), ("older than kept", fact.expired),
        (f"MISSING ON KAFKA {', '.join(fact.missing_ids)}", fact.missing),
    )  # fmt: skip


def _fate_at(each: "Subscription") -> str:
    return _words(
        ("superseded", each.superseded), ("parked", each.parked), ("dead", each.dead),
        ("waiting", each.waiting), (f"LOST {', '.join(each.lost_ids)}", each.lost),
        (f"DOUBLED {', '.join(each.doubled_ids)}", each.doubled),
    )  # fmt: skip


def _words(*counts: tuple[str, int]) -> str:
    return ", ".join(f"{count} {word}" for word, count in counts if count)


def _passed_over(types: Mapping[str, int]) -> str:
    """Types of ours that a service does not take are every day; those that nobody here knows are named."""
    from shared.events import REGISTRY

    others = sum(count for name, count in types.items() if name in REGISTRY)
    unknown = [f"{count} of the unknown type {name}" for name, count in types.items() if name not in REGISTRY]
    return ", ".join([f"{many(others, 'record')} for others", *unknown])
