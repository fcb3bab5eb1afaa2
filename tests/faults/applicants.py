"""People who ask enrolment's real API for places, over HTTP: theirs to say whether it goes on without a broker."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

import httpx

from shared.events import EnrolmentRequested
from tests.enrolment.world import ok, opened
from tests.faults import traffic
from tests.faults.stage import PUBLISHER, FaultDidNotHappenError, Stage

_PEOPLE = 150
_PATIENCE_SECONDS = 10.0


@dataclass(frozen=True)
class Applicants:
    """People signed in at the API process, none of whom has asked yet, and a cohort with a place for each."""

    api: httpx.AsyncClient
    cohort_id: str
    sessions: Sequence[dict[str, str]]

    async def ask_without_broker(self, seconds: float) -> set[UUID]:
        """Each asks once, spread over this time; gives the enrolments. Nothing is asked a second time.

        Raises AssertionError when the API refuses anybody or calls itself not ready, FaultDidNotHappenError when it
        sees a broker.
        """
        accepted = set()
        for session in self.sessions:
            enrolment, _ = await asyncio.gather(self._ask(session), asyncio.sleep(seconds / len(self.sessions)))
            readiness = await ok(self.api.get("/health/ready"))
            if readiness["broker"]["reachable"]:
                raise FaultDidNotHappenError(f"the broker was there: {readiness}")
            accepted.add(enrolment)
        return accepted

    async def _ask(self, session: dict[str, str]) -> UUID:
        cookie = {"cookie": "; ".join(f"{name}={value}" for name, value in session.items())}
        request = self.api.post("/enrolment/v1/enrolments", json={"cohort_id": self.cohort_id}, headers=cookie)
        return UUID((await ok(request, 201))["id"])


@asynccontextmanager
async def applicants(stage: Stage) -> AsyncIterator[Applicants]:
    """An API process on the publisher's database, which is furnished through an API of our own."""
    async with opened(stage.databases[PUBLISHER], stage.directory) as world:
        cohort_id = await world.cohort(await world.office(), capacity=_PEOPLE)
        logins = [f"applicant-{nth}" for nth in range(_PEOPLE)]
        await world.people(logins)
        sessions = [dict(world.client(login).cookies) for login in logins]
    async with httpx.AsyncClient(
        base_url=await stage.start_api(), headers={"sec-fetch-site": "same-origin"}, timeout=_PATIENCE_SECONDS,
        trust_env=False,
    ) as api:  # fmt: skip
        yield Applicants(api, cohort_id, sessions)


async def must_have_arrived(stage: Stage, enrolments: set[UUID]) -> None:
    """Raises AssertionError unless each of these requests was told on Kafka and has had its effect."""
    told = {
        UUID(headers["ce_subject"].decode())
        for record in await traffic.read(stage.kafka.bootstrap, EnrolmentRequested.topic)
        if (headers := dict(record.headers))["ce_type"] == EnrolmentRequested.type.encode()
    }
    effects = {UUID(row["subject"]) for row in await stage.consumer.fetch("select subject from effects")}
    if not enrolments <= told & effects:
        raise AssertionError(
            f"of {len(enrolments)} accepted requests {len(enrolments - told)} are not on Kafka and "
            f"{len(enrolments - effects)} had no effect"
        )
