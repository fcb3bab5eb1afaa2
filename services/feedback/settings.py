"""What a deployment may set for feedback, besides what every service shares."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Self

from pydantic import Field, SecretStr, model_validator

from shared.settings import Settings


@dataclass(frozen=True, slots=True)
class Secrets:
    """The two secrets of a feedback worker, as bytes."""

    link: bytes
    ballot: bytes


FEWEST_MINUTES = 15  # between two counts, in production
FEWEST_KNOWN_DAYS = 14  # in production


class FeedbackSettings(Settings):
    """Only the worker needs the two secrets: the API, which faces the world, can run without either."""

    link_secret: SecretStr | None = Field(
        default=None,
        min_length=32,
        description="Derives the tokens in invitations; the same for feedback's and notifications' workers.",
    )
    ballot_secret: SecretStr | None = Field(
        default=None,
        min_length=32,
        description="Wraps the rounds' private keys; feedback's worker alone. Keep it out of database backups. While "
        "rounds are open it cannot be changed without losing their answers.",
    )
    feedback_k: int = Field(
        default=5, ge=5, le=100, description="Fewest answers of a group that may be shown; locked when a round opens."
    )
    feedback_rest_days: int = Field(
        default=60, ge=30, description="How long a practice is not asked about the same person again after a round was "
        "released: two reports from nearly the same people could be subtracted from each other.",
    )  # fmt: skip
    feedback_known_days: int = Field(
        default=28, ge=0, le=365, description="How long, of the last two times that time, somebody must have "
        "belonged to a team to be asked about its members. In production at least 14, or whoever sends HR files "
        "could choose who answers.",
    )  # fmt: skip
    count_minutes: float = Field(
        default=60, gt=0, le=24 * 60, description="How often open rounds are counted, and closed when complete."
    )
    links_kept_days: int = Field(
        default=90, ge=1, description="How long after a round a used or expired link still says what became of it."
    )

    @model_validator(mode="after")
    def _must_keep_answers_apart(self) -> Self:
        if self.environment == "production" and self.count_minutes < FEWEST_MINUTES:
            raise ValueError(f"count_minutes below {FEWEST_MINUTES} would tell when somebody answered")
        if self.environment == "production" and self.feedback_known_days < FEWEST_KNOWN_DAYS:
            raise ValueError(f"feedback_known_days below {FEWEST_KNOWN_DAYS} would let an HR file choose who answers")
        if self.link_secret is not None and self.link_secret == self.ballot_secret:
            raise ValueError("ballot_secret must differ from link_secret, which notifications holds too")
        return self

    @property
    def secrets(self) -> Secrets:
        """Both secrets. Raises ValueError, naming the missing one."""
        if self.link_secret is None or self.ballot_secret is None:
            name = "MEDLED_LINK_SECRET" if self.link_secret is None else "MEDLED_BALLOT_SECRET"
            raise ValueError(f"{name} is not set; feedback's worker needs it")
        return Secrets(self.link_secret.get_secret_value().encode(), self.ballot_secret.get_secret_value().encode())

    @property
    def rest(self) -> timedelta:
        return timedelta(days=self.feedback_rest_days)

    @property
    def known_for(self) -> timedelta:
        return timedelta(days=self.feedback_known_days)

    @property
    def count_every(self) -> timedelta:
        return timedelta(minutes=self.count_minutes)

    @property
    def links_kept(self) -> timedelta:
        return timedelta(days=self.links_kept_days)
