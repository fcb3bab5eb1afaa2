"""What was sent, how far it is, what came of it, and the way to end it."""

import csv
import io
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Request, Response
from fastapi.responses import HTMLResponse

from services.enrolment.endpoints.forms import confirm, submit
from services.enrolment.endpoints.requests import After
from services.enrolment.imports import actions, queries
from services.enrolment.imports.choices import DELIMITERS, FIELDS, STATUSES
from services.enrolment.imports.columns import REQUIRED
from services.enrolment.imports.encodings import EVERY
from services.enrolment.imports.report import IssueTold, Report
from services.enrolment.imports.store import ledger
from shared.http.request import Who, now, pool
from shared.postgres.transaction import transaction
from shared.security.authorization import require
from shared.security.principal import Principal
from shared.security.same_origin import form_guard
from shared.web.locale import choose_language
from shared.web.render import render

router = APIRouter(prefix="/enrolment/imports", include_in_schema=False)
FORM = [Depends(form_guard)]
IMPORTS = "/enrolment/imports"
PER_PAGE = 25
_ISSUES_SHOWN = 100
_PEOPLE_SHOWN = 10
_COUNTED = (
    "rows", "rows_with_errors", "kept_as_they_were", "left_before", "warnings", "joined", "deactivated", "reactivated",
    "moved", "manager_changed", "changed", "unchanged", "without_login", "new_units",
    "teams_changed",
)  # fmt: skip
_WOULD = (
    ("joined", "joined"), ("deactivated", "left"), ("reactivated", "returned"), ("moved", "moved"),
    ("manager_changed", "manager"), ("changed", "changed"), ("new_units", None), ("unchanged", None),
    ("rows_with_errors", "issues"),
)  # fmt: skip
# Where a cell may begin with a formula: a spreadsheet splits at the character its own country uses, whatever the file
# was split at, and takes away quotes.
_FORMULA = re.compile(r"""(^|[;,\t\r\n])((?:[^\S\t\r\n]|")*)(?=[=+\-@])""")
_ISSUE_COLUMNS = ("line", "severity", "column", "employee_id", "detail", "remedy")

ImportId = Annotated[UUID, Path(description="The import.")]


@router.get("")
async def imports(request: Request, who: Who, after: After) -> HTMLResponse:
    """All imports, the newest first."""
    async with transaction(pool(request)) as conn:
        await require(conn, who, *queries.MAY_IMPORT)
        page = await ledger.list_imports(conn, after, PER_PAGE)
    return render(request, who, "imports.html", imports=page.items, next=page.next)


@router.get("/{import_id}")
async def one_import(request: Request, who: Who, import_id: ImportId) -> HTMLResponse:
    """One import: how far it is, its report when it has ended, and the ways to go on with its file."""
    return await show_import(request, who, import_id)


async def show_import(
    request: Request, who: Principal, import_id: UUID, *, form: Mapping[str, str] | None = None,
    errors: Mapping[str, str] | None = None,
) -> HTMLResponse:  # fmt: skip
    """The page of an import; with `form` and `errors`, texts' keys by field, as it was filled in and what is wrong."""
    async with transaction(pool(request)) as conn:
        found = await queries.one(conn, who, import_id, now=now(request))
        kept = await queries.kept(conn, found)
    return render(
        request, who, "import.html", status=422 if errors else 200, found=found,
        report=Report.model_validate(found.report or {}), kept=kept, form=form, errors=errors or {},
        issues_shown=_ISSUES_SHOWN, people_shown=_PEOPLE_SHOWN, counted=_COUNTED, would=_WOULD,
        fields=FIELDS, required=REQUIRED, encodings=EVERY, delimiters=tuple(DELIMITERS), statuses=STATUSES,
    )  # fmt: skip


@router.get("/{import_id}/issues.csv")
async def issues_as_csv(request: Request, who: Who, import_id: ImportId) -> Response:
    """What is to be put right, for whoever does it: in the reader's language, one line each."""
    async with transaction(pool(request)) as conn:
        found = await queries.one(conn, who, import_id, now=now(request))
    language = choose_language(request, who.locale)
    file = io.StringIO()
    writer = csv.writer(file, delimiter=";" if language == "sv" else ",")  # as spreadsheets of that language split it
    writer.writerow(_ISSUE_COLUMNS)
    writer.writerows(_cells(issue, language) for issue in Report.model_validate(found.report or {}).issues)
    disposition = {"Content-Disposition": f'attachment; filename="issues-{import_id}.csv"'}
    # With a mark, without which a spreadsheet takes it for another encoding than it is.
    return Response("\ufeff" + file.getvalue(), media_type="text/csv; charset=utf-8", headers=disposition)


def _cells(issue: IssueTold, language: str) -> list[str | int]:
    told = (issue.detail, issue.remedy)
    if issue.sentence is not None:
        told = (issue.sentence.detail(language), issue.sentence.remedy(language))
    return [issue.line, issue.severity, *map(_harmless, (issue.column, issue.employee_id, *told))]


def _harmless(text: str | None) -> str:
    """What a spreadsheet would take for a formula stays text when it opens the file."""
    return _FORMULA.sub(r"\1\2'", text or "")


@router.get("/{import_id}/cancel")
async def confirm_cancelling(request: Request, who: Who, import_id: ImportId) -> HTMLResponse:
    """Ask before cancelling: nothing of it is kept."""
    return await _ask_first(request, who, import_id, "cancel")


@router.post("/{import_id}/cancel", dependencies=FORM)
async def cancel(request: Request, who: Who, import_id: ImportId) -> Response:
    """End an import that waits or runs."""
    return await _do(request, who, import_id, actions.cancel, "import_cancelled")


@router.get("/{import_id}/discard")
async def confirm_discarding(request: Request, who: Who, import_id: ImportId) -> HTMLResponse:
    """Ask before a file is forgotten."""
    return await _ask_first(request, who, import_id, "discard")


@router.post("/{import_id}/discard", dependencies=FORM)
async def discard(request: Request, who: Who, import_id: ImportId) -> Response:
    """Forget the file of an import that nobody goes on with."""
    return await _do(request, who, import_id, actions.discard, "import_discarded")


async def _ask_first(request: Request, who: Principal, import_id: UUID, what: str) -> HTMLResponse:
    async with transaction(pool(request)) as conn:
        await require(conn, who, *queries.MAY_IMPORT)
        found = await queries.find(conn, import_id)
    page = f"{IMPORTS}/{import_id}"
    return confirm(
        request, who, f"{what}_import", action=f"{page}/{what}", back=page, file=found.file_name or found.source
    )


async def _do(
    request: Request, who: Principal, import_id: UUID, action: Callable[..., Awaitable[object]], done: str
) -> Response:
    async with transaction(pool(request)) as conn:
        await require(conn, who, *queries.MAY_IMPORT)
    return await submit(
        request,
        lambda conn, now: action(conn, who, import_id, now=now),
        back=f"{IMPORTS}/{import_id}",
        done=done,
    )
