"""A mail server that delivers nowhere: keeps each mail as a file and says a line. `python -m deploy.mailsink`.

For the embedded stack and compose's `dev` profile. Environment: MEDLED_PORT, MEDLED_HOST (127.0.0.1), MEDLED_MAIL_DIR.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Coroutine
from contextlib import suppress
from datetime import UTC, datetime
from email import message_from_bytes, policy
from itertools import count
from pathlib import Path

from aiosmtpd.smtp import SMTP, Envelope, Session


class Sink:
    """Takes every mail and writes it to `directory` as <time>-<number>.eml, whole or not at all."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._numbers = count(1)
        directory.mkdir(parents=True, exist_ok=True)

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Called by aiosmtpd for each mail; accepted once it is in its file."""
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
        file = self._directory / f"{stamp}-{os.getpid()}-{next(self._numbers):06}.eml"
        partial = file.with_suffix(".part")
        partial.write_bytes(envelope.original_content or b"")
        partial.rename(file)
        # No address and no subject: this line lands in a log.
        message = message_from_bytes(envelope.original_content or b"", policy=policy.default)
        print(f"{file.name} language={message['Content-Language'] or '-'}", flush=True)
        return f"250 kept as {file.name}"


async def serve(host: str, port: int, directory: Path) -> None:
    """Serve until cancelled."""
    loop = asyncio.get_running_loop()
    sink = Sink(directory)
    server = await loop.create_server(
        lambda: SMTP(sink, enable_SMTPUTF8=True, data_size_limit=10 * 2**20, loop=loop), host, port
    )
    try:
        await asyncio.Event().wait()
    finally:
        server.close()  # without waiting for clients: senders keep their connections open


async def _until_told(serving: Coroutine[None, None, None]) -> None:
    """Serve until SIGTERM or SIGINT. A container's first process is not ended by a signal that it does not handle."""
    task = asyncio.ensure_future(serving)
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, task.cancel)
    with suppress(asyncio.CancelledError):
        await task


def main() -> None:
    """Run the sink as the environment says."""
    directory = Path(os.environ.get("MEDLED_MAIL_DIR", "mail"))
    try:
        port = int(os.environ["MEDLED_PORT"])
    except KeyError as missing:
        sys.exit(f"{missing.args[0]} is not set")
    asyncio.run(_until_told(serve(os.environ.get("MEDLED_HOST", "127.0.0.1"), port, directory)))


if __name__ == "__main__":
    main()
