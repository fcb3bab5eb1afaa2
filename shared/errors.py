"""What goes wrong, as plain exceptions: the edge tells them as RFC 9457 problem details, or as a page."""

from collections.abc import Mapping, Sequence
from typing import TypedDict


class FieldFault(TypedDict):
    """One thing at fault in a request: where, what, and what to do."""

    field: str
    detail: str
    remedy: str | None


class ProblemError(Exception):
    """An answer other than success. `type` is a stable slug to switch on; it becomes a URI under the origin.

    `field` names what is at fault in the request, `remedy` what to do about it; `errors` where there are several.
    """

    status: int
    type: str
    title: str

    def __init__(
        self,
        status: int,
        type: str,  # noqa: A002 - the member's name in RFC 9457
        title: str,
        detail: str,
        *,
        field: str | None = None,
        remedy: str | None = None,
        errors: Sequence[FieldFault] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.type = type
        self.title = title
        self.detail = detail
        self.field = field
        self.remedy = remedy
        self.errors = list(errors)
        self.headers = dict(headers) if headers else None
        if field is not None and not errors:
            self.errors = [FieldFault(field=field, detail=detail, remedy=remedy)]


class RuleError(ProblemError):
    """A rule refused; nothing was changed. Each rule has a class, which says what its refusals have in common.

    `type` also names the text that pages show (`refused.<type>`); `detail` says what is the matter, `field` where,
    `remedy` what to do about it.
    """

    status = 409

    def __init__(self, detail: str, *, field: str | None = None, remedy: str | None = None) -> None:
        super().__init__(self.status, self.type, self.title, detail, field=field, remedy=remedy)


class NotFoundError(RuleError):
    """There is nothing with this id."""

    status = 404
    type = "not-found"
    title = "There is no such thing"


class NotAllowedError(RuleError):
    """Somebody else may do this."""

    status = 403
    type = "forbidden"
    title = "You may not do this"
