"""The mail sink keeps every mail as it came."""

import asyncio
from email.message import EmailMessage
from pathlib import Path

import aiosmtplib

from deploy.embedded.process import free_port
from deploy.mailsink import serve


async def test_every_mail_becomes_a_file_with_its_very_bytes(tmp_path: Path) -> None:
    port = free_port()
    server = asyncio.create_task(serve("127.0.0.1", port, tmp_path))
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "a@example.org", "b@example.org", "Återkoppling"
    message.set_content("Hej på dig.\n")
    message["Content-Language"] = "sv"
    for _ in range(50):
        try:
            async with aiosmtplib.SMTP(hostname="127.0.0.1", port=port, start_tls=False) as client:
                await asyncio.gather(*(client.send_message(message) for _ in range(20)))
            break
        except aiosmtplib.SMTPConnectError:
            await asyncio.sleep(0.05)
    server.cancel()
    files = sorted(tmp_path.glob("*.eml"))
    assert len(files) == 20
    assert b"Content-Language: sv" in files[0].read_bytes()
    assert not list(tmp_path.glob("*.part"))
