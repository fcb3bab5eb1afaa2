"""Programmes over HTTP: drafts, publishing, retiring. Writing takes the programme office's role everywhere."""

from typing import Annotated, ClassVar
from uuid import UUID

from fastapi import APIRouter, Path, Request, Response
from pydantic import BaseModel, Field

from services.enrolment.endpoints.requests import SIGNED_IN, After
from services.enrolment.programmes import actions, store
from services.enrolment.programmes.domain import Version, VersionStatus
from services.enrolment.programmes.store import Summary
from shared.errors import NotFoundError
from shared.events import Milestone, Title
from shared.http.idempotency import change
from shared.http.links import Links
from shared.http.pagination import Limit, Page
from shared.http.request import RequestBody, Who, pool

router = APIRouter(prefix="/enrolment/v1/programmes", tags=["programmes"])

ProgrammeId = Annotated[UUID, Path(description="The programme.")]
VersionNumber = Annotated[int, Path(ge=1, le=1_000_000, description="Number of the version, from 1.")]


class Plan(RequestBody):
    """What a version holds. Milestones are shown in this order; people reach them in any."""

    title: Title
    milestones: list[Milestone] = Field(default=[], max_length=100)


class VersionOut(BaseModel):
    """One version of a programme. Only a draft can be changed."""

    LINKS: ClassVar[Links] = {
        "get_programme": {"programme_id": "programme_id"},
        "edit_version": {"programme_id": "programme_id", "version": "version"},
        "publish_version": {"programme_id": "programme_id", "version": "version"},
        "retire_version": {"programme_id": "programme_id", "version": "version"},
        "new_version": {"programme_id": "programme_id"},
    }

    programme_id: UUID
    version: int
    status: VersionStatus
    title: Title
    milestones: list[Milestone]

    @classmethod
    def of(cls, version: Version) -> "VersionOut":
        return cls(
            programme_id=version.programme_id,
            version=version.version,
            status=version.status,
            title=version.title,
            milestones=list(version.milestones),
        )


class ProgrammeOut(BaseModel):
    """A programme with all its versions, the oldest first."""

    LINKS: ClassVar[Links] = {"new_version": {"programme_id": "id"}, "list_cohorts": {"programme": "id"}}

    id: UUID
    versions: list[VersionOut]


class ProgrammeSummary(BaseModel):
    """A programme in a list. `published_version` is the newest that cohorts can run, if there is one."""

    LINKS: ClassVar[Links] = {"get_programme": {"programme_id": "id"}, "list_cohorts": {"programme": "id"}}

    id: UUID
    title: Title
    newest_version: int
    newest_status: VersionStatus
    published_version: int | None

    @classmethod
    def of(cls, summary: Summary) -> "ProgrammeSummary":
        return cls(
            id=summary.id,
            title=summary.newest.title,
            newest_version=summary.newest.version,
            newest_status=summary.newest.status,
            published_version=summary.published_version,
        )


@router.get("", dependencies=SIGNED_IN)
async def list_programmes(request: Request, after: After, limit: Limit = 50) -> Page[ProgrammeSummary]:
    """All programmes, in the order they were made."""
    async with pool(request).acquire() as conn:
        page = await store.page(conn, after=after, limit=limit)
    return page.of(ProgrammeSummary.of)


@router.post("", status_code=201, response_model=VersionOut)
async def create_programme(request: Request, who: Who, plan: Plan) -> Response:
    """A new programme; its version 1 is a draft."""
    async with change(request, who, status=201) as tx:
        version = await actions.create(tx.conn, who, plan.title, plan.milestones, now=tx.now)
        return tx.answer(VersionOut.of(version))


@router.get("/{programme_id}", dependencies=SIGNED_IN)
async def get_programme(request: Request, programme_id: ProgrammeId) -> ProgrammeOut:
    """One programme."""
    async with pool(request).acquire() as conn:
        found = await store.versions(conn, programme_id)
    if not found:
        raise NotFoundError("There is no programme with this id.", remedy="Choose one from the list.")
    return ProgrammeOut(id=programme_id, versions=[VersionOut.of(version) for version in found])


@router.post("/{programme_id}/versions", status_code=201, response_model=VersionOut)
async def new_version(request: Request, who: Who, programme_id: ProgrammeId, plan: Plan) -> Response:
    """The next version, as a draft. Cohorts keep the version they were made on."""
    async with change(request, who, status=201) as tx:
        version = await actions.new_version(tx.conn, who, programme_id, plan.title, plan.milestones, now=tx.now)
        return tx.answer(VersionOut.of(version))


@router.put("/{programme_id}/versions/{version}", response_model=VersionOut)
async def edit_version(
    request: Request, who: Who, programme_id: ProgrammeId, version: VersionNumber, plan: Plan
) -> Response:
    """Replace what a draft holds."""
    async with change(request, who) as tx:
        edited = await actions.edit(tx.conn, who, programme_id, version, plan.title, plan.milestones, now=tx.now)
        return tx.answer(VersionOut.of(edited))


@router.post("/{programme_id}/versions/{version}/publish", response_model=VersionOut)
async def publish_version(request: Request, who: Who, programme_id: ProgrammeId, version: VersionNumber) -> Response:
    """Publish a draft: it never changes from now on, and cohorts can run it."""
    async with change(request, who) as tx:
        return tx.answer(VersionOut.of(await actions.publish(tx.conn, who, programme_id, version, now=tx.now)))


@router.post("/{programme_id}/versions/{version}/retire", response_model=VersionOut)
async def retire_version(request: Request, who: Who, programme_id: ProgrammeId, version: VersionNumber) -> Response:
    """Retire a published version: no new cohorts on it; those that exist go on."""
    async with change(request, who) as tx:
        return tx.answer(VersionOut.of(await actions.retire(tx.conn, who, programme_id, version, now=tx.now)))
