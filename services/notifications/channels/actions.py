"""What is done to deliveries. API and pages call this on the transaction they opened."""

from datetime import datetime
from uuid import UUID

from services.notifications.channels.domain import DeliveryAttempt, NotFailedError, event_of, retried
from services.notifications.channels.queries import existing
from services.notifications.channels.store import delivery_log
from services.notifications.channels.store.delivery_log import Delivery
from shared.errors import ProblemError
from shared.events.vocabulary import Role
from shared.messaging import outbox
from shared.postgres.pool import Connection
from shared.security.audit import audit
from shared.security.authorization import require
from shared.security.principal import Principal


async def retry(conn: Connection, who: Principal, delivery_id: UUID, *, now: datetime) -> Delivery:
    """Queue a failed message again, on record and announced. Raises ProblemError 403, 404, 409."""
    await require(conn, who, Role.operator)
    failed = existing(await delivery_log.lock_delivery(conn, delivery_id))
    try:
        verdict = retried(failed.status, now=now)
    except NotFailedError as error:
        raise ProblemError(
            409, "not-failed", "The message has not failed", str(error), remedy="Look at its status first."
        ) from error
    await delivery_log.queue_again(conn, delivery_id, verdict)
    await audit(conn, who, "delivery.retried", delivery_id, now)
    attempt = DeliveryAttempt(
        failed.id, failed.public_id, failed.kind, failed.channel, failed.recipient_id, failed.attempts
    )  # fmt: skip
    if event := event_of(attempt, verdict):
        await outbox.add(conn, event, now=now)
    return existing(await delivery_log.delivery(conn, delivery_id))
