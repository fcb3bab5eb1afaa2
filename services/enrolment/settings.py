"""What a deployment may set for enrolment, besides what every service shares."""

from datetime import timedelta

from pydantic import Field

from shared.settings import Settings


class EnrolmentSettings(Settings):
    """Settings of the enrolment service, each the environment variable `MEDLED_<NAME>`."""

    approval_days: float = Field(
        default=14, gt=0, le=365, description="How long a manager has to answer a request before it expires, in days."
    )
    import_minutes: float = Field(
        default=20, gt=0, le=1440, description="How long reading and checking an HR export may take, in minutes."
    )

    @property
    def import_time_limit(self) -> timedelta:
        """How long reading and checking an HR export may take."""
        return timedelta(minutes=self.import_minutes)

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
