"""A real SMTP server for tests, that can refuse, hang, drop the line and go away."""
# ruff: noqa: N802 - the handlers have aiosmtpd's names

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiosmtpd.smtp import SMTP, Envelope, Session

ACCEPT = "250 OK"
Answer = Callable[[str], str]


@dataclass
class MailServer:
    """Keeps what it accepted. `answer` maps a recipient to the reply to DATA, or to "hang" or "drop"."""

    answer: Answer = lambda _recipient: ACCEPT
    recipient_answer: Answer = lambda _recipient: ACCEPT
    sender_answer: str = ACCEPT
    accepted: list[tuple[str, bytes]] = field(default_factory=list)
    tried: list[str] = field(default_factory=list)
    connections: int = 0
    port: int = 0
    _server: asyncio.Server | None = None
    _open: set[SMTP] = field(default_factory=set)

    async def start(self) -> None:
        self._server = await asyncio.get_running_loop().create_server(self._session, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close the port and every connection."""
        if self._server is not None:
            self._server.close()
            for session in self._open:
                _hang_up(session)
            await asyncio.sleep(0.05)
            self._server = None

    def _session(self) -> SMTP:
        self.connections += 1
        session = SMTP(self, hostname="localhost", enable_SMTPUTF8=False, loop=asyncio.get_running_loop())
        self._open.add(session)
        return session

    async def handle_MAIL(self, _: SMTP, __: Session, envelope: Envelope, address: str, ___: list[str]) -> str:
        if self.sender_answer == ACCEPT:
            envelope.mail_from = address
        return self.sender_answer

    async def handle_RCPT(self, server: SMTP, _: Session, envelope: Envelope, address: str, __: list[str]) -> str:
        self.tried.append(address)
        reply = self.recipient_answer(address)
        if reply == ACCEPT:
            envelope.rcpt_tos.append(address)
        return await self._perform(server, reply)

    async def handle_DATA(self, server: SMTP, _: Session, envelope: Envelope) -> str:
        recipient, content = envelope.rcpt_tos[0], envelope.content
        assert isinstance(content, bytes)
        reply = self.answer(recipient)
        if reply == ACCEPT or reply.endswith("after accepting"):
            self.accepted.append((recipient, content))
        return await self._perform(server, reply)

    async def _perform(self, server: SMTP, reply: str) -> str:
        if reply.startswith("hang"):
            await asyncio.sleep(3600)
        if reply.startswith("drop"):
            _hang_up(server)
        return reply


def _hang_up(session: SMTP) -> None:
    transport: Any = session.transport
    if transport is not None:
        transport.abort()
