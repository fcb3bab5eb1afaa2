"""What a kind of notification is: everything that sets it apart, in one record (ADR 0010)."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal, Protocol, TypeAlias
from uuid import UUID

from shared.events import Event

Params: TypeAlias = Mapping[str, Any]
"""Ids and codes that a message is written from. Names are looked up when it is, from the newest state."""


class Channel(StrEnum):
    """How a message goes out."""

    MAIL = "mail"


@dataclass(frozen=True, slots=True)
class To:
    """Whom a fact calls for a message to; None where it names nobody, which the delivery log then tells.

    known_address: where it goes, instead of to the address the person has today.
    """

    recipient_id: UUID | None
    params: Params
    known_address: str | None = None


class Pages(Protocol):
    """What a link may lead to."""

    def page(self, path: str) -> str:
        """A page for those who are signed in."""
        ...

    def answering(self, invitation_id: UUID) -> str:
        """Where the round is answered, once, by whoever has the link."""
        ...


class Say(Protocol):
    """One of the kind's texts, in the recipient's language."""

    def __call__(self, key: str, /, **values: object) -> str: ...


def _the_only_text(_: Params) -> str:
    return "all"


def _no_more_words(_params: Params, _units: Sequence[str], _say: Say) -> Mapping[str, str]:
    return {}


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """One kind of message.

    name: its stable code, in events, in the log and before the dot of its texts.
    may_name: what public events, spans and the delivery log say of whom a message is for. `nobody` for what is private
        to a round: there nothing may join a message with its round, or with another one of it (ADR 0004).
    mandatory: why nobody may turn it off; None: they may.
    also_to_whoever_left: whether people hear of it who are not at work: HR may have said so just before, to keep it
        from them.
    causes: by fact, whom it tells; any number of people, each once.
    pointless_after: of a fact, the moment after which its message helps nobody; None: it always does.
    channels: how it goes out, each on its own.
    link: where it leads.
    texts: which texts it has, as in `<name>.<text>.subject`; text: which of them a message gets.
    words: what its texts name besides persons, programmes and times; `say` knows the kind's other texts.
    """

    name: str
    may_name: Literal["recipient", "nobody"]
    mandatory: str | None
    also_to_whoever_left: bool
    causes: Mapping[type[Event], Callable[[Any], Iterable[To]]]
    pointless_after: Callable[[Any], datetime | None]
    channels: tuple[Channel, ...]
    link: Callable[[Pages, Params], str]
    texts: tuple[str, ...] = ("all",)
    text: Callable[[Params], str] = _the_only_text
    words: Callable[[Params, Sequence[str], Say], Mapping[str, str]] = _no_more_words

    @property
    def is_private(self) -> bool:
        """Whether it is private to a round."""
        return self.may_name == "nobody"

    def messages_for(self, fact: Event) -> "Iterator[Message]":
        """The messages of this kind that the fact calls for."""
        if tell := self.causes.get(type(fact)):
            for to in tell(fact):
                yield Message(self, to.recipient_id, dict(to.params), self.pointless_after(fact), to.known_address)


@dataclass(frozen=True, slots=True)
class Message:
    """A message that a fact calls for. `params` becomes the row's jsonb; known_address: see `To`."""

    kind: Kind
    recipient_id: UUID | None
    params: dict[str, Any]
    pointless_after: datetime | None = None
    known_address: str | None = None

    def needs(self) -> Iterator[tuple[str, UUID]]:
        """What must be known before it can be queued, as (what, id)."""
        if self.recipient_id is not None:
            yield "person", self.recipient_id
        for what in ("person", "programme", "cohort"):
            if f"{what}_id" in self.params:
                yield what, UUID(self.params[f"{what}_id"])


def never(_: Event) -> None:
    """A message that does not become pointless."""
