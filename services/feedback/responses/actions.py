"""Answering and declining: what the page and the API do alike, on their caller's transaction."""

from collections.abc import Mapping
from datetime import datetime

from services.feedback.ballots.sealing import Ballot, seal
from services.feedback.instruments.instrument import Question, instrument
from services.feedback.responses import store
from services.feedback.responses.domain import (
    InvitationState,
    Invited,
    LinkRefusal,
    LinkRefusedError,
    check_answers,
    must_be_open,
)
from shared.postgres.pool import Connection


async def find_invitation(conn: Connection, token: str, now: datetime) -> Invited:
    """What the link leads to. Looking uses up nothing. Raises LinkRefusedError."""
    return must_be_open(await store.find(conn, token), now)


def questions_for(invited: Invited) -> tuple[Question, ...]:
    """The round's questions, of the instrument's version it opened with."""
    return instrument(invited.instrument_version).asking(invited.practices)


async def answer(conn: Connection, token: str, given: Mapping[str, object], now: datetime) -> Invited:
    """Seal the answers and use up the link. Raises LinkRefusedError or AnswersRefusedError, with nothing changed."""
    invited = must_be_open(await store.find_and_hold(conn, token), now)
    ballot = Ballot(invited.group, check_answers(questions_for(invited), given))
    sealed = seal(invited.public_key, ballot)
    await _use_up(conn, invited, InvitationState.used)
    await store.insert_ballot(conn, invited.round_id, sealed)
    return invited


async def decline(conn: Connection, token: str, now: datetime) -> Invited:
    """Use up the link without an answer. Raises LinkRefusedError."""
    invited = must_be_open(await store.find_and_hold(conn, token), now)
    await _use_up(conn, invited, InvitationState.declined)
    return invited


async def _use_up(conn: Connection, invited: Invited, state: InvitationState) -> None:
    if not await store.use_up(conn, invited.token_hash, state):
        raise LinkRefusedError(LinkRefusal.used)  # twice at once: the other was faster
