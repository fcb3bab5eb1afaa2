"""What was played, kept in the data directory: for the summary, and for going on where a demo was interrupted."""

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, Field

from deploy.stack import write_private


class Record(BaseModel):
    """The scenes that have been played to their end, and what came of them.

    tally: how often things were done and are therefore expected, by name. mails_read: files of the mail sink that were
    dealt with. enrolments: of the first cohort, by login.
    """

    version: int = 1
    scenes: list[str] = []
    finished_at: datetime | None = None
    programme_id: str | None = None
    cohorts: dict[str, str] = {}
    enrolments: dict[str, str] = {}
    active: list[str] = []
    promoted: str | None = None
    leading: list[str] = []
    trace_id: str | None = None
    mails_read: list[str] = []
    tally: Counter[str] = Field(default_factory=Counter)
    answered: dict[str, dict[str, int]] = {}

    @classmethod
    def load(cls, data: Path) -> "Record":
        """The record of this data directory; an empty one where nothing was played."""
        file = _file(data)
        return cls.model_validate_json(file.read_bytes()) if file.exists() else cls()

    def save(self, data: Path) -> None:
        """Keep it, all at once."""
        write_private(_file(data), self.model_dump_json(indent=2))

    def finish(self, data: Path) -> None:
        """Everything was played."""
        self.finished_at = datetime.now(UTC)
        self.save(data)


def _file(data: Path) -> Path:
    return data / "demo.json"
