"""Pages of the programme office: a programme's versions, and the form in which one is written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from services.enrolment.endpoints.forms import Fault, confirm, fields_of, submit, submit_once, typed
from services.enrolment.programmes import actions, plan_form, store
from services.enrolment.programmes.domain import Version, VersionStatus, fingerprint
from services.enrolment.programmes.plan_form import PlanForm
from services.enrolment.programmes.ready_made import Plan, ReadyMade, ready_made
from shared.errors import NotFoundError, RuleError
from shared.events.vocabulary import Practice, Role
from shared.http.request import Who, pool
from shared.ids import new_id
from shared.postgres.pool import Connection
from shared.security.authorization import require
from shared.security.principal import Principal
from shared.security.same_origin import form_guard
from shared.web.locale import choose_language
from shared.web.render import render

router = APIRouter(prefix="/enrolment/programmes", include_in_schema=False)
FORM = [Depends(form_guard)]
PROGRAMMES = "/enrolment/programmes"

ProgrammeId = Annotated[UUID, Path(description="The programme.")]
Number = Annotated[int, Path(ge=1, le=1_000_000, description="Number of the version.")]


@dataclass(frozen=True, slots=True)
class _Goal:
    """Where a form goes: `action` takes it, `back` leads out of it.

    `seen` is the fingerprint of what it begins as: the draft that it replaces, or the version that it follows.
    """

    heading: str
    action: str
    back: str
    seen: str = ""

    @classmethod
    def of(cls, newest: Version) -> "_Goal":
        """A programme's draft when it has one, else its next version."""
        page = f"{PROGRAMMES}/{newest.programme_id}"
        if newest.status is VersionStatus.draft:
            return cls("plan.edit", f"{page}/versions/{newest.version}/edit", page, fingerprint(newest))
        return cls("plan.next", f"{page}/versions/new", page, fingerprint(newest))

    @property
    def replaces(self) -> bool:
        """Whether a draft is replaced by what the form holds."""
        return self.heading == "plan.edit"


_NEW = _Goal("plan.new", f"{PROGRAMMES}/new", PROGRAMMES)


@router.get("/new")
async def write_new(request: Request, who: Who, start: str | None = None) -> HTMLResponse:
    """The form of a new programme, empty or filled with the one to `start` from."""
    await _must_be_office(request, who)
    chosen = ready_made().get(start or "")
    form = plan_form.filled(chosen.programme.title, chosen.programme.milestones) if chosen else plan_form.EMPTY
    return _form(request, who, _NEW, form, offered=[] if chosen else list(ready_made().values()))


@router.post("/new", dependencies=FORM)
async def make_new(request: Request, who: Who) -> Response:
    """Keep a new programme as a draft."""
    return await _take(request, who, None)


@router.get("/{programme_id}")
async def programme(
    request: Request, who: Who, programme_id: ProgrammeId, version: Annotated[int | None, Query(ge=1)] = None
) -> HTMLResponse:
    """A programme as those who take part in it will read it; the newest version unless another is asked for."""
    async with pool(request).acquire() as conn:
        versions = await _versions(conn, programme_id)
    shown = next((each for each in versions if each.version == version), versions[-1])
    return _show(
        request, who, "programme.html", shown, versions=versions,
        is_office=who.roles.get(Role.programme_office, ()) is None, may_plan=who.has(Role.programme_office),
    )  # fmt: skip


@router.get("/{programme_id}/versions/new")
async def write_next(request: Request, who: Who, programme_id: ProgrammeId) -> Response:
    """The form of the next version, which begins as the newest."""
    await _must_be_office(request, who)
    async with pool(request).acquire() as conn:
        newest = (await _versions(conn, programme_id))[-1]
    goal = _Goal.of(newest)
    if goal.replaces:
        return RedirectResponse(goal.action, 303)
    return _form(request, who, goal, plan_form.filled(newest.title, newest.milestones))


@router.post("/{programme_id}/versions/new", dependencies=FORM)
async def make_next(request: Request, who: Who, programme_id: ProgrammeId) -> Response:
    """Keep the next version as a draft."""
    return await _take(request, who, programme_id)


@router.get("/{programme_id}/versions/{version}/edit")
async def write(request: Request, who: Who, programme_id: ProgrammeId, version: Number) -> Response:
    """The form of a draft."""
    await _must_be_office(request, who)
    async with pool(request).acquire() as conn:
        draft = await _version(conn, programme_id, version)
    if draft.status is not VersionStatus.draft:
        return RedirectResponse(f"{PROGRAMMES}/{programme_id}?refused=version-is-not-a-draft", 303)
    return _form(request, who, _Goal.of(draft), plan_form.filled(draft.title, draft.milestones))


@router.post("/{programme_id}/versions/{version}/edit", dependencies=FORM)
async def rewrite(request: Request, who: Who, programme_id: ProgrammeId, version: Number) -> Response:
    """Replace what a draft holds."""
    return await _take(request, who, programme_id, version)


