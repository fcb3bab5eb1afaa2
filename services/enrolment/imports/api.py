"""HR exports over HTTP: send a file, watch it being imported, read the report."""

import asyncio
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, ClassVar
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.datastructures import UploadFile

from services.enrolment.endpoints.requests import After
from services.enrolment.imports import actions, queries
from services.enrolment.imports.mapping import parse_mapping
from services.enrolment.imports.options import LARGEST_FILE, ImportOptions
from services.enrolment.imports.refusal import FileRefusedError
from services.enrolment.imports.report import Report
from services.enrolment.imports.store import ledger
from shared.errors import ProblemError
from shared.http.app import MIB
from shared.http.idempotency import change, digest_of
from shared.http.links import Links
from shared.http.pagination import Limit, Page
from shared.http.request import Who, now, pool
from shared.postgres.transaction import transaction
from shared.security.authorization import require
from shared.security.principal import Principal

router = APIRouter(prefix="/enrolment/v1/imports", tags=["imports"])


class ImportOut(BaseModel):
    """An import. `report` comes when it has ended; it tells what changed, or why nothing did.

    `status` goes from queued over running to done, refused (by what the file says), failed (for any other reason) or
    cancelled (by `cancelled_by`; while that stands beside running, its worker has yet to hear of it). `attempts`: how
    often it was begun; one that its process did not survive is begun again, three times in all.
    """

    LINKS: ClassVar[Links] = {"get_import": {"import_id": "id"}, "cancel_import": {"import_id": "id"}}

    id: UUID
    source: str
    dry_run: bool
    file_name: str | None
    size: int
    status: str
    phase: str
    percent: int
    counts: dict[str, int]
    report: Report | None
    attempts: int
    cancelled_by: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @classmethod
    def of(cls, found: ledger.Import) -> "ImportOut":
        return cls.model_validate(
            {name: getattr(found, name) for name in cls.model_fields if name != "dry_run"}
            | {"dry_run": found.options["dry_run"]}
        )


@router.post(
    "",
    status_code=202,
    response_model=ImportOut,
    max_body_size=LARGEST_FILE + MIB,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "text/csv": {"schema": {"type": "string", "format": "binary"}},
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "required": ["file"],
                        "properties": {"file": {"type": "string", "format": "binary"}},
                    }
                },
            },
        }
    },
)
async def send_import(request: Request, who: Who, options: Annotated[ImportOptions, Query()]) -> Response:
    """Send an export, as it is or as the `file` of a form. It is imported in the background: follow it by its id."""
    await _must_be_allowed(request, who)
    upload = await _upload(request, options)
    options, content = upload.options, upload.content
    await _must_be_understood(options.mapping)
    if len(content) > LARGEST_FILE:
        raise ProblemError(413, "too-large", "Too large", "A file may have 64 MiB.", remedy="Send one file per source.")
    async with change(request, who, status=202, said=upload.digest) as tx:
        added = await actions.send(tx.conn, who, options, content=content, file_name=upload.file_name, now=tx.now)
        return tx.answer(ImportOut.of(added), headers={"location": f"/enrolment/v1/imports/{added.id}"})


@router.get("")
async def list_imports(request: Request, who: Who, after: After, limit: Limit = 50) -> Page[ImportOut]:
    """All imports, the newest first, without their reports."""
    await _must_be_allowed(request, who)
    async with pool(request).acquire() as conn:
        page = await ledger.list_imports(conn, after, limit)
    return page.of(ImportOut.of)


@router.get("/{import_id}")
async def get_import(
    request: Request, who: Who, import_id: Annotated[UUID, Path(description="The import.")]
) -> ImportOut:
    """One import: how far it is, and its report when it has ended."""
    async with transaction(pool(request)) as conn:
        return ImportOut.of(await queries.one(conn, who, import_id, now=now(request)))


@router.post("/{import_id}/cancel", status_code=202, response_model=ImportOut)
async def cancel_import(
    request: Request, who: Who, import_id: Annotated[UUID, Path(description="The import.")]
) -> Response:
    """End an import that waits or runs; nothing of it is kept. Asking again changes nothing."""
    async with change(request, who, status=202) as tx:
        await require(tx.conn, who, *queries.MAY_IMPORT)
        return tx.answer(ImportOut.of(await actions.cancel(tx.conn, who, import_id, now=tx.now)))


async def _must_be_understood(mapping: str | None) -> None:
    """A mapping that is wrong is said at once, not in the report of an import that waited its turn."""
    if not mapping:
        return
    try:
        await asyncio.to_thread(parse_mapping, mapping)
    except FileRefusedError as wrong:
        raise ProblemError(
            422, "invalid-request", "The request is not valid", wrong.detail, field="mapping", remedy=wrong.remedy
        ) from wrong


async def _must_be_allowed(request: Request, who: Principal) -> None:
    async with pool(request).acquire() as conn:
        await require(conn, who, *queries.MAY_IMPORT)


@dataclass(frozen=True, slots=True)
class _Upload:
    """A file as it was sent. digest: of all that the request says, whatever boundary the client chose for its form."""

    content: bytes
    file_name: str | None
    options: ImportOptions
    digest: bytes


async def _upload(request: Request, options: ImportOptions) -> _Upload:
    """The file, with the options of the form over those of the query."""
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        content = await request.body()
        return _Upload(content, None, options, await asyncio.to_thread(digest_of, request, content))
    async with request.form(max_files=1, max_fields=20) as form:
        file = form.get("file")
        if not isinstance(file, UploadFile):
            raise ProblemError(
                422, "invalid-request", "The request is not valid", "The form has no file.", field="file",
                remedy="Send the export as the form's `file`.",
            )  # fmt: skip
        said = {name: value for name, value in form.items() if name != "file"}
        try:
            options = ImportOptions.model_validate(options.model_dump(exclude_unset=True) | said)
        except ValidationError as error:
            raise RequestValidationError(
                [{**each, "loc": ("body", *each["loc"])} for each in error.errors()]
            ) from error
        content = await file.read()
        fields = [(name, value) for name, value in form.multi_items() if isinstance(value, str)]
        parts = json.dumps([fields, file.filename, file.content_type]).encode()
        return _Upload(content, file.filename, options, await asyncio.to_thread(digest_of, request, parts, content))
