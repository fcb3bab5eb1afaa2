"""What a deployment may set for the portal."""

from datetime import timedelta

from pydantic import Field

from shared.settings import Settings


class PortalSettings(Settings):
    """The portal's own settings beside the shared ones."""

    stream_days: int = Field(default=30, ge=1, description="How many days an event stays in the open stream.")
    stream_readers: int = Field(default=2000, ge=1, description="Most stream readers one portal process serves.")
    stream_readers_each: int = Field(
        default=20, ge=1, description="Most of these that one person or machine token may have."
    )
    stream_poll_seconds: float = Field(
        default=0.1, gt=0, le=10, description="How often the stream is looked at while somebody reads it."
    )
    stream_buffer_bytes: int = Field(
        default=262_144, ge=4096, description="How much is kept in memory for a reader that is slow to take it."
    )
    stream_heartbeat_seconds: float = Field(default=15, gt=0, description="Longest silence on an open stream.")
    stream_stall_seconds: float = Field(
        default=30, gt=0, description="A reader that takes nothing for this long is disconnected."
    )
    stream_visit_minutes: float = Field(
        default=60, gt=0, description="A reader is asked to reconnect after this long, when its access is checked anew."
    )
    upstreams: dict[str, str] = Field(
        default_factory=dict,
        description='Services to reverse-proxy to, as JSON: {"enrolment": "http://127.0.0.1:8101"}. For the embedded '
        "stack; in production a real reverse proxy does this and it stays empty.",
    )

    @property
    def stream_keep(self) -> timedelta:
        """How long an event stays in the open stream."""
        return timedelta(days=self.stream_days)
