"""The form that plans a cohort: what was typed, and what it comes to when it is right."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from uuid import UUID

from pydantic import TypeAdapter, ValidationError
from starlette.datastructures import FormData

from services.enrolment.endpoints.forms import Fault, typed
from shared.events.vocabulary import CatalogueTitle, Day

MOST_PLACES = 100_000
_NAME: TypeAdapter[str] = TypeAdapter(CatalogueTitle)
_DAY: TypeAdapter[date] = TypeAdapter(Day)


@dataclass(frozen=True, slots=True)
class CohortForm:
    """A cohort as it was typed. `unit_id` is empty for everybody; `sought` narrows the units to choose from."""

    programme_version: str = ""
    name: str = ""
    capacity: str = ""
    unit_id: str = ""
    sought: str = ""
    starts_on: str = ""
    ends_on: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What the form comes to."""

    programme_version: int | None
    name: str
    capacity: int
    unit_id: UUID | None
    starts_on: date
    ends_on: date


def read(fields: FormData) -> CohortForm:
    """What was typed."""
    return CohortForm(
        programme_version=typed(fields, "programme_version"),
        name=typed(fields, "name"),
        capacity=typed(fields, "capacity"),
        unit_id=typed(fields, "unit_id"),
        sought=typed(fields, "sought"),
        starts_on=typed(fields, "starts_on"),
        ends_on=typed(fields, "ends_on"),
    )


def check(form: CohortForm) -> Plan | Mapping[str, Fault]:
    """What the form comes to, or what is wrong with it, by field. That the days are in order is a rule's to say."""
    capacity, starts_on, ends_on = places(form.capacity), _day(form.starts_on), _day(form.ends_on)
    unit_id = unit(form.unit_id)
    if _is_name(form.name) and capacity and starts_on and ends_on and (unit_id or not form.unit_id):
        return Plan(_number(form.programme_version, 1_000_000), form.name, capacity, unit_id, starts_on, ends_on)
    found = {
        "name": None if _is_name(form.name) else Fault("form.wrong.name" if form.name else "cohort.wrong.name"),
        "capacity": None if capacity else wrong_places(),
        "unit_id": None if unit_id or not form.unit_id else Fault("cohort.wrong.unit_id"),
        "starts_on": None if starts_on else Fault("cohort.wrong.starts_on"),
        "ends_on": None if ends_on else Fault("cohort.wrong.ends_on"),
    }
    return {name: fault for name, fault in found.items() if fault}


def places(text: str) -> int | None:
    """A number of places that a cohort can have."""
    return _number(text, MOST_PLACES)


def wrong_places() -> Fault:
    """What is said when it is none."""
    return Fault("cohort.wrong.capacity", {"most": MOST_PLACES})


def unit(text: str) -> UUID | None:
    """The id of a unit."""
    try:
        return UUID(text)
    except ValueError:
        return None


def _number(text: str, most: int) -> int | None:
    digits = text.replace(" ", "")
    return int(digits) if re.fullmatch(r"[0-9]{1,7}", digits) and 1 <= int(digits) <= most else None


def _is_name(text: str) -> bool:
    try:
        _NAME.validate_python(text)
    except ValidationError:
        return False
    return True


def _day(text: str) -> date | None:
    try:
        return _DAY.validate_python(date.fromisoformat(text))
    except ValueError:  # of pydantic too
        return None
