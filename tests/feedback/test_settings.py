"""Settings that would give answers away are refused."""

import pytest
from pydantic import ValidationError

from services.feedback.settings import FeedbackSettings
from tests.feedback.house import SECRETS
from tests.support.settings import make_settings

DSN = "postgresql://nowhere"


def test_in_production_answers_are_not_counted_so_often_that_a_count_tells_when_somebody_answered() -> None:
    with pytest.raises(ValidationError, match="count_minutes"):
        make_settings(FeedbackSettings, DSN, environment="production", count_minutes=1)
    assert make_settings(FeedbackSettings, DSN, count_minutes=0.1).count_minutes == 0.1


def test_the_secret_that_notifications_shares_cannot_be_the_one_that_opens_ballots() -> None:
    with pytest.raises(ValidationError, match="must differ"):
        make_settings(FeedbackSettings, DSN, link_secret=SECRETS["link_secret"], ballot_secret=SECRETS["link_secret"])


@pytest.mark.parametrize("values", [{"feedback_k": 4}, {"ballot_secret": "short"}, {"link_secret": "short"}])
def test_too_small_a_k_and_secrets_that_can_be_guessed_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        make_settings(FeedbackSettings, DSN, **values)
