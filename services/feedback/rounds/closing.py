"""Closing: the one moment in which ballots are opened, and after which nobody can again (ADR 0004)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from services.feedback.ballots.sealing import open_all
from services.feedback.instruments.instrument import instrument
from services.feedback.reports import store as reports
from services.feedback.reports.domain import Cell, report, worth_releasing
from services.feedback.rounds.actions import about, forget_links_later
from services.feedback.rounds.domain import RoundState, coarse_date
from services.feedback.rounds.store import invitations
from services.feedback.rounds.store import rounds as store
from services.feedback.settings import FeedbackSettings
from shared.events import CloseReason, Event, ResultsReleased, RoundClosed, RoundWithheld
from shared.messaging import outbox
from shared.postgres.pool import Connection
from shared.timers import Due

TOO_FEW = "too_few_answers"


@dataclass(frozen=True, slots=True)
class _Opened:
    """What a round's ballots said: its report, and nothing else of them."""

    locked: store.LockedRound
    cells: list[Cell]

    @property
    def round_id(self) -> UUID:
        return self.locked.round.id


class Closing:
    """Closes rounds whose time is up or whose invitations are all used."""

    def __init__(self, settings: FeedbackSettings) -> None:
        self._secrets = settings.secrets
        self._links_kept = settings.links_kept

    async def close(self, conn: Connection, due: Sequence[Due], now: datetime) -> None:
        """Open, make the report, destroy ballots and key: one transaction, after which no answer exists any more.

        Raises nacl.exceptions.CryptoError when the ballot secret is not the one the round was opened with; the round
        then stays open, its answers sealed, and the timer tries again.
        """
        locked = await store.lock_open(conn, [UUID(one.key) for one in due])
        if not locked:
            return
        ids = [one.round.id for one in locked]
        ballots = await store.take_ballots(conn, ids)
        opened = [self._open(one, ballots[one.round.id]) for one in locked]
        day = coarse_date(now)
        released = [one for one in opened if worth_releasing(one.cells)]  # of a withheld round no figure is kept
        await reports.insert_cells(conn, [(one.round_id, cell) for one in released for cell in one.cells])
        await store.finish(
            conn,
            [
                store.Finished(one.round_id, RoundState.released, None, day)
                if worth_releasing(one.cells)
                else store.Finished(one.round_id, RoundState.withheld, TOO_FEW, day)
                for one in opened
            ],
        )
        await invitations.settle_invitations(conn, ids)
        await outbox.add(conn, *[event for one in opened for event in _announcements(one)], now=now)
        await forget_links_later(conn, ids, now + self._links_kept)

    def _open(self, locked: store.LockedRound, sealed: Sequence[bytes]) -> _Opened:
        round_ = locked.round
        questions = instrument(round_.instrument_version).asking(round_.practices)
        ballots = open_all(round_.id, locked.wrapped_key, self._secrets.ballot, sealed)
        return _Opened(locked, report(ballots, questions, round_.practices, round_.groups, round_.k))


def _announcements(opened: _Opened) -> list[Event]:
    facts = about(opened.locked.round)
    # Also when nobody is waited for any more: that all have answered would say of each of them that they did.
    closed = RoundClosed(**facts, reason=CloseReason.time)
    if worth_releasing(opened.cells):
        return [closed, ResultsReleased(**facts)]
    return [closed, RoundWithheld(**facts, reason=TOO_FEW)]
