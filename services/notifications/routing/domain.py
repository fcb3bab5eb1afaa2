"""Why a message goes to nobody, and in which language it is written."""

from dataclasses import dataclass
from uuid import UUID

from services.notifications.channels.domain import Reason
from services.notifications.kinds.kind import Message
from shared.events import PersonStatus


@dataclass(frozen=True, slots=True)
class Recipient:
    """What the directory says about a person, as far as sending needs it."""

    id: UUID
    status: str
    locale: str
    has_address: bool


def reason_to_suppress(message: Message, recipient: Recipient | None, *, revoked: bool) -> Reason | None:
    """Why this message must not be sent, or None. `recipient` is None when the fact named nobody to tell."""
    if revoked:
        return Reason.INVITATION_REVOKED
    if recipient is None:
        return Reason.NO_RECIPIENT
    if recipient.status == PersonStatus.inactive and not message.kind.also_to_whoever_left:
        return Reason.RECIPIENT_INACTIVE
    if message.known_address is None and not recipient.has_address:
        return Reason.NO_ADDRESS
    return None


def language(locale: str) -> str:
    """The language of the texts for a BCP 47 tag: Swedish for Swedish, English for everybody else."""
    return "sv" if locale.lower().split("-")[0] == "sv" else "en"
