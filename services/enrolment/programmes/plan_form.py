"""The form that holds a programme: what was typed, how its rows are moved about, and what it comes to."""

import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pydantic import TypeAdapter, ValidationError
from starlette.datastructures import FormData

from services.enrolment.endpoints.forms import Fault, typed
from services.enrolment.programmes.ready_made import Plan
from shared.events import FeedbackPlan, Milestone, Title
from shared.events.vocabulary import CatalogueTitle, Group, Practice

MOST_MILESTONES = 100
MOST_DAYS = 365
LANGUAGES = ("sv", "en")
ASKED = (Group.self, Group.manager, Group.peer, Group.led)
"""The respondent groups that are offered: no customers are asked yet."""
_TITLE: TypeAdapter[str] = TypeAdapter(CatalogueTitle)
_KEY_LENGTH = 40


def _blank() -> dict[str, str]:
    return dict.fromkeys(LANGUAGES, "")


@dataclass(frozen=True, slots=True)
class Row:
    """A milestone as it was typed. `key` is empty until it is kept; `round` is whether it opens one."""

    key: str = ""
    title: Mapping[str, str] = field(default_factory=_blank)
    practices: Sequence[Practice] = ()
    round: bool = False
    kind: str = "milestone"
    groups: Sequence[Group] = ASKED[:3]
    days: str = "14"

    @property
    def offered(self) -> list[Group]:
        """The groups to choose from: those that are asked, and whoever an older version names besides."""
        return [group for group in Group if group in ASKED or group in self.groups]


@dataclass(frozen=True, slots=True)
class PlanForm:
    """A programme as it was typed."""

    title: Mapping[str, str]
    rows: tuple[Row, ...]

    @property
    def untrained(self) -> list[Practice]:
        """The practices that no milestone trains."""
        return untrained(self.rows)


EMPTY = PlanForm(_blank(), (Row(),))


def untrained(milestones: Sequence[Row | Milestone]) -> list[Practice]:
    """The practices that none of these trains, in their lasting order."""
    trained = {practice for milestone in milestones for practice in milestone.practices}
    return [practice for practice in Practice if practice not in trained]


def filled(title: Title, milestones: Sequence[Milestone]) -> PlanForm:
    """The form that holds this."""
    return PlanForm(title.model_dump(), tuple(_row(milestone) for milestone in milestones))


def _row(milestone: Milestone) -> Row:
    row = Row(milestone.key, milestone.title.model_dump(), milestone.practices)
    if (feedback := milestone.feedback) is None:
        return row
    return replace(row, round=True, kind=feedback.kind, groups=feedback.groups, days=str(feedback.days_open))


def read(fields: FormData) -> PlanForm:
    """What was typed."""
    rows = []
    for nth in range(MOST_MILESTONES):
        at = f"milestones.{nth}"
        if f"{at}.key" not in fields:
            break
        rows.append(
            Row(
                key=typed(fields, f"{at}.key"),
                title={language: typed(fields, f"{at}.title.{language}") for language in LANGUAGES},
                practices=[each for each in Practice if each in fields.getlist(f"{at}.practices")],
                round=f"{at}.feedback" in fields,
                kind=typed(fields, f"{at}.feedback.kind"),
                groups=[each for each in Group if each in fields.getlist(f"{at}.feedback.groups")],
                days=typed(fields, f"{at}.feedback.days_open"),
            )
        )
    return PlanForm({language: typed(fields, f"title.{language}") for language in LANGUAGES}, tuple(rows))


def rearrange(form: PlanForm, do: str) -> tuple[PlanForm, str | None]:
    """The form after `add`, `remove.N`, `up.N` or `down.N`, and the field where whoever pressed it goes on."""
    rows = list(form.rows)
    what, _, nth = do.partition(".")
    if what == "add":
        if len(rows) < MOST_MILESTONES:
            rows.append(Row())
        return replace(form, rows=tuple(rows)), f"milestones.{len(rows) - 1}.title.sv"
    if not re.fullmatch(r"[0-9]{1,3}", nth) or int(nth) >= len(rows):
        return form, None
    row, place = rows.pop(int(nth)), int(nth)
    if what in ("up", "down"):
        place = max(0, place - 1) if what == "up" else place + 1
        rows.insert(place, row)
    else:
        place = min(place, len(rows) - 1)
    return replace(form, rows=tuple(rows)), f"milestones.{place}" if rows else "add"


def check(form: PlanForm) -> Plan | Mapping[str, Fault]:
    """What the form comes to, or what is wrong with it, by field."""
    faults: dict[str, Fault] = {}
    for language in LANGUAGES:
        _check_title(form.title[language], f"title.{language}", f"plan.wrong.title.{language}", {}, faults)
    for nth, row in enumerate(form.rows):
        _check_row(row, nth, faults)
    if faults:
        return faults
    taken = {row.key for row in form.rows}
    milestones: list[Milestone] = []
    for nth, row in enumerate(form.rows):
        key = row.key or _key(row.title["en"], taken)
        taken.add(key)
        try:
            milestones.append(
                Milestone(key=key, title=Title(**row.title), practices=tuple(row.practices), feedback=_feedback(row))
            )
        except ValidationError:  # of what people do not fill in
            return {f"milestones.{nth}.title.sv": Fault("refused.invalid")}
    return Plan(title=Title(**form.title), milestones=tuple(milestones))


def _check_row(row: Row, nth: int, faults: dict[str, Fault]) -> None:
    at, which = f"milestones.{nth}", {"nth": nth + 1}
    for language in LANGUAGES:
        _check_title(row.title[language], f"{at}.title.{language}", f"plan.wrong.row_title.{language}", which, faults)
    if not row.practices:
        faults[f"{at}.practices"] = Fault("plan.wrong.practices", which)
    if row.round and not row.groups:
        faults[f"{at}.feedback.groups"] = Fault("plan.wrong.groups", which)
    if row.round and not (re.fullmatch(r"[0-9]{1,3}", row.days) and 1 <= int(row.days) <= MOST_DAYS):
        faults[f"{at}.feedback.days_open"] = Fault("plan.wrong.days", which | {"most": MOST_DAYS})


def _check_title(title: str, at: str, missing: str, which: Mapping[str, object], faults: dict[str, Fault]) -> None:
    if not title:
        faults[at] = Fault(missing, which)
        return
    try:
        _TITLE.validate_python(title)
    except ValidationError:
        faults[at] = Fault("form.wrong.name")


def _feedback(row: Row) -> FeedbackPlan | None:
    return FeedbackPlan(kind=row.kind, groups=tuple(row.groups), days_open=int(row.days)) if row.round else None


def _key(title: str, taken: Collection[str]) -> str:
    """A key that says what the milestone is, as events will name it from now on."""
    plain = unicodedata.normalize("NFKD", title.lower()).encode("ascii", "ignore").decode()
    words = re.sub(r"[^a-z0-9]+", "_", plain).strip("_") or "milestone"
    key = words if len(words) <= _KEY_LENGTH else words[: _KEY_LENGTH + 1].rpartition("_")[0] or words[:_KEY_LENGTH]
    return next(each for each in (key, *(f"{key}_{n}" for n in range(2, MOST_MILESTONES + 2))) if each not in taken)
