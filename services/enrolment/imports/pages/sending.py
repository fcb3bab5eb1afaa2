"""Bringing a file in: choose it, look at what it would change, read it otherwise if need be, import it."""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import ValidationError
from starlette.datastructures import FormData, UploadFile

from services.enrolment.endpoints.forms import fields_of, submit_once
from services.enrolment.imports import actions, queries
from services.enrolment.imports.choices import read_form
from services.enrolment.imports.head import LOOKED_AT, read_head
from services.enrolment.imports.mapping import MappingFile, parse_mapping, write_mapping
from services.enrolment.imports.options import LARGEST_FILE, ImportOptions
from services.enrolment.imports.pages.reports import FORM, IMPORTS, ImportId, show_import
from services.enrolment.imports.refusal import FileRefusedError
from services.enrolment.imports.report import Report
from services.enrolment.imports.sentences import Sentence
from services.enrolment.imports.store import kept_files
from shared.errors import RuleError
from shared.http.app import MIB
from shared.http.idempotency import KeyReusedError
from shared.http.request import Who, now, pool
from shared.ids import new_id
from shared.postgres.pool import Connection
from shared.postgres.transaction import transaction
from shared.security.authorization import require
from shared.security.principal import Principal
from shared.web.render import render

router = APIRouter(prefix=IMPORTS, include_in_schema=False)


@router.get("/new")
async def new_import(request: Request, who: Who) -> HTMLResponse:
    """Choose a file, and say where it is from."""
    return await _ask_for_file(request, who, {}, {})


@router.post("", dependencies=FORM, max_body_size=LARGEST_FILE + MIB)
async def send(request: Request, who: Who) -> Response:
    """Take the file and try it: nothing is changed yet."""
    async with transaction(pool(request)) as conn:
        await require(conn, who, *queries.MAY_IMPORT)
    async with request.form(max_files=1, max_fields=10) as sent:
        fields = FormData([(name, value) for name, value in sent.multi_items() if isinstance(value, str)])
        file = sent.get("file")
        name = file.filename if isinstance(file, UploadFile) else None
        content = await file.read() if isinstance(file, UploadFile) else b""
    form = _texts(fields)
    errors: dict[str, str | Sentence] = {}
    source = form.get("new_source", "").strip().lower() or form.get("source", "")
    async with transaction(pool(request)) as conn:
        options = await _options_for(conn, source, form, errors)
    if (wrong := await asyncio.to_thread(_wrong_with, content, name)) is not None:
        errors["file"] = wrong
    if options is None or errors:
        return await _ask_for_file(request, who, form, errors)

    async def keep(conn: Connection, now: datetime) -> str:
        added = await actions.send_to_look_at(conn, who, options, content=content, file_name=name, now=now)
        return f"{IMPORTS}/{added.id}"

    try:
        return await submit_once(request, who, fields, keep, file=content)
    except KeyReusedError:  # somebody went back and chose another file
        return await _ask_for_file(request, who, form, {"file": "file_again"})


async def _options_for(
    conn: Connection, source: str, form: Mapping[str, str], errors: dict[str, str | Sentence]
) -> ImportOptions | None:
    """As the source's last file; what is new is how much of it this one holds."""
    try:
        options = await queries.options_for_next(conn, source)
    except ValidationError:
        errors["new_source" if form.get("new_source") else "source"] = "source"
        return None
    if form.get("full") not in ("yes", "no"):
        errors["full"] = "full"
    return options.model_copy(update={"full": form.get("full") == "yes"})


def _wrong_with(content: bytes, name: str | None) -> str | Sentence | None:
    if not name and not content:
        return "file"
    if len(content) > LARGEST_FILE:
        return "file_too_large"
    try:
        read_head(content[:LOOKED_AT], MappingFile())
    except FileRefusedError as wrong:
        return wrong.sentence
    return None


async def _ask_for_file(
    request: Request, who: Principal, form: Mapping[str, str], errors: Mapping[str, str | Sentence]
) -> HTMLResponse:
    async with transaction(pool(request)) as conn:
        await require(conn, who, *queries.MAY_IMPORT)
        sources = await kept_files.sources(conn)
    return render(
        request, who, "new_import.html", status=422 if errors else 200, sources=sources, form=form, errors=errors,
        megabytes=LARGEST_FILE // MIB, form_key=new_id(),
    )  # fmt: skip


