"""A rule's no, told to the client as a problem detail."""

from typing import cast

from starlette.requests import Request
from starlette.responses import Response

from services.enrolment.errors import Refused
from shared.http import Problem, respond


async def on_refused(request: Request, exc: Exception) -> Response:
    """Handler for `Refused`."""
    return respond(request, problem_of(cast(Refused, exc)))


def problem_of(refused: Refused) -> Problem:
    """The same, as the problem that clients are told."""
    return Problem(
        refused.status, refused.type, refused.title, refused.detail, field=refused.field, remedy=refused.remedy
    )
