"""Settings for tests, without an environment."""

from typing import Any, TypeVar

from shared.settings import Settings

S = TypeVar("S", bound=Settings)

_DEFAULTS: dict[str, Any] = {
    "environment": "development",
    "kafka_bootstrap": "127.0.0.1:1",
    "kafka_transactions": False,
    "public_url": "http://127.0.0.1:8080",
    "oidc_issuer": "http://127.0.0.1:8081",
    "session_secret": "only-for-tests-only-for-tests-only-for-tests",
}


def make_settings(cls: type[S], database_url: str, **overrides: Any) -> S:
    """Settings of a service's class for this database; `kafka_transactions=True` where Apache Kafka is used."""
    return cls(database_url=database_url, **(_DEFAULTS | overrides))
