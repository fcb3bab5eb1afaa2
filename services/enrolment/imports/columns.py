"""Which column of the file is which: Workday-like names by default, many others, or what a mapping file says."""

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

from services.enrolment.imports.refusal import FileRefusedError
from services.enrolment.imports.sentences import Phrase

FieldName = Literal[
    "employee_id", "given_name", "family_name", "email", "title", "grade",
    "unit", "manager", "status", "locale", "time_zone", "login",
]  # fmt: skip
_LONGEST_NAME = 500  # characters of a column's name; to normalise thousands of accents on one letter takes minutes
_MOST_NAMED = 10

REQUIRED: tuple[FieldName, ...] = ("employee_id", "given_name", "family_name", "unit")

# The first name found wins, so each line goes from the most to the least certain. Never a national identity number.
NAMES: dict[FieldName, str] = {
    "employee_id": "Employee ID, Worker ID, Employee Number, Employee No, Emp ID, Personnel Number, Staff ID,"
    "Staff Number, Anställningsnummer, Anställnings-ID, Anst.nr, Anställd-ID, Medarbetarnummer, External ID",
    "given_name": "Legal First Name, First Name, Given Name, Legal Given Name, Preferred First Name, Forename,"
    "Förnamn, Tilltalsnamn",
    "family_name": "Legal Last Name, Last Name, Family Name, Legal Family Name, Preferred Last Name, Surname,Efternamn",
    "email": "Work Email, Primary Work Email, Email - Work, Email Address - Work, Work Email Address, Business Email,"
    "Email, Email Address, E-post, E-postadress, E-post arbete, Epost jobb, Mejladress, Mail",
    "title": "Business Title, Job Title, Position Title, Title, Job Profile, Position, Befattning,"
    "Befattningsbenämning, Tjänstetitel, Titel",
    "grade": "Grade, Compensation Grade, Job Grade, Pay Grade, Job Level, Management Level, Grad, Befattningsnivå",
    "unit": "Supervisory Organization, Supervisory Organisation, Organizational Unit, Organisational Unit, Org Unit,"
    "Organization, Organisation, Department, Unit, Organisatorisk enhet, Organisationsenhet, Enhet, Avdelning",
    "manager": "Manager Employee ID, Manager ID, Manager's Employee ID, Manager Employee Number, Worker's Manager ID,"
    "Supervisor Employee ID, Supervisor ID, Line Manager ID, Line Manager Employee ID, Reports To, Reports To ID,"
    "Chefens anställningsnummer, Chef anställningsnummer, Chefs-ID, Chef-ID, Närmaste chef, Chef",
    "status": "Worker Status, Employee Status, Employment Status, Active Status, Status, Anställningsstatus",
    "locale": "Preferred Language, Preferred Locale, Language, Locale, Önskat språk, Språk",
    "time_zone": "Time Zone, Timezone, Tidszon",
    "login": "Login, Login Subject, User Name, User Principal Name, UPN, Subject, Network ID, Användarnamn, Inloggning",
}


def folded(text: str) -> str:
    """`text` without case, spaces and punctuation, so that `Employee_ID` and `employee id` are the same name."""
    return "".join(c for c in unicodedata.normalize("NFKC", text[:_LONGEST_NAME]).casefold() if c.isalnum())


@cache
def _aliases() -> Mapping[FieldName, tuple[str, ...]]:
    return {field: (folded(field), *(folded(name) for name in names.split(","))) for field, names in NAMES.items()}


@dataclass(frozen=True, slots=True)
class Header:
    """Where each field stands: its index and the name the file gives it; and the columns nobody asked for.

    repeated: the indexes of columns that share a name, for each such name.
    """

    line: int
    places: Mapping[FieldName, int]
    names: Sequence[str]
    unused: tuple[str, ...]
    repeated: tuple[tuple[int, ...], ...]

    @property
    def width(self) -> int:
        return len(self.names)

    def name_of(self, field: FieldName) -> str:
        return self.names[self.places[field]]

    def describe(self, places: Sequence[int]) -> Phrase:
        """These two columns or more, for a reader: `2 (E-mail) and 5 (e-mail)`, counted from 1."""
        more = len(places) - _MOST_NAMED
        *others, last = [f"{place + 1} ({self.names[place][:_LONGEST_NAME]})" for place in places[:_MOST_NAMED]]
        if more > 0:
            return Phrase("and_more", {"some": ", ".join([*others, last]), "more": more})
        return Phrase("and_last", {"some": ", ".join(others), "last": last})


def read_header(names: Sequence[str], told: Mapping[FieldName, Sequence[str]], line: int) -> Header:
    """The places of all fields found in `names`; whether they will do is `complain_about`'s question.

    told: how a mapping file calls the columns of some fields.
    """
    by_name: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        by_name.setdefault(folded(name), []).append(i)
    places: dict[FieldName, int] = {}
    for field, aliases in _aliases().items():
        wanted = [folded(name) for name in told[field]] if field in told else aliases
        found = next((alias for alias in wanted if alias in by_name), None)
        if found is not None:
            places[field] = by_name[found][0]
    used = set(places.values())
    unused = tuple(name for i, name in enumerate(names) if i not in used and name.strip())
    repeated = tuple(tuple(same) for name, same in by_name.items() if name and len(same) > 1)
    return Header(line, places, names, unused, repeated)


def complain_about(header: Header) -> None:
    """Refuse, naming columns and what to do, unless every required field has one column and each at most one.

    Raises FileRefusedError.
    """
    _complain_about_missing(header)
    for field, place in header.places.items():
        for same in header.repeated:
            if place in same:
                raise FileRefusedError("duplicate_columns.read", columns=header.describe(same), field=field)


def _complain_about_missing(header: Header) -> None:
    missing = [field for field in REQUIRED if field not in header.places]
    if not missing:
        return
    named = [name[:_LONGEST_NAME] for name in header.names if name.strip()]
    found: str | Phrase = ", ".join(named[:100]) or Phrase("none")
    if len(named) > 100:
        found = Phrase("and_more", {"some": ", ".join(named[:100]), "more": len(named) - 100})
    expected = tuple(Phrase(f"needed.{field}") for field in missing)
    raise FileRefusedError("missing_columns", expected=expected, found=found, first=missing[0])
