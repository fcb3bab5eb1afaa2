"""The platform's Kafka topics, as `topics.yaml` declares them."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict

SHIPPED_FILE = Path(__file__).with_name("topics.yaml")


class Topic(BaseModel):
    """One declared topic."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    carries: str
    partitions: int = 6
    compacted: bool = False
    restricted: bool = False
    kept_days: int | None = None

    @property
    def configuration(self) -> dict[str, str]:
        """The topic's settings. Kept for `kept_days`, or without limit; a compacted topic by its keys."""
        if self.compacted:
            return {"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.1"}
        milliseconds = -1 if self.kept_days is None else self.kept_days * 86_400_000
        return {"cleanup.policy": "delete", "retention.ms": str(milliseconds), "retention.bytes": "-1"}


@cache
def load_topics(file: Path | None = None) -> Mapping[str, Topic]:
    """The declared topics by name, from `file` or the one shipped."""
    declared = yaml.safe_load((file or SHIPPED_FILE).read_text(encoding="utf-8"))
    return {name: Topic(name=name, **fields) for name, fields in declared.items()}
