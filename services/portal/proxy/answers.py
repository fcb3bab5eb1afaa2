"""What a client hears when the service behind an address cannot be reached."""

from starlette.requests import Request
from starlette.responses import Response

from shared.errors import ProblemError
from shared.http.problem_response import respond


async def unreachable(request: Request, status: int) -> Response:
    """502: it answered nonsense; 503: nothing listens; 504: it took too long."""
    title = {502: "The service broke off", 503: "The service is not running", 504: "The service took too long"}[status]
    problem = ProblemError(
        status, "upstream-unavailable", title, "The portal got no answer from the service behind this address.",
        remedy="Try again in some seconds; with an Idempotency-Key that is safe for changes too.",
        headers={"Retry-After": "2"},
    )  # fmt: skip
    return respond(request, problem)
