"""What a deployment may set for notifications, besides what every service shares."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, model_validator

from services.notifications.channels.mail.compose import AddressError, envelope_address
from services.notifications.channels.mail.smtp import ServerSettings
from shared.settings import Settings

_LOOPBACK = ("127.0.0.1", "::1", "localhost")


class NotificationsSettings(Settings):
    link_secret: SecretStr = Field(
        min_length=32, description="Makes the tokens of invitation links; the same for feedback, 32 characters or more."
    )
    mail_sender: str = Field(description="Address that mail comes from.")
    mail_sender_name: str = Field(default="Medled", description="Name that mail comes from.")
    mail_reply_to: str | None = Field(default=None, description="Address for answers to a mail; none when unset.")
    mail_connections: int = Field(default=4, ge=1, le=50, description="SMTP connections each worker keeps open.")
    mail_batch: int = Field(default=200, ge=1, le=5000, description="Most messages a worker takes at a time.")
    mail_poll_seconds: float = Field(default=0.5, gt=0, le=60, description="How often an idle worker looks for mail.")
    mail_lease_seconds: float = Field(
        default=300, gt=0, description="After this long a silent worker's messages are sent again by another."
    )
    smtp_host: str = Field(description="The mail server.")
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
        try:
            envelope_address(self.mail_sender)
        except AddressError as error:
            raise ValueError(f"MEDLED_MAIL_SENDER: {error}") from error
        return self

    @property
    def message_id_domain(self) -> str:
        """What follows the @ in a Message-ID: the sender's domain."""
        return envelope_address(self.mail_sender).rpartition("@")[2]

    @property
    def mail_server(self) -> ServerSettings:
        """The mail server's part of the settings."""
        return ServerSettings(
            host=self.smtp_host,
            port=self.smtp_port,
            security=self.smtp_security,
            username=self.smtp_username,
            password=self.smtp_password.get_secret_value() if self.smtp_password else None,
            ca_file=self.smtp_ca_file,
            timeout=self.smtp_timeout,
        )
