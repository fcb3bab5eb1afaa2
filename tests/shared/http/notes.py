"""A small API of notes, to try what every service does."""

import asyncio
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, FastAPI, Query, UploadFile
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from services.feedback.service import SERVICE
from shared.errors import ProblemError
from shared.http.app import MIB, Api, create_app
from shared.http.idempotency import change, digest_of
from shared.http.pagination import Cursor, Limit, Page, decode_cursor, fetch_page
from shared.http.request import pool
from shared.ids import new_id
from shared.security.principal import Principal
from shared.settings import Settings
from tests.support.settings import make_settings

router = APIRouter(prefix="/feedback/v1")
pages = APIRouter(prefix="/feedback")


class Note(BaseModel):
    """A small thing to post."""

    model_config = ConfigDict(extra="forbid")

    title: str = Field(max_length=20)
    places: int = Field(default=1, ge=1)
    cohort_id: UUID | None = None


def somebody(request: Request) -> Principal:
    return Principal("person", request.headers.get("x-who", "person:anna"), new_id(), "Anna")


@router.post("/notes", status_code=201)
async def make_note(request: Request, note: Note) -> Response:
    async with change(request, somebody(request), status=201) as tx:
        await tx.conn.execute("insert into units (id, name) values ($1, $2)", new_id(), note.title)
        if note.title == "refused":
            raise ProblemError(409, "not-now", "Not now", "It cannot be done now.", remedy="Wait.")
        if note.title == "slow":
            await asyncio.sleep(0.2)
        count = await tx.conn.fetchval("select count(*) from units")
        return tx.answer({"count": count, "at": tx.now}, headers={"location": "/feedback/v1/notes/1"})


@router.post("/notes/{note_id}/close", status_code=204)
async def close_note(request: Request, note_id: int) -> Response:
    async with change(request, somebody(request), status=204) as tx:
        await tx.conn.execute("insert into units (id, name) values ($1, $2)", new_id(), f"closed {note_id}")
        return tx.answer(None)


@router.post("/uploads", max_body_size=4 * MIB)
async def upload(request: Request, file: UploadFile) -> Response:
    said = digest_of(request, await file.read())
    async with change(request, somebody(request), said=said) as tx:
        await tx.conn.execute("insert into units (id, name) values ($1, 'upload')", new_id())
        return tx.answer({"size": file.size})


@router.get("/notes")
async def notes(request: Request, limit: Limit = 2, cursor: Cursor = None) -> Page[str]:
    (after,) = decode_cursor(cursor, str) if cursor else ("",)
    query = "select name from units where name > $1 order by name limit $2"
    async with pool(request).acquire() as conn:
        return await fetch_page(conn, query, after, limit=limit, item=lambda row: str(row["name"]), by=["name"])


@router.get("/echo")
async def echo(request: Request, text: Annotated[str, Query()]) -> Any:
    return await pool(request).fetchval("select $1::text", text)


@router.get("/broken")
async def broken() -> None:
    raise RuntimeError("the password is hunter2")


@router.get("/careless")
async def careless(request: Request) -> None:
    await pool(request).fetch("select 1", 2)


@pages.get("/broken", include_in_schema=False)
async def broken_page() -> None:
    raise RuntimeError("the password is hunter2")


def an_app(dsn: str, **settings: Any) -> FastAPI:
    return create_app(
        make_settings(Settings, dsn, **settings),
        SERVICE,
        Api(title="Test", description="", routers=[router, pages]),
    )


async def names(app: FastAPI) -> list[str]:
    return [row["name"] for row in await app.state.pool.fetch("select name from units order by id")]
