"""Settings that would send badly are refused where they are read."""

from typing import Any

import pytest
from pydantic import ValidationError

from services.notifications.channels.mail.compose import Composer
from services.notifications.channels.mail.sender import SenderSettings
from services.notifications.settings import NotificationsSettings
from tests.support.settings import make_settings

SENDING = {"mail_sender": "no-reply@räksmörgås.se", "smtp_host": "mail.example.org", "link_secret": "x" * 32}


def settings(**changes: Any) -> NotificationsSettings:
    return make_settings(NotificationsSettings, "postgresql://127.0.0.1/x", **(SENDING | changes))


def test_the_senders_domain_makes_the_message_ids() -> None:
    made = settings()
    assert made.message_id_domain == "xn--rksmrgs-5wao1o.se"
    assert Composer.of(made).sender == "no-reply@xn--rksmrgs-5wao1o.se"
    assert SenderSettings.of(made).server.security == "starttls"


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"smtp_security": "none", "smtp_password": "secret"}, "MEDLED_SMTP_PASSWORD would travel in the clear"),
        ({"mail_lease_seconds": 30}, "MEDLED_MAIL_LEASE_SECONDS"),
        ({"mail_sender": "no-reply"}, "MEDLED_MAIL_SENDER"),
        ({"mail_sender": "a@b.se>\r\nRCPT TO:<c@d.se"}, "MEDLED_MAIL_SENDER"),
        ({"link_secret": "short"}, "link_secret"),
    ],
)
def test_a_setting_that_would_leak_or_send_twice_is_refused(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        settings(**changes)


@pytest.mark.parametrize("missing", ["mail_sender", "smtp_host", "link_secret"])
def test_the_worker_names_what_it_lacks_and_the_api_runs_without(missing: str) -> None:
    made = settings(**{missing: None})
    with pytest.raises(ValueError, match=f"MEDLED_{missing.upper()} is not set"):
        (Composer.of(made), SenderSettings.of(made))
