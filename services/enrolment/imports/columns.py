"""Which column of the file is which: Workday-like names by default, many others, or a small mapping file."""

import tomllib
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from services.enrolment.imports.refusal import FileRefused

FieldName = Literal[
    "employee_id", "given_name", "family_name", "email", "title", "grade",
    "unit", "manager", "status", "locale", "time_zone", "login",
]  # fmt: skip
REQUIRED: tuple[FieldName, ...] = ("employee_id", "given_name", "family_name", "unit")

# The first name found wins, so each line goes from the most to the least certain. Never a national identity number.
_NAMES: dict[FieldName, str] = {
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
    return "".join(c for c in unicodedata.normalize("NFKC", text).casefold() if c.isalnum())


@cache
def _aliases() -> Mapping[FieldName, tuple[str, ...]]:
    return {field: (folded(field), *(folded(name) for name in names.split(","))) for field, names in _NAMES.items()}


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


class MappingFile(BaseModel):
    """The override file, TOML or YAML: only what differs from the defaults needs to be said."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    columns: dict[FieldName, Annotated[list[str], BeforeValidator(_as_list), Field(min_length=1)]] = {}
    statuses: dict[str, Literal["active", "on_leave", "inactive"]] = {}
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    encoding: str | None = None


def parse_mapping(text: str) -> MappingFile:
    """The mapping file `text`, TOML or YAML. Raises FileRefused with the place at fault."""
    try:
        return MappingFile.model_validate(_toml_or_yaml(text))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise FileRefused(
            "mapping",
            f"The mapping file is not understood at {where}: {first['msg']}.",
            f"Use the tables columns ({', '.join(_NAMES)}) and statuses, and the keys delimiter and encoding.",
        ) from error


class _PlainLoader(yaml.SafeLoader):
    """YAML without aliases: a mapping needs none, and a few lines of them can stand for millions."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not understood here")
        return super().compose_node(parent, index)


def _toml_or_yaml(text: str) -> object:
    # A number or a date that cannot be, and brackets without end, are not YAMLError or TOMLDecodeError.
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as toml:
        try:
            return yaml.load(text, _PlainLoader) or {}  # noqa: S506 - a SafeLoader with less
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise FileRefused(
                "mapping",
                f"The mapping file is neither TOML ({_first_line(toml)}) nor YAML ({_first_line(error)}).",
                "Correct the mapping file.",
            ) from error


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:200]


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

    def describe(self, places: Sequence[int]) -> str:
        """These columns for a reader: `2 (E-mail) and 5 (e-mail)`, counted from 1."""
        *others, last = [f"{place + 1} ({self.names[place]})" for place in places]
        return f"{', '.join(others)} and {last}" if others else last


def read_header(names: Sequence[str], mapping: MappingFile, line: int) -> Header:
    """The places of all fields found in `names`; whether they will do is `complain_about`'s question."""
    folded_names = [folded(name) for name in names]
    places: dict[FieldName, int] = {}
    for field, aliases in _aliases().items():
        wanted = [folded(name) for name in mapping.columns[field]] if field in mapping.columns else aliases
        found = next((alias for alias in wanted if alias in folded_names), None)
        if found is not None:
            places[field] = folded_names.index(found)
    used = set(places.values())
    unused = tuple(name for i, name in enumerate(names) if i not in used and name.strip())
    by_name: dict[str, list[int]] = {}
    for i, name in enumerate(folded_names):
        by_name.setdefault(name, []).append(i)
    repeated = tuple(tuple(same) for name, same in by_name.items() if name and len(same) > 1)
    return Header(line, places, names, unused, repeated)


def complain_about(header: Header) -> None:
    """Raises FileRefused, naming columns and what to do, unless every required field has one and each at most one."""
    _complain_about_missing(header)
    for field, place in header.places.items():
        for same in header.repeated:
            if place in same:
                raise FileRefused(
                    "duplicate_columns",
                    f"Columns {header.describe(same)} have the same name, and nobody can say which holds the {field}.",
                    "Remove or rename all but one of them, and send the file again.",
                )


def _complain_about_missing(header: Header) -> None:
    missing = [field for field in REQUIRED if field not in header.places]
    if not missing:
        return
    found = ", ".join(name for name in header.names if name.strip()) or "none"
    expected = "; ".join(f"{field} (for example {_NAMES[field].split(',')[0]})" for field in missing)
    raise FileRefused(
        "missing_columns",
        f"Required columns are missing: {expected}. Columns found: {found}.",
        "Rename the columns, or name them in a mapping file, for example: columns." + f'{missing[0]} = "..."',
    )
