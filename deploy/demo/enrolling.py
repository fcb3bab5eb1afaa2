"""The first half: people arrive, a programme is published, people ask for a place and are answered."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from deploy.demo.house import DemoFailedError, until
from deploy.demo.sample import CO_LEADER, OFFICE, OPERATOR, PEOPLE_FILE, Colleague, load_programme
from deploy.demo.stage import Stage
from deploy.hr_import import send_and_follow
from deploy.people import give
from shared.events import Role

_COHORT_DAYS = 120


async def people_arrive(stage: Stage) -> None:
    """The HR export goes through the import API; the first roles are granted on the command line."""
    ended = await send_and_follow(PEOPLE_FILE, {}, stage.stack.data)
    if ended["status"] != "done":
        raise DemoFailedError(f"The sample export was {ended['status']}: {ended['report']['refusal']}")
    people = len(stage.organisation.people)
    stage.record.tally["people"] = people
    units = len(stage.organisation.units)
    stage.say(f"{people} people in {units} units came from {PEOPLE_FILE.name}: who they are, and who reports to whom.")
    await give(OFFICE, Role.programme_office, None, stage.stack.data)
    await give(OPERATOR, Role.operator, None, stage.stack.data)
    office, operator = (stage.organisation.by_login[login].name for login in (OFFICE, OPERATOR))
    stage.say(f"{office} is the programme office now, {operator} looks after operations (medled grant).")
    await until("every service knew the people and the roles", lambda: _known_everywhere(stage))
    stage.say("Every service has learned of them from the event streams; none has asked another.")


async def _known_everywhere(stage: Stage) -> bool:
    paths = ("/enrolment/v1/people", "/notifications/v1/deliveries", "/feedback/v1/rounds", "/portal/v1/overview")
    office_answers = [await stage.house.ask(OFFICE, path, **_few(path)) for path in paths]
    operator = await stage.house.ask(OPERATOR, "/notifications/v1/deliveries", limit=1)
    return all(answer.status_code == httpx.codes.OK for answer in (*office_answers, operator))


def _few(path: str) -> dict[str, int]:
    return {} if path.endswith("overview") else {"limit": 1}


async def programme_is_published(stage: Stage) -> None:
    """The programme office makes a programme, publishes it and opens a cohort."""
    house, record, sample = stage.house, stage.record, load_programme()
    made = await house.post(OFFICE, "/enrolment/v1/programmes", sample["programme"])
    record.programme_id = made["programme_id"]
    await house.post(OFFICE, f"/enrolment/v1/programmes/{record.programme_id}/versions/1/publish")
    await open_cohort(stage, "first", starts_in=14)
    title, milestones = sample["programme"]["title"]["en"], sample["programme"]["milestones"]
    asking = sum("feedback" in milestone for milestone in milestones)
    places = sample["cohorts"]["first"]["capacity"]
    stage.say(
        f"“{title}” has {len(milestones)} milestones; {asking} of them open a feedback round. "
        f"The cohort {sample['cohorts']['first']['name']} has {places} places."
    )


async def open_cohort(stage: Stage, which: str, *, starts_in: int) -> None:
    """Plan one of the sample's cohorts, `starts_in` days from now, and let people ask for a place."""
    first_day = (datetime.now(UTC) + timedelta(days=starts_in)).date()
    planned = await stage.house.post(
        OFFICE,
        "/enrolment/v1/cohorts",
        {
            "programme_id": stage.record.programme_id,
            **load_programme()["cohorts"][which],
            "starts_on": first_day.isoformat(),
            "ends_on": (first_day + timedelta(days=_COHORT_DAYS)).isoformat(),
        },
        key=f"cohort-{which}",
    )
    await stage.house.post(OFFICE, f"/enrolment/v1/cohorts/{planned['id']}/open")
    stage.record.cohorts[which] = planned["id"]


async def people_ask(stage: Stage) -> None:
    """Everybody asks for themselves; each request goes to the person's manager by mail."""
    applicants = stage.cast.applicants
    asked = await asyncio.gather(*(ask_for_place(stage, person, "first") for person in applicants))
    stage.record.enrolments = {person.login: each["id"] for person, each in zip(applicants, asked, strict=True)}
    await stage.mail_is_out()
    stage.say(f"{len(applicants)} people ask for a place, each for themselves. Their managers get a mail.")


async def ask_for_place(stage: Stage, person: Colleague, which: str) -> dict[str, Any]:
    """One request, as this person."""
    stage.record.tally.update(requested=1, mails=1)
    asked: dict[str, Any] = await stage.house.post(
        person.login, "/enrolment/v1/enrolments", {"cohort_id": stage.record.cohorts[which]}, key=f"ask-{which}"
    )
    return asked


async def managers_answer(stage: Stage) -> None:
    """Managers answer at the same time; the cohort's places decide who is active and who waits."""
    cast, tally = stage.cast, stage.record.tally
    first, *others = cast.approved
    answers = [await _answer(stage, first, "approve")]
    answers += await asyncio.gather(*(_answer(stage, person, "approve") for person in others))
    await asyncio.gather(*(_answer(stage, person, "decline") for person in cast.declined))
    active = {person.login for person, each in zip(cast.approved, answers, strict=True) if each["status"] == "active"}
    stage.record.active = [person.login for person in cast.approved if person.login in active]
    tally.update(active=len(active), waitlisted=len(answers) - len(active), declined=len(cast.declined))
    tally.update(mails=len(answers) + len(cast.declined))
    stage.say(
        f"Managers approve {len(answers)} and decline {len(cast.declined)}; one request stays unanswered. "
        f"{len(active)} got a place, {len(answers) - len(active)} wait, in the order of approval."
    )


async def _answer(stage: Stage, person: Colleague, answer: str) -> dict[str, Any]:
    manager = stage.organisation.manager_of(person)
    path = f"/enrolment/v1/enrolments/{stage.record.enrolments[person.login]}/{answer}"
    answered: dict[str, Any] = await stage.house.post(manager.login, path)
    return answered


async def somebody_withdraws(stage: Stage) -> None:
    """One place is given back; whoever waits longest gets it in the same transaction."""
    record = stage.record
    leaver = next(login for login in reversed(record.active) if login != CO_LEADER)
    waiting = await stage.house.all_of(
        OFFICE, "/enrolment/v1/enrolments", cohort=record.cohorts["first"], status="waitlisted"
    )
    await stage.house.post(leaver, f"/enrolment/v1/enrolments/{record.enrolments[leaver]}/withdraw")
    active = await stage.house.all_of(
        OFFICE, "/enrolment/v1/enrolments", cohort=record.cohorts["first"], status="active"
    )
    by_id = {enrolment: login for login, enrolment in record.enrolments.items()}
    [promoted] = [login for each in active if (login := by_id[each["id"]]) not in record.active]
    next_ = by_id[min(waiting, key=lambda each: int(each["position"]))["id"]]
    if len(waiting) == record.tally["waitlisted"] and next_ != promoted:
        raise DemoFailedError(f"{promoted} got the place, although {next_} was next.")
    record.promoted = promoted
    record.active = [login for login in record.active if login != leaver] + [promoted]
    record.tally.update(withdrawn=1, waitlisted=-1, mails=2)
    await stage.mail_is_out()
    name = {login: stage.organisation.by_login[login].name for login in (leaver, promoted)}
    stage.say(f"{name[leaver]} withdraws; {name[promoted]}, first in line, gets the place. Both get a mail about it.")