@router.get("/{programme_id}/versions/{version}/publish")
async def confirm_publishing(request: Request, who: Who, programme_id: ProgrammeId, version: Number) -> Response:
    """Show the draft in both languages, and ask: once published it never changes."""
    await _must_be_office(request, who)
    async with pool(request).acquire() as conn:
        draft = await _version(conn, programme_id, version)
    if draft.status is not VersionStatus.draft:
        return RedirectResponse(f"{PROGRAMMES}/{programme_id}?refused=version-is-not-a-draft", 303)
    return _show(request, who, "publish.html", draft, seen=fingerprint(draft), form_key=new_id())


@router.post("/{programme_id}/versions/{version}/publish", dependencies=FORM)
async def publish(request: Request, who: Who, programme_id: ProgrammeId, version: Number) -> Response:
    """Publish a draft."""
    fields, page = await fields_of(request), f"{PROGRAMMES}/{programme_id}"

    async def act(conn: Connection, now: datetime) -> str:
        await actions.publish(conn, who, programme_id, version, seen=typed(fields, "seen") or None, now=now)
        return f"{page}?done=published"

    try:
        return await submit_once(request, who, fields, act)
    except RuleError as refused:
        return RedirectResponse(f"{page}?refused={refused.type}", 303)


@router.get("/{programme_id}/versions/{version}/retire")
async def confirm_retiring(request: Request, who: Who, programme_id: ProgrammeId, version: Number) -> HTMLResponse:
    """Ask before retiring a version: it cannot be published again."""
    await _must_be_office(request, who)
    async with pool(request).acquire() as conn:
        found = await _version(conn, programme_id, version)
    page = f"{PROGRAMMES}/{programme_id}"
    title = found.title.model_dump()[choose_language(request, who.locale)]
    return confirm(
        request, who, "retire", action=f"{page}/versions/{version}/retire", back=page, programme=title,
        version=str(version),
    )  # fmt: skip


@router.post("/{programme_id}/versions/{version}/retire", dependencies=FORM)
async def retire(request: Request, who: Who, programme_id: ProgrammeId, version: Number) -> Response:
    """Retire a published version."""
    return await submit(
        request,
        lambda conn, now: actions.retire(conn, who, programme_id, version, now=now),
        back=f"{PROGRAMMES}/{programme_id}",
        done="retired",
    )


async def _take(request: Request, who: Principal, programme_id: UUID | None, number: int | None = None) -> Response:
    """Keep what the form holds: a new programme, its next version, or draft `number`; or show the form again."""
    await _must_be_office(request, who)
    fields = await fields_of(request)
    form, seen, do = plan_form.read(fields), typed(fields, "seen"), typed(fields, "do")
    page = f"{PROGRAMMES}/{programme_id}" if programme_id else PROGRAMMES
    heading = "plan.new" if programme_id is None else "plan.next" if number is None else "plan.edit"
    same = _Goal(heading, request.url.path, page, seen)
    if do not in ("", "save"):
        form, focus = plan_form.rearrange(form, do)
        return _form(request, who, same, form, focus=focus)
    plan = plan_form.check(form)
    if not isinstance(plan, Plan):
        return _form(request, who, same, form, faults=plan, status=422)

    async def keep(conn: Connection, now: datetime) -> str:
        what = (plan.title, plan.milestones)
        if programme_id is None:
            kept = await actions.create(conn, who, *what, now=now)
        elif number is None:
            kept = await actions.new_version(conn, who, programme_id, *what, seen=seen, now=now)
        else:
            kept = await actions.edit(conn, who, programme_id, number, *what, seen=seen, now=now)
        return f"{PROGRAMMES}/{kept.programme_id}?done=draft_kept"

    try:
        return await submit_once(request, who, fields, keep)
    except RuleError as refused:
        async with pool(request).acquire() as conn:
            now_to = _Goal.of((await _versions(conn, programme_id))[-1]) if programme_id else same
        return _form(request, who, now_to, form, refused=refused.type, status=refused.status)


def _form(
    request: Request,
    who: Principal,
    goal: _Goal,
    form: PlanForm,
    *,
    faults: Mapping[str, Fault] | None = None,
    refused: str | None = None,
    focus: str | None = None,
    offered: Sequence[ReadyMade] = (),
    status: int = 200,
) -> HTMLResponse:
    return render(
        request, who, "plan.html", status=status, goal=goal, form=form, faults=faults or {}, refused=refused,
        focus=focus, offered=offered, form_key=new_id(), practices=list(Practice), most=plan_form.MOST_MILESTONES,
        most_days=plan_form.MOST_DAYS,
    )  # fmt: skip


def _show(request: Request, who: Principal, template: str, version: Version, **context: Any) -> HTMLResponse:
    return render(
        request, who, template, version=version, untrained=plan_form.untrained(version.milestones),
        page=f"{PROGRAMMES}/{version.programme_id}", **context,
    )  # fmt: skip


async def _must_be_office(request: Request, who: Principal) -> None:
    async with pool(request).acquire() as conn:
        await require(conn, who, Role.programme_office)


async def _versions(conn: Connection, programme_id: UUID) -> list[Version]:
    found = await store.versions(conn, programme_id)
    if not found:
        raise NotFoundError("There is no programme with this id.", remedy="Choose one from the list.")
    return found


async def _version(conn: Connection, programme_id: UUID, number: int) -> Version:
    for version in await _versions(conn, programme_id):
        if version.version == number:
            return version
    raise NotFoundError("The programme has no such version.", remedy="Choose one of its versions.")
