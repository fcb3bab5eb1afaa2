"""Programmes that a new organisation can begin with, from `ready_made.yaml`."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict

from shared.events import Milestone, Title

_FILE = Path(__file__).with_name("ready_made.yaml")


class Plan(BaseModel):
    """What a programme is to hold."""

    model_config = ConfigDict(extra="forbid")

    title: Title
    milestones: tuple[Milestone, ...]


class ReadyMade(BaseModel):
    """A programme to begin with, and what is said about it where it is offered."""

    model_config = ConfigDict(extra="forbid")

    name: str
    about: Title
    programme: Plan


@cache
def ready_made() -> Mapping[str, ReadyMade]:
    """All of them by name, in the order in which they are offered."""
    found = [ReadyMade.model_validate(each) for each in yaml.safe_load(_FILE.read_text(encoding="utf-8"))]
    return {each.name: each for each in found}
