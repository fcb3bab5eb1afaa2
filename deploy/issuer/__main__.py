"""`python -m deploy.issuer`."""

import sys

import uvicorn

from deploy.issuer.app import create_issuer
from deploy.issuer.settings import IssuerSettings
from shared.http.slow_requests import protocol


def main() -> None:
    """Serve until stopped; refuse in production."""
    settings = IssuerSettings()
    if settings.environment == "production":
        sys.exit(
            "The local issuer lets anybody sign in as anybody and does not start in production. Set MEDLED_OIDC_ISSUER "
            "to your identity provider, or MEDLED_ENVIRONMENT=development to try Medled out."
        )
    # No access log: a query holds the code.
    uvicorn.run(
        create_issuer(settings), host=settings.host, port=settings.port, access_log=False, log_level="warning",
        http=protocol(10),
    )  # fmt: skip


if __name__ == "__main__":
    main()
