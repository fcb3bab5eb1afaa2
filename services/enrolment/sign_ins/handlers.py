"""Accounts that were not let in are forgotten in time, whether or not others come."""

from collections.abc import Sequence
from datetime import datetime

from services.enrolment.sign_ins import store
from services.enrolment.sign_ins.actions import FORGET_REFUSED, REFUSED_KEPT
from shared.postgres.pool import Connection
from shared.timers import Due, TimerHandler


async def forget_refused(conn: Connection, due: Sequence[Due], now: datetime) -> None:  # noqa: ARG001 - a TimerHandler
    """Forget whoever has not come for as long as that."""
    await store.forget_refused(conn, now - REFUSED_KEPT)


def timers() -> dict[str, TimerHandler]:
    return {FORGET_REFUSED: forget_refused}
