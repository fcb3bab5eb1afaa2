"""A verification as a person follows it: what is being done, and each verdict as soon as it stands."""

import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

from deploy.output import many, note, say
from deploy.verify.report import Copy, Fact, Foreign, Report, Subscription, Verdict
from shared.events import REGISTRY
from shared.messaging.handler import Handler

INTERVAL_SECONDS = 5.0  # between lines about progress where nobody watches a terminal
_HEAD = ("event, and who takes it", "published", "arrived", "")

Line: TypeAlias = tuple[str, object, object, str]


class Progress:
    """On stderr: one line on a terminal, written over and over; elsewhere a line every now and then."""

    def __init__(self) -> None:
        self._on_terminal = sys.stderr.isatty()
        self._last = time.monotonic()

    def tell(self, what: str) -> None:
        """This is being done now."""
        if self._on_terminal:
            sys.stderr.write(f"\r\x1b[K{what[:100]}")
            sys.stderr.flush()
        elif time.monotonic() - self._last >= INTERVAL_SECONDS:
            self._last = time.monotonic()
            note(what)

    def clear(self) -> None:
        """Make room for a line of the result."""
        if self._on_terminal:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


class Printer:
    """Lines in columns, which stand before the first of them is known."""

    def __init__(self, handlers: Mapping[str, Sequence[Handler]], progress: Progress) -> None:
        takers = [_taker(service, each.name) for service, subscribed in handlers.items() for each in subscribed]
        self._width = max(map(len, (*_HEAD, *REGISTRY, *takers)))
        self._progress = progress
        self._begun = False
        self._printed: list[Subscription] = []

    def verdict(self, verdict: Verdict) -> None:
        """The types of one topic."""
        self._printed += verdict.subscriptions
        self._print(_lines(verdict.facts, verdict.subscriptions))

    def copy(self, copy: Copy) -> None:
        """One table of one service, where something is wrong with it; else it shows in the last line."""
        if copy.faults:
            self._print([(f"{copy.service}'s {copy.table}", copy.rows, "", _fate_of_copy(copy))])

    def rest(self, report: Report) -> None:
        """What belongs to no topic, and what the whole came to."""
        self._print(_lines([], [each for each in report.subscriptions if each not in self._printed]))
        for record in report.foreign_records:
            say(_foreign(record))
        if (more := report.foreign - len(report.foreign_records)) > 0:
            say(f"and {many(more, 'foreign record')} more")
        _summary(report)

    def _print(self, lines: Iterable[Line]) -> None:
        for label, published, arrived, fate in lines:
            self._progress.clear()
            if not self._begun:
                self._begun = True
                say(self._in_columns(*_HEAD))
            say(self._in_columns(label, published, arrived, fate))

    def _in_columns(self, label: str, published: object, arrived: object, fate: str) -> str:
        return f"{label:<{self._width}}  {published:>9}  {arrived:>9}  {fate}".rstrip()


def _lines(facts: Sequence[Fact], subscriptions: Sequence[Subscription]) -> Iterator[Line]:
    by_type = {fact.type: fact for fact in facts}
    for name in sorted(by_type.keys() | {each.type for each in subscriptions}):
        fact = by_type.get(name)
        yield (name, fact.published, fact.on_kafka, _fate_of(fact)) if fact else (name, "", "", "")
        for each in subscriptions:
            if each.type == name:
                yield f"  {_taker(each.service, each.handler)}", each.published, each.applied, _fate_at(each)


def _taker(service: str, handler: str) -> str:
    """The directory's handlers have the same name in every service."""
    return handler if handler.startswith(service) else f"{handler} in {service}"


def _fate_of(fact: Fact) -> str:
    """What stands beside the two numbers of a type: only what is not nothing."""
    return _words(
        ("replaced by a newer state", fact.replaced), ("repeated", fact.repeated), ("older than kept", fact.expired),
        ("older than its outbox", fact.too_old), (f"MISSING ON KAFKA {', '.join(fact.missing_ids)}", fact.missing),
    )  # fmt: skip


def _fate_at(each: Subscription) -> str:
    return _words(
        ("superseded", each.superseded), ("parked", each.parked), ("dead", each.dead),
        ("waiting", each.waiting), (f"LOST {', '.join(each.lost_ids)}", each.lost),
        (f"DOUBLED {', '.join(each.doubled_ids)}", each.doubled),
    )  # fmt: skip


def _fate_of_copy(copy: Copy) -> str:
    fields = ", ".join(f"{name} {count}" for name, count in copy.fields.items())
    shared = "; ".join(" and ".join(people) for people in copy.duplicate_ids)
    return _words(
        (f"GHOSTS, not at {copy.owner} {', '.join(copy.ghost_ids)}", copy.ghosts),
        (f"MISSING, only at {copy.owner} {', '.join(copy.missing_ids)}", copy.missing),
        (f"DIFFERENT ({fields}) {', '.join(copy.differing_ids)}", copy.differing),
        (f"LOGINS HELD TWICE by {shared}", copy.duplicates),
    )


def _foreign(record: Foreign) -> str:
    what = f"{record.type or '(undecodable)'} about {record.subject or 'nobody can tell what'}"
    took = [f"{outcome} by {who}" for who, outcome in record.taken_by.items()]
    refused = [f"refused by {who} ({reason})" for who, reason in record.refused_by.items()]
    place = f"{record.topic}:{record.partition}:{record.offset}"
    return f"FOREIGN {place} {what}: {_WHY[record.why]}; {', '.join([*took, *refused]) or 'taken by nobody'}"


_WHY = {
    "unknown_subject": "its outbox never told of it",
    "sequence_ahead": "its outbox has not come so far",
    "other_content": "a genuine event's id, and other content",
    "not_told": "its outbox did not write it",
}


def _summary(report: Report) -> None:
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
        same = f", {len(report.copies)} tables compared with their owner's" if report.copies else ""
        say(f"Clean: {published}, each accounted for; nothing lost, nothing doubled, nothing foreign{same}.")
    else:
        rest = "" if not report.under_way else "; not everything had come to rest, so wait longer with --wait"
        say(
            f"NOT CLEAN: {published}, {report.lost} lost, {report.doubled} doubled, {report.foreign} foreign, "
            f"{report.astray} in copies astray{rest}."
        )


def _words(*counts: tuple[str, int]) -> str:
    return ", ".join(f"{count} {word}" for word, count in counts if count)


def _passed_over(types: Mapping[str, int]) -> str:
    """Types of ours that a service does not take are every day; those that nobody here knows are named."""
    others = sum(count for name, count in types.items() if name in REGISTRY)
    unknown = [f"{count} of the unknown type {name}" for name, count in types.items() if name not in REGISTRY]
    return ", ".join([f"{many(others, 'record')} for others", *unknown])
