"""What may be set for the local issuer."""

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class IssuerSettings(BaseSettings):
    """Environment variables `MEDLED_<NAME>`; those it shares with the services mean the same there."""

    model_config = SettingsConfigDict(env_prefix="MEDLED_", frozen=True, extra="ignore")

    environment: Literal["production", "development"] = "production"
    public_url: str
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=1, le=65535)
    oidc_audience: str = "medled"
    oidc_client_id: str = "medled"
    oidc_client_secret: SecretStr | None = None
    issuer_people: Path | None = Field(
        default=None,
        description="JSON file of people to choose from, [{sub, name, note}]; it may appear and change while running.",
    )
    issuer_key: Path | None = Field(
        default=None,
        description="File that keeps the signing key, so that tokens survive a restart; made when missing.",
    )

    @property
    def issuer(self) -> str:
        """The issuer's own name, under the one origin."""
        return f"{self.public_url.rstrip('/')}/issuer"

    @property
    def redirect_uri(self) -> str:
        """The only place a code is sent to."""
        return f"{self.public_url.rstrip('/')}/callback"
