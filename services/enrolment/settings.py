"""What a deployment may set for enrolment, besides what every service shares."""

from datetime import timedelta

from pydantic import Field

from shared.settings import Settings


class EnrolmentSettings(Settings):
    """Settings of the enrolment service, each the environment variable `MEDLED_<NAME>`."""

    approval_days: float = Field(
        default=14, gt=0, le=365, description="How long a manager has to answer a request before it expires, in days."
    )

    feedback_k: int = Field(
        default=5,
        ge=5,
        le=100,
        description="As feedback has it: it is said beforehand how many peers a round may ask.",
    )

    @property
    def answer_within(self) -> timedelta:
        """How long a request waits for its answer."""
        return timedelta(days=self.approval_days)