@router.post("/{import_id}/again", dependencies=FORM)
async def read_otherwise(request: Request, who: Who, import_id: ImportId) -> Response:
    """Try the file again, read as the form says."""
    form = await _form(request)
    async with transaction(pool(request)) as conn:
        await require(conn, who, *queries.MAY_IMPORT)
        found = await queries.find(conn, import_id)
        kept = await queries.kept(conn, found)
    errors: dict[str, str] = {}
    changes: dict[str, Any] = {"dry_run": True, "unit_separator": form.get("unit_separator", "")}
    if form.get("full") in ("yes", "no"):
        changes["full"] = form["full"] == "yes"
    if kept is not None and kept.head is not None and kept.choices is not None:
        chosen = read_form(form, kept.mapping, kept.head, kept.choices)
        errors |= chosen.errors
        changes["mapping"] = write_mapping(chosen.mapping)
    try:
        options = ImportOptions.model_validate({**found.options, **changes})
        if options.mapping:
            parse_mapping(options.mapping)
    except ValidationError as wrong:
        errors |= {str(each["loc"][0]): str(each["loc"][0]) for each in wrong.errors()}
    except FileRefusedError:
        errors["mapping"] = "mapping"
    if errors:
        return await show_import(request, who, import_id, form=form, errors=errors)
    return await _go_on(request, who, import_id, options)


@router.post("/{import_id}/allow", dependencies=FORM)
async def allow(request: Request, who: Who, import_id: ImportId) -> Response:
    """Try the file again, with what it was refused for allowed, by somebody who has looked at it."""
    form = await _form(request)
    if form.get("sure") != "yes":
        return await show_import(request, who, import_id, form=form, errors={"sure": "sure"})
    async with transaction(pool(request)) as conn:
        await require(conn, who, *queries.MAY_IMPORT)
        found = await queries.find(conn, import_id)
    refused = Report.model_validate(found.report or {}).refusal
    changes: dict[str, Any] = {"dry_run": True}
    if refused is not None and refused.sentence is not None and refused.code == "deactivation_cap":
        changes["max_deactivations"] = str(refused.sentence.values["enough"])
    if refused is not None and refused.code == "known_elsewhere":
        changes["allow_overlap"] = True
    return await _go_on(request, who, import_id, ImportOptions.model_validate({**found.options, **changes}))


@router.post("/{import_id}/import", dependencies=FORM)
async def import_for_real(request: Request, who: Who, import_id: ImportId) -> Response:
    """Import the file as it was tried."""
    async with transaction(pool(request)) as conn:
        await require(conn, who, *queries.MAY_IMPORT)
        found = await queries.find(conn, import_id)
    return await _go_on(request, who, import_id, ImportOptions.model_validate({**found.options, "dry_run": False}))


@router.post("/{import_id}/look", dependencies=FORM)
async def look_again(request: Request, who: Who, import_id: ImportId) -> Response:
    """Try the file again as it was tried, against what is known by now."""
    async with transaction(pool(request)) as conn:
        await require(conn, who, *queries.MAY_IMPORT)
        found = await queries.find(conn, import_id)
    return await _go_on(request, who, import_id, ImportOptions.model_validate({**found.options, "dry_run": True}))


async def _go_on(request: Request, who: Principal, import_id: UUID, options: ImportOptions) -> Response:
    try:
        async with transaction(pool(request)) as conn:
            follower = await actions.go_on(conn, who, import_id, options, now=now(request))
    except RuleError as refused:
        return RedirectResponse(f"{IMPORTS}/{import_id}?refused={refused.type}", 303)
    return RedirectResponse(f"{IMPORTS}/{follower}", 303)


async def _form(request: Request) -> dict[str, str]:
    return _texts(await fields_of(request))


def _texts(fields: FormData) -> dict[str, str]:
    return {name: str(value) for name, value in fields.items()}
