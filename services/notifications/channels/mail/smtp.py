"""The SMTP conversation: one connection kept open for many mails, every way it can fail told apart."""

import asyncio
import contextlib
import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from aiosmtplib import SMTP, SMTPException, SMTPResponseException, SMTPServerDisconnected, SMTPTimeoutError

from services.notifications.channels.domain import Accepted, Reason, Refused, ServerFault, refusal

# Servers close idle connections after a few minutes (RFC 5321 4.5.3.2.7 asks for at least five); we do it sooner.
_IDLE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Where the mail server is and how to speak to it. `timeout` is seconds per command."""

    host: str
    port: int
    security: Literal["none", "starttls", "tls"]
    username: str | None
    password: str | None
    ca_file: Path | None
    timeout: float


@dataclass(frozen=True, slots=True)
class Envelope:
    """A composed mail and whom it goes from and to."""

    sender: str
    recipient: str
    message: bytes


class ServerUnavailableError(Exception):
    """No mail can be handed over at all right now, whichever it is."""

    def __init__(self, fault: ServerFault) -> None:
        super().__init__(fault.value)
        self.fault = fault


class MailConnection:
    """One connection to the mail server, opened when needed and again when it was lost."""

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self._client: SMTP | None = None
        self._used_at = 0.0

    async def send(self, envelope: Envelope) -> Accepted | Refused:
        """Hand one mail over. Raises ServerUnavailableError when no connection can be had, which says nothing of it."""
        client = await self._ready(envelope.sender)
        uncertain = False
        try:
            await client.rcpt(envelope.recipient)
            uncertain = True  # from here on silence may mean that the server has it
            await client.data(envelope.message)
        except (SMTPServerDisconnected, SMTPTimeoutError, OSError) as lost:
            self._drop()
            reason = Reason.TIMEOUT if isinstance(lost, SMTPTimeoutError) else Reason.CONNECTION_LOST
            return Refused(reason, uncertain=uncertain)
        except SMTPResponseException as refused:
            await self._reset(client, refused.code)
            return refusal(refused.code)
        self._used_at = time.monotonic()
        return Accepted()

    async def close(self) -> None:
        """Say goodbye if the server still listens."""
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(SMTPException, OSError, TimeoutError):
                await client.quit(timeout=2)
            client.close()

    async def _ready(self, sender: str) -> SMTP:
        """A connection on which MAIL FROM was accepted: the same for every mail, so its refusal concerns them all."""
        for reuse in (True, False):  # the server may have closed an idle one: then once more on a fresh one
            client = await self._connected(reuse=reuse)
            try:
                await client.mail(sender)
            except SMTPTimeoutError as error:
                self._drop()
                raise ServerUnavailableError(ServerFault.TIMEOUT) from error
            except (SMTPServerDisconnected, OSError):
                self._drop()
            except SMTPResponseException as error:
                self._drop()
                raise ServerUnavailableError(ServerFault.SENDER_REFUSED) from error
            else:
                return client
        raise ServerUnavailableError(ServerFault.CONNECTION_LOST)

    async def _reset(self, client: SMTP, code: int) -> None:
        self._used_at = time.monotonic()
        if code == 421:  # the server has said goodbye
            self._drop()
            return
        try:
            await client.rset()
        except (SMTPException, OSError):
            self._drop()

    async def _connected(self, *, reuse: bool) -> SMTP:
        fresh_enough = time.monotonic() - self._used_at < _IDLE_SECONDS
        if reuse and fresh_enough and self._client is not None and self._client.is_connected:
            return self._client
        await self.close()
        try:
            async with asyncio.timeout(3 * self._settings.timeout):
                self._client = await _connect(self._settings)
        except TimeoutError as error:
            raise ServerUnavailableError(ServerFault.TIMEOUT) from error
        self._used_at = time.monotonic()
        return self._client

    def _drop(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()


async def _connect(settings: ServerSettings) -> SMTP:
    secure = settings.security != "none"
    context = ssl.create_default_context(cafile=settings.ca_file) if secure else None
    client = SMTP(
        hostname=settings.host, port=settings.port, timeout=settings.timeout, tls_context=context,
        use_tls=settings.security == "tls", start_tls=settings.security == "starttls",
    )  # fmt: skip
    step = ServerFault.UNREACHABLE
    try:
        await client.connect()
        step = ServerFault.LOGIN
        if settings.username is not None:
            await client.login(settings.username, settings.password or "")
    except ssl.SSLError as error:
        raise ServerUnavailableError(ServerFault.TLS) from error
    except SMTPTimeoutError as error:
        raise ServerUnavailableError(ServerFault.TIMEOUT) from error
    except SMTPResponseException as error:
        raise ServerUnavailableError(step if step is ServerFault.LOGIN else ServerFault.GREETING) from error
    except (SMTPException, OSError) as error:
        fault = ServerFault.TLS if isinstance(error.__cause__, ssl.SSLError) else step
        raise ServerUnavailableError(fault) from error
    return client
