"""`medled doctor`: is this machine, and the stack on it, in order?"""

import asyncio
import http.client
import json
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import typer

from deploy.output import DataOption, JsonOption, many, show_json, table
from deploy.stack import NoStackError, Stack, find_stack, named_databases

OUTBOX_TOO_OLD_SECONDS = 120  # as a worker's readiness has it


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. `bad` makes the command fail; `note` is worth knowing."""

    what: str
    state: Literal["ok", "note", "bad"]
    detail: str


def doctor(data: DataOption = None, as_json: JsonOption = False) -> None:
    """Check Python, optional tools, and every part of the running embedded stack, with what waits and what failed.

    Exit status: 0 when nothing is wrong, 1 otherwise. A stack that does not run is a note.
    """
    if databases := named_databases():
        findings = asyncio.run(_deployment(databases))
    else:
        findings = list(_machine())
        try:
            stack = find_stack(data)
        except NoStackError as reason:
            findings.append(Finding("stack", "note", str(reason)))
        else:
            findings += asyncio.run(_stack(stack))
    if as_json:
        show_json([asdict(finding) for finding in findings])
    else:
        table(("", "", ""), [(finding.state, finding.what, finding.detail) for finding in findings])
    if any(finding.state == "bad" for finding in findings):
        raise typer.Exit(1)


def _machine() -> Iterator[Finding]:
    yield Finding("python", "ok", sys.version.split()[0])
    free = shutil.disk_usage(".").free // 2**30
    yield Finding("disk", "ok" if free >= 2 else "bad", f"{free} GiB free")
    tools = {
        "java": "Apache Kafka in tests",
        "mvn": "fetching Apache Kafka's jars",
        "chromium": "browser tests",
        "kcat": "one test",
    }
    for tool, purpose in tools.items():
        path = shutil.which(tool)
        yield Finding(tool, "ok" if path else "note", path or f"not installed; needed for {purpose} only")


async def _deployment(databases: Mapping[str, str]) -> list[Finding]:
    """What MEDLED_DATABASES and MEDLED_KAFKA_* lead to. Of its processes, whoever runs them knows."""
    from shared.settings import KafkaSettings

    settings = KafkaSettings()
    findings = [finding for service, dsn in databases.items() for finding in await _database(service, dsn)]
    return [*findings, await _topics(settings.kafka_bootstrap, settings.kafka_client())]


async def _stack(stack: Stack) -> list[Finding]:
    findings = [Finding("stack", "ok", f"{stack.public_url}, process {stack.pid}, data in {stack.data}")]
    for service, dsn in stack.databases.items():
        findings += await _database(service, dsn)
    findings.append(await _topics(stack.kafka_bootstrap))
    for service, ports in stack.ports.items():
        findings.append(_health(f"{service}-api", ports.api))
        findings.append(_health(f"{service}-worker", ports.worker))
    if ahead := stack.clock_days_ahead:
        findings.append(Finding("clock", "note", f"shifted by {ahead:.1f} days for every process"))
    return findings


async def _database(service: str, dsn: str) -> list[Finding]:
    import asyncpg

    from deploy.services import find_service
    from shared.postgres.migrate import pending_migrations

    what = f"{service} database"
    try:
        conn = await asyncpg.connect(dsn, timeout=5)
        try:
            pending = await pending_migrations(conn, find_service(service))
            if not pending:
                return [Finding(what, "ok", "up to date"), *await _backlog(conn, service)]
        finally:
            await conn.close()
    except (OSError, asyncpg.PostgresError) as error:
        return [Finding(what, "bad", f"not reachable: {error}")]
    return [Finding(what, "bad", f"lacks migrations {', '.join(pending)}; run `medled migrate`")]


async def _backlog(conn: Any, service: str) -> list[Finding]:
    """What waits to be published, and what could not be handled."""
    from shared.events.envelope import MOST_FACTS
    from shared.events.vocabulary import FORGED

    row = await conn.fetchrow(
        """
        select (select count(*) from outbox where published_at is null) as waiting,
               (select coalesce(extract(epoch from now() - min(created_at)), 0)::int from outbox
                where published_at is null) as oldest,
               (select count(*) from set_aside where state = 'parked') as parked,
               (select count(*) from set_aside where state = 'dead') as dead,
               (select array_agg(distinct reason) from set_aside where state = 'dead' and reason = any($1)) as forged,
               array(select handler || ' ' || subject from inbox_latest where sequence > $2 limit 3) as blocked
        """,
        FORGED,
        MOST_FACTS,
    )
    waiting, oldest = row["waiting"], row["oldest"]
    outbox = f"{many(waiting, 'event')} to publish, the oldest for {oldest} s" if waiting else "all events published"
    findings = [Finding(f"{service} outbox", "ok" if oldest < OUTBOX_TOO_OLD_SECONDS else "bad", outbox)]
    if row["parked"]:
        findings.append(
            Finding(f"{service} parked", "note", f"{many(row['parked'], 'record')} waiting for what they build on")
        )
    findings += [Finding(f"{service} handlers", "note", told) for told in await _lacking(conn, service)]
    if row["dead"]:
        look = f"{row['dead']}, to look at with `medled dead-letters list --service {service}`"
        findings.append(Finding(f"{service} dead letters", "note", look))
    if row["forged"]:
        who = f"written by somebody who is not Medled ({', '.join(row['forged'])}): see who may write to the topics"
        findings.append(Finding(f"{service} forgeries", "bad", who))
    if row["blocked"]:
        what = f"held back by a sequence that nobody announced: {', '.join(row['blocked'])}; see `medled repair --help`"
        findings.append(Finding(f"{service} copies", "bad", what))
    return findings


async def _lacking(conn: Any, service: str) -> list[str]:
    """Of each handler that has not been given all that its service has read, in words."""
    from deploy.services import find_service
    from shared.messaging import epoch, history

    life = await epoch.load_epoch(conn, "consumer")
    if life is None:
        return []
    return [
        each.description for each in await history.handler_lags(conn, service, life, find_service(service).handlers)
    ]


async def _topics(bootstrap: str, client: Mapping[str, Any] | None = None) -> Finding:
    from aiokafka.errors import KafkaError

    from shared.messaging.topic_admin import describe_topics

    try:
        report = await describe_topics(client or bootstrap, wait=5)
    except (KafkaError, TimeoutError) as error:
        return Finding("broker", "bad", f"{bootstrap} not reachable: {error}")
    problems = [f"{name} is missing; run `medled topics`" for name in report.missing] + list(report.differences)
    return Finding("broker", "bad" if problems else "ok", "; ".join(problems) or f"{bootstrap}, topics as declared")


def _health(name: str, port: int) -> Finding:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health/ready")
        response = connection.getresponse()
        body = response.read(10_000)
    except (OSError, http.client.HTTPException) as error:
        return Finding(name, "bad", f"does not answer on port {port}: {error}")
    finally:
        connection.close()
    if response.status == http.HTTPStatus.OK:
        return Finding(name, "ok", _readiness(body))
    return Finding(name, "bad", body.decode(errors="replace"))


def _readiness(body: bytes) -> str:
    """What a process that is ready says of itself, in a few words; when it is not, all it says is shown."""
    try:
        consumer, relay = (json.loads(body).get(part) for part in ("consumer", "relay"))
    except (ValueError, AttributeError):
        return "ready"
    words = ["ready"]
    if consumer and consumer["topics"]:
        words.append("lag unknown" if consumer["lag"] is None else f"{many(consumer['lag'], 'record')} behind")
        if lacking := consumer.get("catching_up"):
            words.append(f"{many(len(lacking), 'handler')} catching up")
    if relay:
        words.append("publishes" if relay["leading"] else "another worker publishes")
    return ", ".join(words)
