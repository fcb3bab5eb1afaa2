"""Sessions that were ended: `medled.sessions.v1`, for Medled's own services only, kept for no longer than a session."""

from uuid import UUID

from pydantic import Field

from shared.events.event import Event
from shared.events.vocabulary import UtcTime

SESSION_SECONDS = 8 * 3600
"""How long a session lasts when nobody ends it."""


class SessionEnded(
    Event,
    type="medled.session.ended.v1",
    topic="medled.sessions.v1",
    source="/medled/portal",
    subject="session_id",
    restricted=True,
):
    """Somebody signed out: whoever still has the session's cookie is signed in nowhere. Says nothing of who it was."""

    session_id: UUID = Field(description="The session.", examples=["0198c0de-0000-4000-8000-00000000000a"])
    until: UtcTime = Field(description="When it would have ended by itself; after that nobody need remember it.")
