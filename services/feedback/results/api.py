"""Results over HTTP: to the person they are about, and to nobody else."""

from datetime import date, datetime
from typing import ClassVar, Literal
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.requests import Request

from services.feedback.reports.domain import METHOD, PURPOSE, Cell, CellState, hidden_because
from services.feedback.results import queries
from services.feedback.results.store import OwnRound
from services.feedback.rounds.domain import RoundState
from shared.events import Bucket, Group, Practice
from shared.http.links import Links
from shared.http.pagination import Cursor, Limit, Page
from shared.http.request import Who, pool

router = APIRouter(prefix="/feedback/v1/rounds", tags=["results"])


class RoundBody(BaseModel):
    """A round about the person who asks."""

    LINKS: ClassVar[Links] = {"read_results": {"round_id": "id"}}

    id: UUID
    state: RoundState
    reason: str | None = Field(description="Why it was withheld; null otherwise.")
    practices: list[Practice]
    groups: list[Group]
    answers: Bucket = Field(description="How many had answered when it was last counted, coarsely.")
    opened_at: datetime
    closes_at: datetime
    closed_on: date | None


class Figure(BaseModel):
    """One cell: practice and group. Figures are on the scale from 1 to 5, all null when suppressed."""

    practice: Practice
    group: Group
    state: CellState
    hidden_because: Literal["fewer_than_k", "no_answer"] | None = None
    n: int | None = Field(default=None, description="Respondents behind the figure.")
    mean: float | None = None
    at_limit: Literal["floor", "ceiling"] | None = Field(
        default=None, description="`ceiling`: the mean is at least what `mean` says; `floor`: at most."
    )
    low: float | None = Field(default=None, description="Lower end of the 95 % interval; null for one person.")
    high: float | None = Field(default=None, description="Upper end of the 95 % interval; null for one person.")


class Results(BaseModel):
    """The report of a round; `figures` is empty while it is open and when it was taken back."""

    purpose: Literal["development only"] = Field(
        default=PURPOSE, description="Never for appraisal, pay, selection or any decision about a person."
    )
    round: RoundBody
    k: int = Field(description="Fewest answers of a group that are shown; locked when the round opened.")
    instrument_version: int
    method: str = METHOD
    figures: list[Figure]


@router.get("")
async def list_rounds(request: Request, who: Who, limit: Limit = 50, cursor: Cursor = None) -> Page[RoundBody]:
    """Rounds about the person who asks, newest first."""
    async with pool(request).acquire() as conn:
        page = await queries.own_rounds(conn, who, limit=limit, cursor=cursor)
    return page.of(_round)


@router.get("/{round_id}/results")
async def read_results(request: Request, round_id: UUID, who: Who) -> Results:
    """The report, for the person it is about; 404 for everybody else, whatever their role."""
    async with pool(request).acquire() as conn:
        own, cells = await queries.own_report(conn, who, round_id)
    return Results(
        round=_round(own),
        k=own.k,
        instrument_version=own.instrument_version,
        figures=[_figure(cell) for cell in cells],
    )


def _round(own: OwnRound) -> RoundBody:
    return RoundBody(
        id=own.id,
        state=own.state,
        reason=own.reason,
        practices=list(own.practices),
        groups=list(own.groups),
        answers=own.bucket,
        opened_at=own.opened_at,
        closes_at=own.closes_at,
        closed_on=own.closed_on,
    )


def _figure(cell: Cell) -> Figure:
    return Figure(
        practice=cell.practice,
        group=cell.group,
        state=cell.state,
        hidden_because=hidden_because(cell),
        n=cell.n,
        mean=None if cell.mean is None else float(cell.mean),
        at_limit=cell.at_limit,
        low=None if cell.low is None else float(cell.low),
        high=None if cell.high is None else float(cell.high),
    )
