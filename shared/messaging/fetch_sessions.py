"""Fetches that tell the broker only what has changed (KIP-227), for aiokafka, which tells it everything each time.

A worker reads up to 54 partitions, and what it waits for comes in one of them. Without a session every record costs
broker and worker the names and offsets of all the others, there and back.
"""

from copy import copy
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.protocol.fetch import FetchRequest

_FIRST_VERSION = 7  # of the protocol that knows sessions
_INITIAL_EPOCH = 0  # asks for a session, and ends the one that is named

Place = tuple[str, int]  # topic, partition
Wanted = dict[Place, tuple[int, int]]  # offset and most bytes of each


def use_sessions(client: AIOKafkaConsumer) -> None:
    """From its next fetch on; safe to call again."""
    fetcher = client._fetcher
    if not isinstance(fetcher._client, _WithSessions):
        fetcher._client = _WithSessions(fetcher._client)


@dataclass(slots=True)
class Session:
    """What one broker knows of what we want; changed by its answers alone, since a request may not have come there."""

    id: int = 0
    epoch: int = _INITIAL_EPOCH
    known: Wanted = field(default_factory=dict)

    def changes(self, wanted: Wanted) -> tuple[Wanted, list[Place]]:
        """What to tell it: new and moved partitions, and those that are wanted no more."""
        if self.epoch == _INITIAL_EPOCH:
            return wanted, []
        changed = {place: where for place, where in wanted.items() if self.known.get(place) != where}
        return changed, [place for place in self.known if place not in wanted]

    def answered(self, wanted: Wanted, error: int, session_id: int) -> None:
        """A broker that has forgotten the session, is at another epoch or has no room for one is told all again."""
        if error or not session_id:
            self.id, self.epoch, self.known = 0, _INITIAL_EPOCH, {}
        else:
            self.id, self.known = session_id, wanted
            self.epoch = self.epoch % 0x7FFFFFFF + 1

    def lost(self) -> None:
        """Nobody knows what of the last request the broker has taken in."""
        self.epoch, self.known = _INITIAL_EPOCH, {}


class SessionFetch(FetchRequest):  # type: ignore[misc]  # aiokafka ships no types for it
    """A fetch within a session. To a broker that knows none it says everything, as the one it is made from does."""

    def __init__(self, full: FetchRequest, session: Session, wanted: Wanted) -> None:
        self.__dict__.update(full.__dict__)
        self._full = full
        self._session = session
        self._changed, self._forgotten = session.changes(wanted)

    def build(self, request_struct_class: Any) -> Any:
        """The request in the version that the broker takes."""
        if request_struct_class.API_VERSION < _FIRST_VERSION:
            return self._full.build(request_struct_class)
        told = copy(self._full)
        told.__dict__["_topics"] = _by_topic(
            [(topic, (number, *where)) for (topic, number), where in self._changed.items()]
        )
        built = told.build(request_struct_class)
        built.session_id, built.session_epoch = self._session.id, self._session.epoch
        built.forgotten_topics_data = _by_topic(self._forgotten)
        return built


class _WithSessions:
    """Stands before aiokafka's client for its fetcher alone, and is that client in all but fetches."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._sessions: dict[int, Session] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    async def send(self, node_id: int, request: Any, **options: Any) -> Any:
        """As the client's; the fetcher has one fetch of a node under way at a time."""
        if not isinstance(request, FetchRequest):
            return await self._client.send(node_id, request, **options)
        session = self._sessions.setdefault(node_id, Session())
        wanted = {
            (topic, number): (offset, most)
            for topic, partitions in request.topics
            for number, offset, most in partitions
        }
        try:
            answer = await self._client.send(node_id, SessionFetch(request, session, wanted), **options)
        except BaseException:
            session.lost()
            raise
        if answer.API_VERSION >= _FIRST_VERSION:
            session.answered(wanted, answer.error_code, answer.session_id)
        return answer


def _by_topic(pairs: list[tuple[str, Any]]) -> list[tuple[str, list[Any]]]:
    topics: dict[str, list[Any]] = {}
    for topic, what in pairs:
        topics.setdefault(topic, []).append(what)
    return list(topics.items())
