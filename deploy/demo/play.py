"""The demo from beginning to end: the scenes in order, then the summary."""

import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from deploy.demo import enrolling, leading
from deploy.demo.figures import Line, compare
from deploy.demo.house import DemoFailedError, entered, until
from deploy.demo.record import Record
from deploy.demo.sample import Cast, load_organisation
from deploy.demo.signing_in import write_people
from deploy.demo.stage import Stage
from deploy.services import find_service
from deploy.stack import Stack
from deploy.verify import Report, verify
from shared.clock import Clock

Say = Callable[[str], None]
_SETTLING_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Scene:
    """One part of the play. It may be played again from its beginning when it was interrupted."""

    name: str
    title: str
    play: Callable[[Stage], Awaitable[None]]


SCENES: Sequence[Scene] = (
    Scene("people", "People arrive from the HR platform", enrolling.people_arrive),
    Scene("programme", "A programme is published", enrolling.programme_is_published),
    Scene("requests", "People ask for a place", enrolling.people_ask),
    Scene("answers", "Managers answer", enrolling.managers_answer),
    Scene("withdrawal", "Somebody withdraws", enrolling.somebody_withdraws),
    Scene("milestones", "Milestones are reached, feedback rounds open", leading.milestones_are_reached),
    Scene("respondents", "People around answer", leading.people_respond),
    Scene("closing", "Time passes, rounds close", leading.rounds_close),
    Scene("results", "Results are read, by one person each", leading.results_are_read),
    Scene("left", "Something is left for you", leading.something_is_left),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the demo ended with. `is_sound`: every figure ties up, and nothing was lost or doubled."""

    record: Record
    lines: Sequence[Line]
    verified: Report
    again: bool

    @property
    def is_sound(self) -> bool:
        return self.verified.clean and all(line.ties_up for line in self.lines)


async def play(stack: Stack, say: Say) -> Outcome:
    """Play what has not been played on this data yet, and compare. Raises DemoFailedError."""
    organisation, record = load_organisation(), Record.load(stack.data)
    write_people(stack.data, organisation)
    async with entered(stack.public_url) as house:
        stage = Stage(stack, house, organisation, Cast(organisation), record, lambda line: say(f"   {line}"))
        again = record.finished_at is not None
        if again:
            say(f"This data holds a demo played on {record.finished_at:%Y-%m-%d %H:%M} UTC; it is kept as it is.")
        else:
            await _play_scenes(stage, say)
        verified = await _verify(stack)
        return Outcome(record, await _settled(stage, with_played=not again), verified, again)


async def _play_scenes(stage: Stage, say: Say) -> None:
    record = stage.record
    if record.scenes:
        say("A demo on this data was interrupted; it goes on where it was.")
    for number, scene in enumerate(SCENES, start=1):
        if scene.name in record.scenes:
            continue
        say(f"\n{number}. {scene.title}")
        before = record.model_copy(deep=True)
        began = time.monotonic()
        try:
            await scene.play(stage)
        except DemoFailedError as reason:
            before.save(stage.stack.data)
            raise DemoFailedError(f"{scene.title}: {reason} (logs: {stage.stack.logs})") from reason
        record.scenes.append(scene.name)
        record.save(stage.stack.data)
        stage.say(f"({time.monotonic() - began:.1f} s)")
    record.finish(stage.stack.data)


async def _settled(stage: Stage, *, with_played: bool) -> list[Line]:
    """The comparison; the portal may be a moment behind, so sides that differ are asked again for a while."""
    lines: list[Line] = []

    async def look() -> bool:
        nonlocal lines
        lines = await compare(stage, with_played=with_played)
        return all(line.ties_up for line in lines)

    with contextlib.suppress(DemoFailedError):  # the summary shows which do not
        await until("all figures tied up", look, _SETTLING_SECONDS)
    return lines


async def _verify(stack: Stack) -> Report:
    """What `medled verify` says of this stack."""
    handlers = {service: find_service(service).handlers for service in stack.databases}
    timers = {service: list(find_service(service).timers) for service in stack.databases}
    clock = Clock(stack.clock_file)
    return await verify(stack.databases, stack.kafka_bootstrap, handlers, timers=timers, clock=clock)
