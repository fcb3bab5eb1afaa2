"""What a deployment may set for notifications, besides what every service shares."""

from datetime import timedelta
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, model_validator

from services.notifications.addresses import AddressError, envelope_address
from shared.events.invitations import InvitationFact
from shared.events.topics import load_topics
from shared.settings import Settings

_LOOPBACK = ("127.0.0.1", "::1", "localhost")


class NotificationsSettings(Settings):
    """Only the worker sends: the API runs without the link secret and without a mail server."""

    link_secret: SecretStr | None = Field(
        default=None,
        min_length=32,
        description="Derives the tokens in invitations; the same for feedback's and notifications' workers.",
    )
    trace_url: str | None = Field(
        default=None,
        pattern=r"^https?://[^\s{}]+\{trace_id\}[^\s{}]*$",
        description="Where a trace is shown, with `{trace_id}` in its place; unset: the delivery log has the id alone.",
    )
    mail_sender: str | None = Field(default=None, description="Address that mail comes from.")
    mail_sender_name: str = Field(default="Medled", description="Name that mail comes from.")
    mail_reply_to: str | None = Field(default=None, description="Address for answers to a mail; none when unset.")
    mail_connections: int = Field(default=4, ge=1, le=50, description="SMTP connections each worker keeps open.")
    mail_batch: int = Field(default=200, ge=1, le=5000, description="Most messages a worker takes at a time.")
    mail_poll_seconds: float = Field(default=0.5, gt=0, le=60, description="How often an idle worker looks for mail.")
    mail_lease_seconds: float = Field(
        default=300, gt=0, description="After this long a silent worker's messages are sent again by another."
    )
    smtp_host: str | None = Field(default=None, description="The mail server.")
    smtp_port: int = Field(default=587, ge=1, le=65535, description="Port of the mail server.")
    smtp_security: Literal["none", "starttls", "tls"] = Field(
        default="starttls", description="`starttls` (587), `tls` (465), or `none` for a server on the same machine."
    )
    smtp_username: str | None = Field(default=None, description="Login at the mail server; none when unset.")
    smtp_password: SecretStr | None = Field(default=None, description="Password at the mail server.")
    smtp_ca_file: Path | None = Field(default=None, description="CA bundle for SMTP; the system's when unset.")
    smtp_timeout: float = Field(default=20, gt=0, le=300, description="Seconds the mail server has for each answer.")

    @model_validator(mode="after")
    def _mail_is_sound(self) -> Self:
        if self.smtp_password is not None and self.smtp_security == "none" and self.smtp_host not in _LOOPBACK:
            raise ValueError("MEDLED_SMTP_PASSWORD would travel in the clear; set MEDLED_SMTP_SECURITY to starttls")
        # A mail takes at most ten answers of the server; a lease that ends before would send it twice.
        if self.mail_lease_seconds < 12 * self.smtp_timeout:
            raise ValueError("MEDLED_MAIL_LEASE_SECONDS must be at least twelve times MEDLED_SMTP_TIMEOUT")
        if self.mail_sender is not None:
            try:
                envelope_address(self.mail_sender)
            except AddressError as error:
                raise ValueError(f"MEDLED_MAIL_SENDER: {error}") from error
        return self

    @property
    def message_id_domain(self) -> str:
        """What follows the @ in a Message-ID: the sender's domain. Raises ValueError when no sender is set."""
        return self.needed("mail_sender").rpartition("@")[2].encode("idna").decode()

    @property
    def round_mail_kept(self) -> timedelta:
        """How long mail about a round names anybody here: as long as the topic that says whom to invite keeps it.

        Raises ValueError when topics.yaml keeps that for ever.
        """
        days = load_topics(self.topics_file)[InvitationFact.topic].kept_days
        if days is None:
            raise ValueError(f"{InvitationFact.topic} has no kept_days in topics.yaml; who was asked must be forgotten")
        return timedelta(days=days)

    def needed(self, name: str) -> str:
        """A setting without which a worker cannot be. Raises ValueError, naming it."""
        value: str | SecretStr | None = getattr(self, name)
        if value is None:
            raise ValueError(f"MEDLED_{name.upper()} is not set; notifications' worker needs it")
        return value.get_secret_value() if isinstance(value, SecretStr) else value
