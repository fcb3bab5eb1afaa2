"""The second half: milestones, the feedback rounds they open, the people around who answer, the results."""

import asyncio
import random
from collections.abc import Collection

import httpx

from deploy.demo.answering import Deed, respond
from deploy.demo.enrolling import ask_for_place, open_cohort
from deploy.demo.house import DemoFailedError, until
from deploy.demo.mailbox import Mail, read_mail
from deploy.demo.sample import CO_LEADER, OPERATOR, Colleague, Organisation
from deploy.demo.stage import Stage

HOUR, DAY = 3600.0, 86400.0
_LEADING, _ATTESTED, _IMPROVING = 8, 6, 3
_COMPLETE, _PARTLY = 5, 2  # rounds that everybody answers, and that all but one do; in the others hardly anybody does
_K = 5


async def milestones_are_reached(stage: Stage) -> None:
    """Co-leaders reach milestones, managers attest some; the second milestone opens a round for each."""
    record = stage.record
    active = [stage.organisation.by_login[login] for login in record.active]
    await asyncio.gather(*(_reach(stage, person, "mandate") for person in active))
    await asyncio.gather(*(_attest(stage, person, "mandate") for person in active[:_ATTESTED]))
    record.tally.update(reached=len(active) - _ATTESTED, attested=_ATTESTED)
    stage.say(f"{len(active)} co-leaders have agreed their mandate; {_ATTESTED} managers have attested it so far.")
    record.leading = record.active[:_LEADING]
    await asyncio.gather(*(_lead_first_meeting(stage, login) for login in record.leading))
    record.tally.update(reached=_LEADING, opened=_LEADING)
    expected = sum(len(invited(stage, stage.organisation.by_login[login])) for login in record.leading)
    record.tally.update(invitations=expected, mails=expected)
    await stage.mail_is_out()
    stage.say(
        f"{_LEADING} of them have led a first meeting. Each time, feedback opened a round automatically: {expected} "
        "invitations went out, in Swedish or English, to the co-leaders, their managers and their peers."
    )
    await _must_be_one_trace(stage)


async def _must_be_one_trace(stage: Stage) -> None:
    """The invitations that a request led to belong to its trace, through two services and Kafka twice."""
    log = await stage.house.all_of(OPERATOR, "/notifications/v1/deliveries", kind="invitation")
    found = sum(each["trace_id"] == stage.record.trace_id for each in log)
    expected = len(invited(stage, stage.organisation.by_login[CO_LEADER]))
    if found != expected:
        raise DemoFailedError(f"{found} invitations carry the trace of the request that led to {expected}.")


async def _lead_first_meeting(stage: Stage, login: str) -> None:
    trace_id = await _reach(stage, stage.organisation.by_login[login], "first_meeting")
    if login == CO_LEADER:
        stage.record.trace_id = trace_id


async def _reach(stage: Stage, person: Colleague, key: str) -> str:
    """The id of the trace it was done in."""
    enrolment = stage.record.enrolments[person.login]
    path = f"/enrolment/v1/enrolments/{enrolment}/milestones/{key}/reach"
    return await stage.house.trace_of(person.login, path)


async def _attest(stage: Stage, person: Colleague, key: str) -> None:
    manager = stage.organisation.manager_of(person)
    enrolment = stage.record.enrolments[person.login]
    await stage.house.post(manager.login, f"/enrolment/v1/enrolments/{enrolment}/milestones/{key}/attest")


def invited(stage: Stage, subject: Colleague) -> list[Colleague]:
    """Whom a round about this person asks; the sample's teams are small enough that no peer is left out."""
    return [subject, stage.organisation.manager_of(subject), *stage.organisation.peers_of(subject)]


async def people_respond(stage: Stage) -> None:
    """Respondents open the link in their mail and answer on the page; some decline, some never find the time."""
    leading = [stage.organisation.by_login[login] for login in stage.record.leading]
    deeds = {subject.login: _deeds(stage, subject, place) for place, subject in enumerate(leading)}
    counts = await _go_through_mail(stage, deeds)
    stage.say(
        f"{counts[Deed.answer]} people answer on the page behind their link, {_declined(counts[Deed.decline])}, "
        f"{counts[Deed.nothing]} never find the time. Each answer is sealed as it arrives; nobody can open it yet."
    )


