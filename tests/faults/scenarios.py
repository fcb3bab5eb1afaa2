"""The faults, each told once: the tests play every one once, `make storm` many times.

A scenario does harm to a stage and returns what it saw beside the verdict. It raises FaultDidNotHappen when the harm
did not come about, and waits for conditions, never for time to pass: the exception is an outage, which has a length.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from deploy.verify import Report
from shared.events import EnrolmentRequested, UnitState
from shared.messaging import outbox
from shared.postgres.transaction import transaction
from tests.faults import traffic
from tests.faults.applicants import applicants, must_have_arrived
from tests.faults.probe.handlers import LATER, UNLUCKY
from tests.faults.stage import CONSUMER, PUBLISHER, FaultDidNotHappenError, Stage, some_request, until, until_at_least

EVENTS = 1000
OUTAGE_SECONDS = 30.0
STREAMS = (EnrolmentRequested.topic, UnitState.topic)


@dataclass(frozen=True)
class Outcome:
    """The verdict, and what shows that the fault took place."""

    report: Report
    seen: Mapping[str, int] = field(default_factory=dict)
    forged: int = 0  # records that somebody else than a relay put on Kafka, each of which is to be told as foreign

    @property
    def repeated(self) -> int:
        """Records on Kafka that came again with the same id."""
        return sum(fact.repeated for fact in self.report.facts)

    @property
    def sound(self) -> bool:
        """All came to rest, nothing lost or doubled, and nothing foreign but what was forged."""
        report = self.report
        return not (report.under_way or report.lost or report.doubled) and report.foreign == self.forged

    @property
    def dead(self) -> int:
        """Dead letters."""
        return sum(each.dead for each in self.report.subscriptions)


Scenario = Callable[[Stage], Awaitable[Outcome]]


async def worker_killed_in_a_batch(stage: Stage) -> Outcome:
    stage.pause_batches()
    stage.start(PUBLISHER)
    victim = stage.start(CONSUMER)
    await stage.write(EVENTS)
    await until("a batch is under way", stage.pause_file.exists)
    victim.kill()
    if await stage.consumer.fetchval("select count(*) from effects"):
        raise FaultDidNotHappenError("the batch had committed")
    stage.resume_batches()
    stage.start(CONSUMER)
    return Outcome(await stage.verdict())


async def workers_come_and_go(stage: Stage) -> Outcome:
    stage.start(PUBLISHER)
    first = stage.start(CONSUMER)
    async with stage.under_load() as load:
        await until_at_least(200, stage.handled)
        second = stage.start(CONSUMER)
        await until("the second has partitions", lambda: "partitions assigned" in second.tail(50))
        handled, written = await stage.handled(), load.written
        await until_at_least(handled + 200, stage.handled)
        await asyncio.to_thread(first.stop)
        await until_at_least(handled + 400, stage.handled)
        stage.start(CONSUMER)
        await until("writes go on", lambda: load.written >= written + 600)
        second.kill()
    return Outcome(await stage.verdict(), {"written": load.written})


async def worker_killed_before_the_offset_commit(stage: Stage) -> Outcome:
    stage.start(PUBLISHER)
    victim = stage.start(CONSUMER, "dies-before-offset-commit")
    await stage.write(EVENTS)
    await until("it died between the two commits", lambda: not victim.running)
    stage.start(CONSUMER)
    return Outcome(await stage.verdict())


async def worker_killed_while_it_catches_up(stage: Stage) -> Outcome:
    stage.start(PUBLISHER)
    first = stage.start(CONSUMER)
    await stage.write(EVENTS)
    await until_at_least(EVENTS, stage.handled)
    await asyncio.to_thread(first.stop)
    stage.later = True
    stage.pause_batches()
    victim = stage.start(CONSUMER)
    await until("a batch of the past is under way", stage.pause_file.exists)
    victim.kill()
    given, behind = await _caught_up(stage)
    if not given or not behind:
        raise FaultDidNotHappenError(f"{given} were given when it was killed, and {behind} left")
    stage.resume_batches()
    following = stage.start(CONSUMER)
    async with stage.under_load():
        await until("the next worker goes on", lambda: "catching up" in following.log.read_text())
        await until("it has caught up", lambda: "caught up" in following.log.read_text())
    begun = re.search(r"catching up .*records.*?=.*?(\d+)", following.log.read_text())
    if begun is None or int(begun[1]) != behind:
        raise AssertionError(f"{behind} were left, and the next worker began with {begun}")
    return Outcome(await stage.verdict(), {"given before the kill": given, "left to the next": behind})


async def _caught_up(stage: Stage) -> tuple[int, int]:
    """How many rows the later handler has left, and how many records it still lacks."""
    lacking = "select sum(until_offset - next_offset) from handler_catch_up where handler = $1"
    given = int(await stage.consumer.fetchval("select count(*) from later"))
    return given, int(await stage.consumer.fetchval(lacking, LATER) or 0)


async def relay_killed_before_the_mark(stage: Stage) -> Outcome:
    victim = stage.start(PUBLISHER, "dies-before-mark")
    stage.start(CONSUMER)
    await stage.write(EVENTS)
    await until("it died between acknowledgement and mark", lambda: not victim.running)
    stage.start(PUBLISHER)
    outcome = Outcome(await stage.verdict())
    await _states_came_in_order(stage)
    if not outcome.repeated:
        raise FaultDidNotHappenError("nothing was published twice")
    return outcome


async def frozen_relay_replaced_and_thawed(stage: Stage) -> Outcome:
    frozen = stage.start(PUBLISHER)
    stage.start(CONSUMER)
    await until_at_least(1, stage.term)
    async with stage.under_load() as load:
        await until_at_least(200, stage.published)
        frozen.freeze()
        stage.start(PUBLISHER)
        await until_at_least(2, stage.term)
        written = load.written
        frozen.thaw()
        await until("both are alive and writes go on", lambda: load.written >= written + 200)
    outcome = Outcome(await stage.verdict(), {"written while frozen": written})
    await _states_came_in_order(stage)
    return outcome


async def broker_stopped_while_the_api_accepts(stage: Stage) -> Outcome:
    stage.start(PUBLISHER)
    stage.start(CONSUMER)
    async with applicants(stage) as people, stage.under_load() as load:
        await until_at_least(200, stage.published)
        await asyncio.to_thread(stage.kafka.stop)
        try:
            before = load.written
            asked = await people.ask_without_broker(OUTAGE_SECONDS)
            written, backlog = load.written - before, await stage.backlog()
        finally:
            stage.kafka.start()
    if load.refused or written < 100 or backlog < written + len(asked):
        raise FaultDidNotHappenError(f"{load.refused} writes refused, {backlog} rows wait of {written} + {len(asked)}")
    outcome = Outcome(await stage.verdict(), {"accepted by the API": len(asked), "written beside it": written})
    await must_have_arrived(stage, asked)
    await _states_came_in_order(stage)
    return outcome


async def broker_wiped_and_filled_again(stage: Stage) -> Outcome:
    stage.start(PUBLISHER)
    stage.start(CONSUMER)
    await stage.write(EVENTS)
    before = await stage.verdict()
    if not before.clean:
        return Outcome(before)
    await asyncio.to_thread(stage.kafka.kill)
    await stage.write(EVENTS // 2)
    stage.kafka.wipe()
    report = await stage.verdict()
    if report.published <= before.published:
        raise FaultDidNotHappenError("nothing was published into the new life")
    return Outcome(report, {"filled again": sum(fact.on_kafka for fact in report.facts)})


async def postgres_restarted_under_load(stage: Stage) -> Outcome:
    stage.start(PUBLISHER)
    stage.start(CONSUMER)
    async with stage.under_load() as load:
        await until_at_least(100, stage.handled)
        await asyncio.to_thread(stage.postgres.kill)
        await until("a write is refused", lambda: load.refused > 0)
        stage.postgres.start()
        written = load.written
        await until("writes are accepted again", lambda: load.written >= written + 200)
    outcome = Outcome(await stage.verdict(), {"refused": load.refused})
    await _states_came_in_order(stage)
    return outcome


async def every_record_twice_and_out_of_order(stage: Stage) -> Outcome:
    stage.start(PUBLISHER)
    await stage.write(EVENTS)
    await until_at_least(EVENTS, stage.published)
    again = await traffic.publish_again(stage.kafka.bootstrap, *STREAMS)
    stage.start(CONSUMER)
    async with stage.under_load():
        again += await traffic.publish_again(stage.kafka.bootstrap, *STREAMS)
    outcome = Outcome(await stage.verdict(), {"published again": again})
    if outcome.repeated < again:
        raise FaultDidNotHappenError(f"of {again} repeated records only {outcome.repeated} were found")
    await _units_are_in_their_last_state(stage)
    return outcome


async def one_percent_poison(stage: Stage) -> Outcome:
    stage.start(PUBLISHER)
    stage.start(CONSUMER)
    await stage.write(EVENTS // 2)
    mixed = await traffic.poison(stage.kafka.bootstrap, each=2)
    async with transaction(stage.publisher) as conn:
        await outbox.add(conn, *[some_request(UNLUCKY) for _ in range(2)], now=datetime.now(UTC))
    await stage.write(EVENTS // 2)
    report = await stage.verdict()
    rows = await stage.consumer.fetch("select reason, count(*) as n from set_aside where state = 'dead' group by 1")
    dead = {row["reason"]: row["n"] for row in rows}
    expected = {"foreign": mixed.foreign, "undecodable": mixed.undecodable, "handler_failed": 2}
    told = len(await traffic.read(stage.kafka.bootstrap, f"medled.{CONSUMER}.dead-letters.v1"))
    skipped = report.skipped.get(CONSUMER, {})
    if dead != expected or told != sum(expected.values()):
        raise AssertionError(f"dead letters {dead}, {told} of them told; {expected} expected")
    if skipped != mixed.unknown:
        raise AssertionError(f"skipped {skipped}, expected {mixed.unknown}")
    seen = {"dead letters told": told, "skipped": sum(skipped.values())}
    return Outcome(report, seen, forged=mixed.foreign + mixed.undecodable + sum(mixed.unknown.values()))


FAULTS: dict[str, Scenario] = {
    "a worker is killed (-9) in the middle of a batch": worker_killed_in_a_batch,
    "a worker is killed between its commit and the offset commit": worker_killed_before_the_offset_commit,
    "a worker is killed (-9) while it catches up": worker_killed_while_it_catches_up,
    "workers come, go and are killed": workers_come_and_go,
    "the relay is killed between acknowledgement and mark": relay_killed_before_the_mark,
    "a frozen relay is replaced and thawed": frozen_relay_replaced_and_thawed,
    "the broker is stopped for 30 s while the API goes on accepting": broker_stopped_while_the_api_accepts,
    "the broker's data is wiped and filled again": broker_wiped_and_filled_again,
    "postgres is killed and restarted under load": postgres_restarted_under_load,
    "every record comes twice and out of order": every_record_twice_and_out_of_order,
    "one percent of the records is poison": one_percent_poison,
}


async def control_without_inbox(stage: Stage) -> Outcome:
    stage.start(PUBLISHER)
    await stage.write(EVENTS // 2)
    await until_at_least(EVENTS // 2, stage.published)
    again = await traffic.publish_again(stage.kafka.bootstrap, *STREAMS)
    stage.start(CONSUMER, "no-inbox")
    return Outcome(await stage.verdict(), {"published again": again})


async def control_offsets_before_effects(stage: Stage) -> Outcome:
    stage.pause_batches()
    stage.start(PUBLISHER)
    victim = stage.start(CONSUMER, "commits-before-processing")
    await stage.write(EVENTS // 2)
    await until("a batch is under way", stage.pause_file.exists)
    victim.kill()
    stage.resume_batches()
    stage.start(CONSUMER)
    return Outcome(await stage.verdict())


async def control_mark_before_acknowledgement(stage: Stage) -> Outcome:
    victim = stage.start(PUBLISHER, "marks-before-acknowledgement")
    stage.start(CONSUMER)
    await stage.write(EVENTS // 2)
    await until("it died between mark and acknowledgement", lambda: not victim.running)
    stage.start(PUBLISHER)
    return Outcome(await stage.verdict())


DOUBLING: dict[str, Scenario] = {"the inbox is switched off": control_without_inbox}
LOSING: dict[str, Scenario] = {
    "offsets are kept before the effects": control_offsets_before_effects,
    "rows are marked before the acknowledgement": control_mark_before_acknowledgement,
}


async def _states_came_in_order(stage: Stage) -> None:
    """On the log, each unit's states as they came first: repeated ones may follow, but no newer before an older."""
    seen: dict[bytes, int] = {}
    for record in await traffic.read(stage.kafka.bootstrap, UnitState.topic):
        headers = dict(record.headers)
        subject, sequence = headers["ce_subject"], int(headers["ce_sequence"])
        last = seen.get(subject, 0)
        if sequence > last + 1:
            raise AssertionError(f"state {sequence} of a unit came when {last} was its newest")
        seen[subject] = max(last, sequence)


async def _units_are_in_their_last_state(stage: Stage) -> None:
    last = await stage.publisher.fetch(
        "select distinct on (subject) subject::uuid as id, convert_from(payload, 'UTF8')::json->>'name' as name "
        "from outbox where type = $1 order by subject, seq desc",
        UnitState.type,
    )
    seen = await stage.consumer.fetch("select id, name from units_seen")
    if {tuple(row) for row in last} != {tuple(row) for row in seen}:
        raise AssertionError("a unit's older state replaced a newer one")
