"""What a deployment may set. Read once, when a process starts; frozen afterwards."""

import ssl
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class KafkaSettings(BaseSettings):
    """How to reach Kafka: all that a command about topics needs."""

    model_config = SettingsConfigDict(env_prefix="MEDLED_", frozen=True, extra="ignore")

    kafka_bootstrap: str = Field(description="Kafka's bootstrap servers, as host:port[,host:port].")
    kafka_transactions: bool = Field(
        default=True,
        description="Publish with idempotence, and behind a fence that transactions put up against a frozen relay (ADR "
        "0011). Off only for the embedded memory broker, which knows neither; the relay then waits out a delivery.",
    )
    kafka_replication_factor: int = Field(default=1, ge=1, description="Replicas of each topic that is created.")
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    kafka_sasl_username: str | None = None
    kafka_sasl_password: SecretStr | None = None
    kafka_ssl_cafile: Path | None = Field(default=None, description="CA bundle for Kafka; the system's when unset.")

    def kafka_client(self) -> dict[str, Any]:
        """Connection arguments for every aiokafka client."""
        arguments: dict[str, Any] = {
            "bootstrap_servers": self.kafka_bootstrap,
            "security_protocol": self.kafka_security_protocol,
        }
        if "SSL" in self.kafka_security_protocol:
            arguments["ssl_context"] = ssl.create_default_context(cafile=self.kafka_ssl_cafile)
        if self.kafka_security_protocol.startswith("SASL"):
            arguments["sasl_mechanism"] = self.kafka_sasl_mechanism
            arguments["sasl_plain_username"] = self.kafka_sasl_username
            arguments["sasl_plain_password"] = (
                self.kafka_sasl_password.get_secret_value() if self.kafka_sasl_password else None
            )
        return arguments


class Settings(KafkaSettings):
    """Settings that every service shares. Each is the environment variable `MEDLED_<NAME>`.

    A service adds its own in `services/<service>/settings.py`. A missing or wrong value stops the process at start with
    the name of the variable; nothing is read at import.
    """

    environment: Literal["production", "development"] = Field(
        default="production", description="`development` allows the shifted clock and the local issuer."
    )
    database_url: str = Field(
        description="This service's own Postgres database, as postgresql://role:password@host/db."
    )
    database_pool_size: int = Field(default=10, ge=2, le=200, description="Most connections one process opens.")

    topics_file: Path | None = Field(default=None, description="topics.yaml to use instead of the one shipped.")

    public_url: str = Field(description="The one origin people and links use, without a trailing slash.")
    host: str = Field(default="127.0.0.1", description="Address this process listens on.")
    port: int = Field(default=8000, ge=1, le=65535, description="Port this process listens on.")

    body_seconds: float = Field(
        default=20, gt=0, description="How long a request's body may take, and a second more for every 16 KiB of it."
    )
    head_seconds: float = Field(default=10, gt=0, description="How long a request's head may take.")
    trusted_proxies: str = Field(
        default="",
        description="Networks of proxies whose `traceparent` is ours, as 10.0.0.0/8, separated by spaces. A trace that "
        "anybody else names is linked to, not joined.",
    )

    oidc_issuer: str = Field(description="The OIDC issuer that people sign in at.")
    oidc_login_claim: str = Field(
        default="sub",
        min_length=1,
        max_length=200,
        description="The claim of the issuer's tokens that holds the login as HR knows it. It finds the person when "
        "they first sign in; from then on the account (`iss` and `sub`) is theirs, whatever the claim or HR says.",
    )
    oidc_audience: str = Field(default="medled", description="The audience an access token must name.")
    oidc_client_id: str = Field(default="medled", description="Client id the portal signs in with.")
    oidc_client_secret: SecretStr | None = Field(default=None, description="Client secret; unset for a public client.")
    session_secret: SecretStr = Field(
        min_length=32, description="Signs the session cookie; the same for every service, at least 32 characters."
    )

    batch_size: int = Field(default=1000, ge=1, le=10_000, description="Most records one consumer transaction takes.")
    relay_batch_size: int = Field(default=4000, ge=1, le=20_000, description="Most rows one publishing round takes.")
    outbox_retention_days: int = Field(default=14, ge=1, description="How long published rows are kept for a refill.")
    inbox_retention_days: int = Field(default=120, ge=30, description="How long a handled id is remembered.")
    audit_retention_days: int | None = Field(
        default=None, ge=30, description="How long the audit log keeps its entries; for ever when unset."
    )
    park_timeout_hours: float = Field(default=24, gt=0, description="How long a record waits for its parent.")

    clock_file: Path | None = Field(
        default=None, description="File holding the seconds by which every process shifts its clock. Development only."
    )
    span_file: Path | None = Field(default=None, description="File to append finished spans to, one JSON a line.")
    log_format: Literal["json", "console"] = "json"

    @field_validator("public_url")
    @classmethod
    def _is_an_origin(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.netloc or parts.path.strip("/") or parts.query:
            raise ValueError("must be an origin, as https://medled.example.org")
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, value: str) -> str:
        for network in value.split():
            ip_network(network)  # its words say which, and why it is none
        return value

    @property
    def trusted_networks(self) -> Sequence[IPv4Network | IPv6Network]:
        """The trusted proxies' networks."""
        return _networks(self.trusted_proxies)

    @model_validator(mode="after")
    def _production_is_strict(self) -> Self:
        if self.environment == "production" and self.clock_file is not None:
            raise ValueError("MEDLED_CLOCK_FILE shifts time and is refused in production; unset it")
        if self.inbox_retention_days <= self.outbox_retention_days:
            raise ValueError(
                "MEDLED_INBOX_RETENTION_DAYS must exceed MEDLED_OUTBOX_RETENTION_DAYS, "
                "or a refill would be handled twice"
            )
        return self


@lru_cache(maxsize=16)
def _networks(text: str) -> tuple[IPv4Network | IPv6Network, ...]:
    return tuple(ip_network(network) for network in text.split())
