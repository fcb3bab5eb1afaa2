"""Pages of whoever imports people: what was sent, how far it is, what came of it, and the way to end it."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Request, Response
from fastapi.responses import HTMLResponse

from services.enrolment.endpoints.forms import confirm, submit
from services.enrolment.endpoints.requests import After
from services.enrolment.imports import actions
from services.enrolment.imports.report import Report
from services.enrolment.imports.store import ledger
from shared.http.request import Who, now, pool
from shared.postgres.transaction import transaction
from shared.security.audit import audit
from shared.security.authorization import require
from shared.security.same_origin import form_guard
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

ImportId = Annotated[UUID, Path(description="The import.")]


@router.get("")
async def imports(request: Request, who: Who, after: After) -> HTMLResponse:
    """All imports, the newest first."""
    async with transaction(pool(request)) as conn:
        await require(conn, who, *actions.MAY_IMPORT)
        page = await ledger.list_imports(conn, after, PER_PAGE)
    return render(request, who, "imports.html", imports=page.items, next=page.next)


@router.get("/{import_id}")
async def one_import(request: Request, who: Who, import_id: ImportId) -> HTMLResponse:
    """One import: how far it is, and its report when it has ended."""
    async with transaction(pool(request)) as conn:
        await require(conn, who, *actions.MAY_IMPORT)
        found = await actions.find(conn, import_id)
        if found.report is not None:
            await audit(conn, who, "import.read", import_id, now(request))
    return render(
        request, who, "import.html", found=found, report=Report.model_validate(found.report or {}),
        issues_shown=_ISSUES_SHOWN, people_shown=_PEOPLE_SHOWN,
        counted=_COUNTED,
    )  # fmt: skip


@router.get("/{import_id}/cancel")
async def confirm_cancelling(request: Request, who: Who, import_id: ImportId) -> HTMLResponse:
    """Ask before cancelling: nothing of it is kept."""
    async with transaction(pool(request)) as conn:
        await require(conn, who, *actions.MAY_IMPORT)
        found = await actions.find(conn, import_id)
    page = f"{IMPORTS}/{import_id}"
    return confirm(
        request, who, "cancel_import", action=f"{page}/cancel", back=page, file=found.file_name or found.source
    )


@router.post("/{import_id}/cancel", dependencies=FORM)
async def cancel(request: Request, who: Who, import_id: ImportId) -> Response:
    """End an import that waits or runs."""
    async with transaction(pool(request)) as conn:
        await require(conn, who, *actions.MAY_IMPORT)
    return await submit(
        request,
        lambda conn, now: actions.cancel(conn, who, import_id, now=now),
        back=f"{IMPORTS}/{import_id}",
        done="import_cancelled",
    )
