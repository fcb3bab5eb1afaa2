"""The mail sink keeps every mail as it came."""

import asyncio
import signal
import socket
import sys
from email.message import EmailMessage
from pathlib import Path

import aiosmtplib

from deploy.embedded.process import Child, free_port, wait_until_listening
from deploy.mailsink import serve

ROOT = Path(__file__).resolve().parents[2]


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


def test_it_ends_in_order_when_told_to_though_a_sender_keeps_its_connection(tmp_path: Path) -> None:
    port = free_port()
    sink = Child(
        name="mail-sink", command=[sys.executable, "-m", "deploy.mailsink"], log=tmp_path / "log",
        environment={"MEDLED_PORT": str(port), "MEDLED_MAIL_DIR": str(tmp_path / "mail"), "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    for signum in (signal.SIGTERM, signal.SIGINT):
        sink.stop_signal = signum
        sink.start()
        wait_until_listening(sink, port, 30)
        with socket.create_connection(("127.0.0.1", port), 10) as sender:
            assert sender.recv(3) == b"220"
            sink.stop(grace=20)
        assert sink.returncode == 0, sink.tail()  # as a container's first process it would not have ended at all
