"""Settings that cannot be right are refused at the start, not found out about at the first sign-in."""

import pytest
from pydantic import ValidationError

from shared.settings import Settings
from tests.support.settings import make_settings


@pytest.mark.parametrize(
    "url", ["medled.localhost:8090", "https://", "https://example.org/medled", "ftp://example.org"]
)
def test_the_public_url_is_an_origin(url: str) -> None:
    with pytest.raises(ValidationError, match="must be an origin"):
        make_settings(Settings, "postgresql://x", public_url=url)
    assert make_settings(Settings, "postgresql://x", public_url="https://example.org/").public_url
