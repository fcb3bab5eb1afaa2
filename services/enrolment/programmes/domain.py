"""The rules of programme versions: what a plan must hold, and what may happen to it when. Pure."""

import hashlib
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeVar
from uuid import UUID

from shared.errors import RuleError
from shared.events import Event, FeedbackPlan, Milestone, ProgrammePublished, ProgrammeRetired, Title


class VersionStatus(StrEnum):
    draft = "draft"
    published = "published"
    retired = "retired"


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a programme; `milestones` in the order in which they are shown, not one that is demanded."""

    programme_id: UUID
    version: int
    status: VersionStatus
    title: Title
    milestones: tuple[Milestone, ...]


class WrongPlanError(RuleError):
    """The plan cannot be kept as it is."""

    status = 422
    type = "invalid"
    title = "Some of what was sent is not right"


class NotADraftError(RuleError):
    """Published and retired versions never change."""

    type = "version-is-not-a-draft"
    title = "This version can no longer be changed"


class NotPublishedError(RuleError):
    """Only a published version can run or retire."""

    type = "version-is-not-published"
    title = "This version is not published"


class DraftExistsError(RuleError):
    """A programme has one draft at a time."""

    type = "draft-exists"
    title = "There is a draft already"


class ChangedMeanwhileError(RuleError):
    """Somebody else has changed the draft, or published a version, since whoever decides read it."""

    type = "changed-meanwhile"
    title = "It has changed meanwhile"


_T = TypeVar("_T", bound=Hashable)


def draft(programme_id: UUID, version: int, title: Title, milestones: Sequence[Milestone]) -> Version:
    """A new draft. Raises WrongPlanError; a draft may still lack milestones."""
    _check(milestones)
    return Version(programme_id, version, VersionStatus.draft, title, tuple(milestones))


def following(newest: Version, title: Title, milestones: Sequence[Milestone], *, seen: str | None = None) -> Version:
    """The draft of the version after the newest; `seen` is the fingerprint of the newest that was read before.

    Raises DraftExistsError, ChangedMeanwhileError, WrongPlanError.
    """
    if newest.status is VersionStatus.draft:
        raise DraftExistsError(f"Version {newest.version} is a draft.", remedy="Edit that one, or publish it first.")
    _must_be_as_seen(newest, seen)
    return draft(newest.programme_id, newest.version + 1, title, milestones)


def edit(version: Version, title: Title, milestones: Sequence[Milestone], *, seen: str | None = None) -> Version:
    """The draft with other content; `seen` is the fingerprint of what was read before.

    Raises NotADraftError, ChangedMeanwhileError, WrongPlanError.
    """
    _must_be_draft(version, "changed")
    _must_be_as_seen(version, seen)
    _check(milestones)
    return replace(version, title=title, milestones=tuple(milestones))


def publish(version: Version, *, seen: str | None = None) -> tuple[Version, list[Event]]:
    """The version as it will stay; `seen` is the fingerprint of what was read before.

    Raises NotADraftError, ChangedMeanwhileError, and WrongPlanError when it has no milestones.
    """
    _must_be_draft(version, "published")
    _must_be_as_seen(version, seen)
    if not version.milestones:
        raise WrongPlanError(
            "A programme needs at least one milestone.", field="milestones", remedy="Add a milestone to the draft."
        )
    published = replace(version, status=VersionStatus.published)
    return published, [
        ProgrammePublished(
            programme_id=version.programme_id,
            version=version.version,
            title=version.title,
            milestones=version.milestones,
        )
    ]


def retire(version: Version) -> tuple[Version, list[Event]]:
    """No new cohorts on this version; those that exist go on. Raises NotPublishedError."""
    must_be_published(version)
    retired = replace(version, status=VersionStatus.retired)
    return retired, [ProgrammeRetired(programme_id=version.programme_id, version=version.version)]


def fingerprint(version: Version) -> str:
    """Tells one content of a version from another."""
    content = "\n".join(part.model_dump_json() for part in (version.title, *version.milestones))
    return hashlib.sha256(content.encode()).hexdigest()


def must_be_published(version: Version) -> None:
    """Raises NotPublishedError unless cohorts can be made on this version."""
    if version.status is not VersionStatus.published:
        raise NotPublishedError(
            f"Version {version.version} is {version.status}.",
            field="programme_version",
            remedy="Publish it first." if version.status is VersionStatus.draft else "Choose a published version.",
        )


def _must_be_draft(version: Version, done: str) -> None:
    if version.status is not VersionStatus.draft:
        raise NotADraftError(
            f"Version {version.version} is {version.status}; only a draft can be {done}.",
            remedy="Make a new version.",
        )


def _must_be_as_seen(version: Version, seen: str | None) -> None:
    if seen is not None and seen != fingerprint(version):
        raise ChangedMeanwhileError(
            f"Version {version.version} is not what was read before: somebody else has changed the programme.",
            remedy="Read it again, then decide.",
        )


def _check(milestones: Sequence[Milestone]) -> None:
    for key in _repeated(milestone.key for milestone in milestones):
        raise WrongPlanError(
            f"The key {key!r} is used by more than one milestone.", field="milestones", remedy="Give each its own key."
        )
    for nth, milestone in enumerate(milestones):
        where = f"milestones.{nth}"
        _check_set(milestone.practices, f"{where}.practices", "practice")
        if milestone.feedback is not None:
            _check_feedback(milestone.feedback, f"{where}.feedback")


def _check_feedback(feedback: FeedbackPlan, where: str) -> None:
    _check_set(feedback.groups, f"{where}.groups", "respondent group")


def _check_set(values: Sequence[_T], where: str, word: str) -> None:
    if not values:
        raise WrongPlanError(f"At least one {word} must be named.", field=where, remedy=f"Name a {word}.")
    for value in _repeated(values):
        raise WrongPlanError(f"The {word} {value} is named twice.", field=where, remedy="Name each once.")


def _repeated(values: Iterable[_T]) -> list[_T]:
    return [value for value, times in Counter(values).items() if times > 1]
