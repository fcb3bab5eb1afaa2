"""Reading the mail: what the sink kept, as the people it was for see it."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from email import message_from_bytes, policy
from pathlib import Path

_LINK = re.compile(r"https?://\S+/feedback/r/[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Mail:
    """One mail. `link` is the invitation's, None in a mail about something else."""

    file: str
    address: str
    subject: str
    text: str
    link: str | None


def read_mail(folder: Path, known: Collection[str] = ()) -> list[Mail]:
    """Every mail but the known ones, oldest first."""
    return [_read(file) for file in sorted(folder.glob("*.eml")) if file.name not in known]


def _read(file: Path) -> Mail:
    message = message_from_bytes(file.read_bytes(), policy=policy.default)
    part = message.get_body(("plain",))
    text = part.get_content() if part is not None else ""
    link = _LINK.search(text)
    [to] = message["To"].addresses
    return Mail(file.name, to.addr_spec, str(message["Subject"]), text, link[0] if link else None)
