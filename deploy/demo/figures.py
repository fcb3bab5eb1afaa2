"""What was played, beside what the services, the portal and the mail folder say of it."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from deploy.demo.mailbox import read_mail
from deploy.demo.sample import OFFICE, OPERATOR
from deploy.demo.stage import Stage

ENROLMENTS = ("requested", "active", "waitlisted", "declined", "withdrawn", "expired")


@dataclass(frozen=True, slots=True)
class Line:
    """One figure from every side that knows it; None where a side does not."""

    what: str
    played: int | None = None
    services: int | None = None
    portal: int | None = None
    mail: int | None = None

    @property
    def ties_up(self) -> bool:
        """Whether all who know the figure agree."""
        known = {self.played, self.services, self.portal, self.mail} - {None}
        return len(known) <= 1


@dataclass(frozen=True, slots=True)
class _Sides:
    services: Mapping[str, int]
    portal: Mapping[str, int]
    mail: Mapping[str, int]


async def compare(stage: Stage, *, with_played: bool) -> list[Line]:
    """Every figure from every side. Without `with_played` the sides are only held against each other."""
    services, portal = await asyncio.gather(_by_services(stage), _by_portal(stage))
    mails = read_mail(stage.stack.mail)
    by_mail = {"mails": len(mails), "invitations": sum(mail.link is not None for mail in mails)}
    sides = _Sides(services, portal, by_mail)
    played = _by_record(stage) if with_played else {}
    return [
        Line(what.replace("_", " "), played.get(key), *(side.get(key) for side in (sides.services, portal, by_mail)))
        for key, what in _WORDS.items()
    ]


_WORDS = {
    "people": "people imported",
    "asked": "requests for a place",
    "requested": "  not answered yet",
    "active": "  active",
    "waitlisted": "  waitlisted",
    "declined": "  declined",
    "withdrawn": "  withdrawn",
    "expired": "  expired unanswered",
    "milestones": "milestones reached",
    "attested": "  attested by the manager",
    "rounds": "feedback rounds opened",
    "open": "  still open",
    "closed": "  closed",
    "released": "  results released",
    "withheld": "  withheld, too few answers",
    "invitations": "invitations mailed",
    "mails": "mails delivered",
    "answers": "answers given, sealed",
    "figures_rest_on": "  that released figures rest on",
}


def _by_record(stage: Stage) -> dict[str, int]:
    tally = stage.record.tally
    return {
        "people": tally["people"],
        "asked": tally["requested"],
        "requested": tally["left_to_answer"],
        **{name: tally[name] for name in ENROLMENTS[1:]},
        "milestones": tally["reached"] + tally["attested"],
        "attested": tally["attested"],
        "rounds": tally["opened"],
        "open": tally["opened"] - tally["released"] - tally["withheld"],
        "closed": tally["released"] + tally["withheld"],
        "released": tally["released"],
        "withheld": tally["withheld"],
        "invitations": tally["invitations"],
        "mails": tally["mails"],
        "answers": tally["answers"],
        "figures_rest_on": tally["figures_rest_on"],
    }


async def _by_services(stage: Stage) -> dict[str, int]:
    """Each service asked about its own, by the APIs that people use."""
    house = stage.house
    people = await house.all_of(OFFICE, "/enrolment/v1/people")
    enrolments = [
        each
        for cohort in stage.record.cohorts.values()
        for each in await house.all_of(OFFICE, "/enrolment/v1/enrolments", cohort=cohort)
    ]
    status = Counter(each["status"] for each in enrolments)
    steps = await _milestones(stage)
    rounds, figures_rest_on = await _rounds(stage)
    deliveries = await stage.deliveries()
    invitations = await house.all_of(OPERATOR, "/notifications/v1/deliveries", kind="invitation", status="sent")
    return {
        "people": len(people),
        "asked": len(enrolments),
        **{name: status[name] for name in ENROLMENTS},
        "milestones": steps["reached"] + steps["attested"],
        "attested": steps["attested"],
        **_of_rounds(rounds),
        "invitations": len(invitations),
        "mails": deliveries["sent"],
        "figures_rest_on": figures_rest_on,
    }


async def _milestones(stage: Stage) -> Counter[str]:
    paths = [f"/enrolment/v1/enrolments/{enrolment}/milestones" for enrolment in stage.record.enrolments.values()]
    journeys = await asyncio.gather(*(stage.house.get(OFFICE, path) for path in paths))
    return Counter(milestone["status"] for journey in journeys for milestone in journey["milestones"])


async def _rounds(stage: Stage) -> tuple[Counter[str], int]:
    """States of the rounds as their co-leaders see them, and how many answers the figures shown to them rest on."""
    lists = await asyncio.gather(*(stage.house.all_of(login, "/feedback/v1/rounds") for login in stage.record.leading))
    states = Counter(each["state"] for rounds in lists for each in rounds)
    asked = [
        stage.house.get(login, f"/feedback/v1/rounds/{each['id']}/results")
        for login, rounds in zip(stage.record.leading, lists, strict=True)
        for each in rounds
        if each["state"] == "released"
    ]
    reports = await asyncio.gather(*asked)
    shown = [{f["group"]: f["n"] for f in each["figures"] if f["state"] == "released"} for each in reports]
    return states, sum(sum(groups.values()) for groups in shown)


async def _by_portal(stage: Stage) -> dict[str, int]:
    figures = await stage.overview()
    enrolments, milestones = figures["enrolments"], figures["milestones"]
    return {
        "asked": sum(enrolments.values()),
        **{name: enrolments[name] for name in ENROLMENTS},
        "milestones": milestones["reached"],
        "attested": milestones["attested"],
        **_of_rounds(Counter(figures["rounds"])),
        "mails": figures["deliveries"]["sent"],
    }


def _of_rounds(states: Counter[str]) -> dict[str, int]:
    return {
        "rounds": states.total(),
        "open": states["open"],
        "closed": states["released"] + states["withheld"],
        "released": states["released"],
        "withheld": states["withheld"],
    }
