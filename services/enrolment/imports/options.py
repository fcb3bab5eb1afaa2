"""How a file is imported, as its sender says it: checked here, and stored with the import."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from services.enrolment.imports.domain import Cap
from services.enrolment.imports.values import UnusableValueError, read_locale, read_time_zone

LARGEST_FILE = 64 * 1024 * 1024


class ImportOptions(BaseModel):
    """How to import a file. In the query, or as fields of a multipart form beside `file`."""

    model_config = ConfigDict(extra="forbid")

    source: str = Field(
        default="hr",
        pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$",
        description="Which HR platform the file is from. Employee ids are its own; it deactivates its own people only.",
    )
    dry_run: bool = Field(default=False, description="Only tell the difference.")
    full: bool = Field(default=True, description="Whether people who are missing from the file have left.")
    max_deactivations: str = Field(
        default="10%", description="Refuse a file that deactivates more: a share of this source's people, or a number."
    )
    allow_overlap: bool = Field(
        default=False,
        description="Import the file even if most who join have the login, e-mail or employee id of another source's "
        "active people, who may then be there twice.",
    )
    unit_separator: str = Field(default=" - ", min_length=1, max_length=10, description="Between the levels of a unit.")
    mapping: str | None = Field(
        default=None,
        max_length=100_000,
        description="A mapping file's text, TOML or YAML: columns, statuses, delimiter and encoding.",
    )
    default_locale: str = Field(default="sv", description="The language of people of whom the file says none.")
    default_time_zone: str = Field(default="Europe/Stockholm", description="The time zone of such people.")

    @field_validator("max_deactivations")
    @classmethod
    def _a_cap(cls, text: str) -> str:
        Cap.parse(text)
        return text

    @field_validator("default_locale", "default_time_zone")
    @classmethod
    def _usable(cls, text: str, info: Any) -> str:
        try:
            return read_locale(text) if info.field_name == "default_locale" else read_time_zone(text)
        except UnusableValueError as problem:
            raise ValueError(f"{problem.sentence.detail()} {problem.sentence.remedy()}") from problem
