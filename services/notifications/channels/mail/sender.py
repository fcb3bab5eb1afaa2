"""The loop that sends: claim what is due, hand it over on a few connections, write down what became of it.

Claiming, sending and settling run side by side, so that a slow mail holds up nothing but itself. What was accepted is
settled at once and set-wise; between the server's acceptance and that commit lies the one edge where a crash, or a
database that stays away until the lease has ended, makes a mail be sent again, with the same Message-ID, counted in
`resent`.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import structlog
from opentelemetry.context import Context, get_current
from opentelemetry.trace import Span, SpanKind

from services.notifications.addresses import AddressError
from services.notifications.channels.domain import (
    Accepted,
    NotTried,
    Outcome,
    Reason,
    Refused,
    ServerFault,
    Suppressed,
    event_of,
    judge,
    reason_to_stop,
)
from services.notifications.channels.mail.circuit_breaker import CircuitBreaker
from services.notifications.channels.mail.compose import Composer
from services.notifications.channels.mail.smtp import MailConnection, ServerSettings, ServerUnavailableError
from services.notifications.channels.store import mail_server, queue
from services.notifications.channels.store.queue import Mail
from services.notifications.settings import NotificationsSettings
from shared.clock import Clock
from shared.messaging import outbox
from shared.observability import telemetry, tracing
from shared.postgres.failures import UNAVAILABLE
from shared.postgres.pool import Pool
from shared.postgres.transaction import transaction

log = structlog.get_logger()

_LAPSED_EVERY_SECONDS = 5.0
_SETTLE_AT_MOST = 500


@dataclass(frozen=True, slots=True)
class SenderSettings:
    """server: where mail goes. connections, batch: how much at a time. lease: see the service's settings."""

    server: ServerSettings
    connections: int
    batch: int
    lease: timedelta
    poll_seconds: float
    drain_seconds: float = 25.0

    @classmethod
    def of(cls, settings: NotificationsSettings) -> "SenderSettings":
        """As a deployment has it. Raises ValueError, naming the setting that is missing."""
        server = ServerSettings(
            host=settings.needed("smtp_host"),
            port=settings.smtp_port,
            security=settings.smtp_security,
            username=settings.smtp_username,
            password=settings.smtp_password.get_secret_value() if settings.smtp_password else None,
            ca_file=settings.smtp_ca_file,
            timeout=settings.smtp_timeout,
        )
        return cls(
            server=server,
            connections=settings.mail_connections,
            batch=settings.mail_batch,
            lease=timedelta(seconds=settings.mail_lease_seconds),
            poll_seconds=settings.mail_poll_seconds,
        )


@dataclass(frozen=True, slots=True)
class _Claimed:
    mail: Mail
    start_before: float  # monotonic: later, the lease might end while the mail is under way


@dataclass(frozen=True, slots=True)
class _Done:
    mail: Mail
    outcome: Outcome
    context: Context


@dataclass(frozen=True, slots=True)
class _Cause:
    id: UUID
    correlation_id: str
    context: Context