def _declined(count: int) -> str:
    return "one declines" if count == 1 else f"{count} decline"


def _deeds(stage: Stage, subject: Colleague, place: int) -> dict[str, Deed]:
    """What everybody does who was invited to the round at this place, by login."""
    asked = [person.login for person in invited(stage, subject)]
    deeds = dict.fromkeys(asked, Deed.answer)
    if place == 1:
        deeds[asked[-1]] = Deed.decline
    if _COMPLETE <= place < _COMPLETE + _PARTLY:
        deeds[asked[-1]] = Deed.nothing
    if place >= _COMPLETE + _PARTLY:  # the manager and most peers say nothing: too little to show
        deeds |= dict.fromkeys([asked[1], *asked[4:]], Deed.nothing)
    return deeds


async def _go_through_mail(stage: Stage, deeds: dict[str, dict[str, Deed]]) -> dict[Deed, int]:
    """Do with every unread invitation what is planned: by subject's login and recipient's login."""
    record = stage.record
    unread = read_mail(stage.stack.mail, known=set(record.mails_read))
    todo = [(mail, _subject(stage, mail, deeds)) for mail in unread if mail.link is not None]
    counts = dict.fromkeys(Deed, 0)
    gate = asyncio.Semaphore(8)

    async def one(mail: Mail, subject: Colleague) -> None:
        recipient = stage.organisation.by_address[mail.address]
        deed = deeds[subject.login][recipient.login]
        counts[deed] += 1
        group = _group(stage, recipient, subject)
        if deed is Deed.answer:
            by_group = record.answered.setdefault(subject.login, {})
            by_group[group] = by_group.get(group, 0) + 1
        if deed is not Deed.nothing:
            seed = f"{recipient.login} about {subject.login}"
            async with gate:
                await respond(stage.house.http, mail.link or "", deed, seed=seed, level=_level(subject, group))

    await asyncio.gather(*(one(mail, subject) for mail, subject in todo))
    record.mails_read = sorted({*record.mails_read, *(mail.file for mail in unread)})
    record.tally.update(answers=counts[Deed.answer])
    return counts


def _subject(stage: Stage, mail: Mail, subjects: Collection[str]) -> Colleague:
    """Whom the mail asks about: the co-leader whose name it gives, or the recipient."""
    for login in subjects:
        colleague = stage.organisation.by_login[login]
        if colleague.name in mail.subject and colleague.email != mail.address:
            return colleague
    return stage.organisation.by_address[mail.address]


def _group(stage: Stage, recipient: Colleague, subject: Colleague) -> str:
    if recipient == subject:
        return "self"
    return "manager" if recipient == stage.organisation.manager_of(subject) else "peer"


def _level(subject: Colleague, group: str) -> float:
    """How well a group thinks of a subject: everybody is different, and oneself is one's own mildest critic or not."""
    return random.Random(f"{subject.login} {group}").uniform(3.1, 4.5)


async def rounds_close(stage: Stage) -> None:
    """An hour later complete rounds close, two weeks later the others; what too few answered is withheld."""
    tally, rest = stage.record.tally, _LEADING - _COMPLETE
    stage.time_passes(HOUR + 60)
    await _rounds_stand(stage, released=_COMPLETE, withheld=0)
    stage.say(f"The clock moves on an hour. {_COMPLETE} rounds that everybody has answered are closed and released.")
    stage.time_passes(15 * DAY)
    withheld = rest - _PARTLY
    await _rounds_stand(stage, released=_COMPLETE + _PARTLY, withheld=withheld)
    tally.update(released=_COMPLETE + _PARTLY, withheld=withheld, expired=1, mails=_LEADING + 1)
    await until("the unanswered request expired", lambda: _has_expired(stage))
    await stage.mail_is_out()
    stage.say(
        f"Two weeks pass. The other {rest} rounds close by time: {_PARTLY} are released, {withheld} is withheld since "
        "too few answered. The request nobody answered expires."
    )


