"""A co-leader's own rounds and results, as pages, and as a file that says what it may be used for."""

import csv
import io
from dataclasses import dataclass
from itertools import groupby
from uuid import UUID

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from services.feedback.instruments.instrument import Question, instrument
from services.feedback.reports.domain import PURPOSE, Cell, hidden_because
from services.feedback.results import queries
from services.feedback.results.store import OwnRound
from shared.events import Practice
from shared.http.pagination import Cursor
from shared.http.request import Who, pool
from shared.web.render import render

router = APIRouter(prefix="/feedback", include_in_schema=False)


_COLUMNS = (
    "purpose", "closed_on", "practice", "group", "state", "hidden_because", "k", "n", "mean", "at_limit", "low", "high",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Section:
    """One practice: its figures, and the statements that were rated."""

    practice: Practice
    questions: tuple[Question, ...]
    cells: list[Cell]


@router.get("/")
async def my_rounds(request: Request, who: Who, cursor: Cursor = None) -> HTMLResponse:
    """Rounds about the reader."""
    async with pool(request).acquire() as conn:
        page = await queries.own_rounds(conn, who, limit=25, cursor=cursor)
    return render(request, who, "rounds.html", rounds=page.items, next=page.next)


@router.get("/rounds/{round_id}")
async def my_results(request: Request, round_id: UUID, who: Who) -> HTMLResponse:
    """One round about the reader: how it stands, or what it says."""
    async with pool(request).acquire() as conn:
        own, cells = await queries.own_report(conn, who, round_id)
    sections = _sections(own, cells)
    return render(request, who, "round.html", round=own, sections=sections, hidden_because=hidden_because)


@router.get("/rounds/{round_id}/results.csv")
async def my_results_as_csv(request: Request, round_id: UUID, who: Who) -> Response:
    """The report as CSV; every row carries its purpose, so that it stays with the figures wherever they are pasted."""
    async with pool(request).acquire() as conn:
        own, cells = await queries.own_report(conn, who, round_id)
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(_COLUMNS)
    writer.writerows(
        [
            PURPOSE, own.closed_on, cell.practice, cell.group, cell.state, hidden_because(cell), own.k, cell.n,
            cell.mean, cell.at_limit, cell.low, cell.high,
        ]
        for cell in cells
    )  # fmt: skip
    name = f"feedback-{own.closed_on or 'open'}-development-only.csv"
    disposition = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(file.getvalue(), media_type="text/csv; charset=utf-8", headers=disposition)


def _sections(own: OwnRound, cells: list[Cell]) -> list[Section]:
    asked = instrument(own.instrument_version)
    return [
        Section(practice, asked.asking([practice]), list(of))
        for practice, of in groupby(cells, lambda cell: cell.practice)
    ]
