"""Whom the sign-in page offers: the people worth being first, then everybody."""

import json
from pathlib import Path

from deploy.demo.sample import CO_LEADER, OFFICE, OPERATOR, Cast, Colleague, Organisation
from deploy.stack import write_private


def worth_being(organisation: Organisation) -> dict[str, str]:
    """People by login, and what is to be seen as each of them."""
    co_leader = organisation.by_login[CO_LEADER]
    manager = organisation.manager_of(co_leader)
    cast = Cast(organisation)
    busy = {*cast.applicants, *cast.later_applicants}
    peer = next(person for person in organisation.peers_of(co_leader) if person not in busy)
    return {
        OFFICE: "programme office: makes programmes and cohorts",
        co_leader.login: "co-leader: milestones, results",
        manager.login: "manager: requests to approve",
        peer.login: "colleague: may ask for a place",
        OPERATOR: "operator: the delivery log",
    }


def write_people(data: Path, organisation: Organisation) -> None:
    """Write the issuer's list into the stack's data directory."""
    notes = worth_being(organisation)
    first = [organisation.by_login[login] for login in notes]
    others = sorted((p for p in organisation.people if p.login not in notes), key=lambda p: p.name)
    entries = [_entry(person, notes.get(person.login)) for person in [*first, *others]]
    write_private(data / "issuer-people.json", json.dumps(entries, ensure_ascii=False, indent=1))


def _entry(person: Colleague, note: str | None) -> dict[str, str]:
    place = f"{person.title}, {person.unit.rpartition(' - ')[2]}"
    return {"sub": person.login, "name": person.name, "note": note or place}
