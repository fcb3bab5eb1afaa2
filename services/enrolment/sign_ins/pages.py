"""The first sign-in: the portal sends the browser here with an account that it knows nobody by."""

from datetime import datetime
from uuid import UUID

import structlog
from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from services.enrolment.sign_ins import actions
from services.enrolment.sign_ins.domain import Reason, refusal
from shared.http.request import now, pool
from shared.postgres.transaction import transaction
from shared.security.oidc import Account
from shared.security.session import read_pending_sign_in, set_session

log = structlog.get_logger(__name__)
router = APIRouter(include_in_schema=False)


@router.get("/enrolment/sign-in")
async def sign_in(request: Request) -> Response:
    """Bind the account, and sign the person in; back to the beginning without one, or when it came too long ago."""
    arrival = read_pending_sign_in(request)
    if arrival is None:
        return RedirectResponse("/login", 303)
    person_id = await first_sign_in(request, arrival.account)
    response = RedirectResponse(arrival.next, 303)
    set_session(
        response, request.app.state.settings, person_id=person_id, subject=arrival.account.subject, name=arrival.name
    )
    return response


async def first_sign_in(request: Request, account: Account) -> UUID:
    """The person the account signs in from now on. Raises NotBoundError, NotInRegisterError."""
    moment: datetime = now(request)
    async with transaction(pool(request)) as conn:
        found = await actions.first_sign_in(conn, account, now=moment)
    if isinstance(found, Reason):
        log.warning("sign-in refused", reason=found.value)
        raise refusal(found)
    return found