async def _rounds_stand(stage: Stage, *, released: int, withheld: int) -> None:
    async def look() -> bool:
        rounds = (await stage.overview())["rounds"]
        return bool(rounds["released"] >= released and rounds["withheld"] >= withheld)

    await until(f"{released} rounds were released and {withheld} withheld", look)


async def _has_expired(stage: Stage) -> bool:
    return bool((await stage.overview())["enrolments"]["expired"])


async def results_are_read(stage: Stage) -> None:
    """Every co-leader reads their own results; whoever else tries learns not even that they exist."""
    for login in stage.record.leading:
        await _read_own(stage, login)
    [round_] = await stage.house.all_of(
        CO_LEADER,
        "/feedback/v1/rounds",
    )
    amina = stage.organisation.by_login[CO_LEADER]
    curious = [stage.organisation.manager_of(amina), stage.organisation.peers_of(amina)[0]]
    for person in curious:
        answer = await stage.house.ask(person.login, f"/feedback/v1/rounds/{round_['id']}/results")
        if answer.status_code != httpx.codes.NOT_FOUND:
            raise DemoFailedError(f"{person.name} was answered {answer.status_code} for somebody else's results.")
    stage.say(
        f"{amina.name} reads her results. {curious[0].name}, her manager, and {curious[1].name}, a peer, try: "
        "404, there is no such round about them."
    )


async def _read_own(stage: Stage, login: str) -> None:
    """The figures rest on exactly the answers that were given; groups under k are hidden."""
    [round_] = await stage.house.all_of(login, "/feedback/v1/rounds")
    results = await stage.house.get(login, f"/feedback/v1/rounds/{round_['id']}/results")
    shown = {f["group"]: f["n"] for f in results["figures"] if f["state"] == "released"}
    given = stage.record.answered[login]
    expected = {group: n for group, n in given.items() if group in ("self", "manager") or n >= _K}
    if round_["state"] == "withheld":
        expected = {}
    if shown != expected:
        raise DemoFailedError(f"The results of {login} rest on {shown} answers; given were {given}.")
    stage.record.tally.update(figures_rest_on=sum(shown.values()))


async def something_is_left(stage: Stage) -> None:
    """For whoever tries the demo next: rounds to answer, requests to approve."""
    record = stage.record
    improving = [stage.organisation.by_login[login] for login in record.leading[:_IMPROVING]]
    await asyncio.gather(*(_reach(stage, person, "improvement") for person in improving))
    expected = sum(len(invited(stage, person)) for person in improving)
    record.tally.update(reached=_IMPROVING, opened=_IMPROVING, invitations=expected, mails=expected)
    await open_cohort(stage, "next", starts_in=45)
    later = stage.cast.later_applicants
    await asyncio.gather(*(ask_for_place(stage, person, "next") for person in later))
    record.tally.update(left_to_answer=len(later))
    await stage.mail_is_out()
    deeds = {person.login: _half(stage, person) for person in improving}
    counts = await _go_through_mail(stage, deeds)
    stage.say(
        f"{_IMPROVING} co-leaders have put an improvement in place, and {counts[Deed.answer]} people have answered in "
        f"their new rounds, which are left open for you. {len(later)} people wait for an answer to their request for a "
        "place in the next cohort."
    )


def left_to_answer(organisation: Organisation, subject: Colleague) -> list[Colleague]:
    """Every second peer, whose invitation is left for whoever tries the demo."""
    return organisation.peers_of(subject)[1::2]


def _half(stage: Stage, subject: Colleague) -> dict[str, Deed]:
    """The other peers answer; oneself and the manager are left too."""
    left = left_to_answer(stage.organisation, subject)
    peers = stage.organisation.peers_of(subject)
    return {
        person.login: Deed.answer if person in peers and person not in left else Deed.nothing
        for person in invited(stage, subject)
    }