class MailSender:
    """Sends every due mail, alone or beside other workers, until cancelled. Good for one `run`."""

    def __init__(self, pool: Pool, composer: Composer, settings: SenderSettings, clock: Clock) -> None:
        self._pool = pool
        self._composer = composer
        self._settings = settings
        self._clock = clock
        self._breaker = CircuitBreaker()
        self._stopping = asyncio.Event()
        self._room = asyncio.Event()
        self._claimed: asyncio.Queue[_Claimed | None] = asyncio.Queue()
        self._done: asyncio.Queue[_Done | None] = asyncio.Queue()
        self._in_hand: set[UUID] = set()
        self._server_news: tuple[bool, ServerFault | None] | None = None
        self._looked_for_lapsed_at = float("-inf")
        meter = telemetry.meter()
        self._outcomes = meter.create_counter("medled.mail.outcomes", description="Attempts, by what came of them")
        self._resent = meter.create_counter("medled.mail.resent", description="Mails possibly delivered twice")
        self._seconds = meter.create_histogram("medled.mail.duration", unit="s", description="One SMTP hand-over")

    async def run(self) -> None:
        """The loop. On cancellation: claim nothing more, finish what is on the wire, settle it, give the rest back."""
        work = asyncio.create_task(self._work())
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            self._stopping.set()
            _, pending = await asyncio.wait({work}, timeout=self._settings.drain_seconds)
            for task in pending:
                task.cancel()
            await asyncio.gather(work, return_exceptions=True)
            raise

    async def _work(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._settle_loop())
            async with asyncio.TaskGroup() as sending:
                sending.create_task(self._claim_loop())
                for _ in range(self._settings.connections):
                    sending.create_task(self._send_loop())
            self._done.put_nowait(None)

    async def _claim_loop(self) -> None:
        while not self._stopping.is_set():
            await self._rest(self._breaker.seconds_left)
            wanted = 1 if self._breaker.is_half_open else self._settings.batch
            if len(self._in_hand) > wanted // 2:
                self._room.clear()
                await self._rest(self._settings.poll_seconds, until=self._room)
            elif await self._claim(wanted - len(self._in_hand)) == 0:
                await self._rest(self._settings.poll_seconds)
        for _ in range(self._settings.connections):
            self._claimed.put_nowait(None)

    async def _rest(self, seconds: float, *, until: asyncio.Event | None = None) -> None:
        """Wait, but not past a stop; which may come up to a poll interval late when waiting for something else."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for((until or self._stopping).wait(), seconds)

    async def _claim(self, room: int) -> int:
        lease = self._settings.lease
        start_before = time.monotonic() + lease.total_seconds() - 10 * self._settings.server.timeout
        lapsed: list[Mail] = []
        try:
            async with self._pool.acquire() as conn:
                due = await queue.claim_due(conn, room, lease, now=self._clock.now())
                if len(due) < room and time.monotonic() - self._looked_for_lapsed_at > _LAPSED_EVERY_SECONDS:
                    lapsed = await queue.claim_lapsed(conn, room - len(due), lease, ours=self._in_hand)
                    self._looked_for_lapsed_at = time.monotonic()
        except UNAVAILABLE as error:
            log.warning("mail queue unreachable", error=type(error).__name__)
            return 0
        self._resent.add(len(lapsed))
        for mail in (*due, *lapsed):
            self._in_hand.add(mail.attempt.id)
            self._claimed.put_nowait(_Claimed(mail, start_before))
        return len(due) + len(lapsed)

    async def _send_loop(self) -> None:
        connection = MailConnection(self._settings.server)
        try:
            while (claimed := await self._claimed.get()) is not None:
                late = time.monotonic() > claimed.start_before
                if late or self._breaker.is_open or self._stopping.is_set():
                    self._done.put_nowait(_Done(claimed.mail, NotTried(), Context()))
                else:
                    await self._send(connection, claimed.mail)
        finally:
            await connection.close()

    async def _send(self, connection: MailConnection, mail: Mail) -> None:
        attributes: dict[str, str | int] = {
            "messaging.system": "smtp",
            "medled.delivery": str(mail.attempt.id),
            "medled.kind": mail.attempt.kind.name,
            "medled.attempt": mail.attempt.number,
        }
        cause = tracing.context_from(mail.traceparent, mail.tracestate)
        with tracing.span("deliver mail", parent=cause, kind=SpanKind.CLIENT, attributes=attributes) as span:
            try:
                outcome = await self._attempt(connection, mail)
            except Exception as error:  # noqa: BLE001 - one message must not end the process that sends all others
                log.error("mail cannot be sent", delivery=str(mail.attempt.id), error=type(error).__name__)
                outcome = Refused(Reason.INTERNAL_ERROR)
            _describe(span, outcome)
            self._done.put_nowait(_Done(mail, outcome, get_current()))
        self._outcomes.add(1, {"kind": mail.attempt.kind.name, "outcome": type(outcome).__name__.lower()})

    async def _attempt(self, connection: MailConnection, mail: Mail) -> Outcome:
        now = self._clock.now()
        reason = reason_to_stop(
            mail.attempt.kind,
            revoked=mail.revoked,
            status=mail.recipient_status,
            address=mail.address,
            pointless_after=mail.pointless_after,
            now=now,
        )
        if reason is not None:
            return Suppressed(reason)
        try:
            envelope = self._composer.compose(mail, now=now)
        except AddressError:
            return Suppressed(Reason.BAD_ADDRESS)
        except Exception as error:  # noqa: BLE001 - one message that cannot be written must not stop the others
            log.error("mail cannot be composed", delivery=str(mail.attempt.id), error=type(error).__name__)
            return Refused(Reason.INTERNAL_ERROR)
        started = time.monotonic()
        try:
            outcome = await connection.send(envelope)
        except ServerUnavailableError as error:
            self._server_failed(error.fault)
            return NotTried()
        self._seconds.record(time.monotonic() - started)
        self._learn(outcome)
        return outcome

    def _learn(self, outcome: Accepted | Refused) -> None:
        """What an answer says about the server rather than the mail."""
        if isinstance(outcome, Refused) and (
            outcome.reason in (Reason.TIMEOUT, Reason.CONNECTION_LOST) or outcome.reply_code == 421
        ):
            self._server_failed(ServerFault(outcome.reason.value))
        elif self._breaker.record_success():
            self._server_news = (True, None)
            log.info("mail server answers again")

    def _server_failed(self, fault: ServerFault) -> None:
        if self._breaker.record_failure():
            self._server_news = (False, fault)
            log.warning(
                "mail server unavailable", reason=fault.value, next_try_seconds=round(self._breaker.seconds_left, 1)
            )

    async def _settle_loop(self) -> None:
        ended = False
        while not ended:
            batch = [await self._done.get()]
            while len(batch) < _SETTLE_AT_MOST and not self._done.empty():
                batch.append(self._done.get_nowait())
            ended = None in batch
            done = [one for one in batch if one is not None]
            while done and not await self._settle(done):
                await asyncio.sleep(1)  # what was accepted is remembered until the database is back
            self._in_hand -= {one.mail.attempt.id for one in done}
            if len(self._in_hand) <= self._settings.batch // 2:
                self._room.set()

    async def _settle(self, done: Sequence[_Done]) -> bool:
        """Write down how attempts ended, with their events. Returns whether the database took it."""
        now = self._clock.now()
        verdicts = [(one, judge(one.mail.attempt, one.outcome, now=now, jitter=random.random())) for one in done]
        news = self._server_news
        try:
            async with transaction(self._pool) as conn:
                settled = await queue.settle(conn, [(one.mail.attempt, v) for one, v in verdicts], now=now)
                if news is not None:
                    await mail_server.note_mail_server(conn, reachable=news[0], reason=news[1], now=now)
                facts = [
                    (event, _cause(one))
                    for one, verdict in verdicts
                    if one.mail.attempt.id in settled and (event := event_of(one.mail.attempt, verdict))
                ]
                await outbox.add_caused(conn, facts, now=now)
        except UNAVAILABLE as error:
            log.warning("sent mail cannot be settled yet", mails=len(done), error=type(error).__name__)
            return False
        if self._server_news == news:
            self._server_news = None
        self._resent.add(sum(v.counts_as_resend for one, v in verdicts if one.mail.attempt.id in settled))
        return True


def _cause(done: _Done) -> outbox.Cause:
    """What an outcome's event is caused by. Mail about a round shares nothing with it in public: a trace of its own
    begins there, and only telemetry knows, by a link, what it belongs to (ADR 0004).
    """
    mail = done.mail
    if not mail.attempt.kind.is_private:
        return _Cause(mail.caused_by, mail.correlation_id, done.context)
    with tracing.span("announce mail", parent=Context(), links=[done.context]):
        return outbox.UndisclosedCause(mail.caused_by, mail.attempt.public_id.hex, get_current())


def _describe(span: Span, outcome: Outcome) -> None:
    span.set_attribute("medled.outcome", type(outcome).__name__.lower())
    if isinstance(outcome, Refused | Suppressed):
        span.set_attribute("medled.reason", outcome.reason.value)
    if isinstance(outcome, Refused) and outcome.reply_code is not None:
        span.set_attribute("smtp.reply_code", outcome.reply_code)
