"""The connection to the mail server: encrypted when asked to be, and clear about why it cannot be had."""

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

from services.notifications.channels.domain import Accepted
from services.notifications.channels.mail.smtp import Envelope, MailConnection, ServerSettings, ServerUnavailableError
from tests.notifications.mail_server import MailServer

MAIL = Envelope("no-reply@example.org", "asa@example.org", b"Subject: hello\r\n\r\nhello\r\n")


def connection(port: int, security: Literal["none", "starttls", "tls"] = "none", **changes: Any) -> MailConnection:
    values: dict[str, Any] = {"username": None, "password": None, "ca_file": None, "timeout": 1.0}
    return MailConnection(ServerSettings("localhost", port, security, **(values | changes)))


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for localhost, signed by itself, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    return certificate, key


@asynccontextmanager
async def strict_server(certificate: tuple[Path, Path]) -> AsyncIterator[tuple[int, MailServer]]:
    """A server that takes mail only after STARTTLS and a login."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    handler = MailServer()

    def check(_: object, __: object, ___: object, ____: object, given: LoginPassword) -> AuthResult:
        return AuthResult(success=(given.login, given.password) == (b"medled", b"right"), handled=False)

    def session() -> SMTP:
        return SMTP(
            handler, hostname="localhost", tls_context=context, require_starttls=True, auth_required=True,
            authenticator=check, loop=asyncio.get_running_loop(),
        )  # fmt: skip

    server = await asyncio.get_running_loop().create_server(session, "localhost", 0)
    try:
        yield server.sockets[0].getsockname()[1], handler
    finally:
        server.close()


async def test_mail_goes_out_encrypted_and_signed_in(certificate: tuple[Path, Path]) -> None:
    async with strict_server(certificate) as (port, server):
        mail = connection(port, "starttls", username="medled", password="right", ca_file=certificate[0])
        assert await mail.send(MAIL) == Accepted()
        assert await mail.send(MAIL) == Accepted()
        await mail.close()
        assert len(server.accepted) == 2


async def test_a_certificate_that_nobody_vouches_for_is_not_trusted(certificate: tuple[Path, Path]) -> None:
    async with strict_server(certificate) as (port, server):
        with pytest.raises(ServerUnavailableError, match="tls"):
            await connection(port, "starttls", username="medled", password="right").send(MAIL)
        assert server.accepted == []


async def test_a_wrong_password_is_told_as_such(certificate: tuple[Path, Path]) -> None:
    async with strict_server(certificate) as (port, _):
        mail = connection(port, "starttls", username="medled", password="wrong", ca_file=certificate[0])
        with pytest.raises(ServerUnavailableError, match="login"):
            await mail.send(MAIL)


@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_nothing_is_sent_in_the_clear_when_encryption_was_asked_for(
    server: MailServer, security: Literal["starttls", "tls"]
) -> None:
    with pytest.raises(ServerUnavailableError):
        await connection(server.port, security).send(MAIL)
    assert server.tried == []


async def test_a_closed_port_is_unreachable(server: MailServer) -> None:
    await server.stop()
    with pytest.raises(ServerUnavailableError, match="unreachable"):
        await connection(server.port).send(MAIL)


async def test_a_server_that_never_greets_times_out() -> None:
    listening = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0)
    with pytest.raises(ServerUnavailableError, match="timeout"):
        await connection(listening.sockets[0].getsockname()[1], timeout=0.3).send(MAIL)
    listening.close()
