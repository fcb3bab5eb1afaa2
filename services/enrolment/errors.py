"""What the rules of this service answer when they say no."""

from typing import ClassVar


class Refused(Exception):
    """A rule refused; nothing was changed.

    The edge tells it as a problem detail (RFC 9457). `type` is stable and also names the text that pages show
    (`refused.<type>`); `detail` says what is the matter, `field` where, `remedy` what to do about it.
    """

    status: ClassVar[int] = 409
    type: ClassVar[str]
    title: ClassVar[str]

    def __init__(self, detail: str, *, field: str | None = None, remedy: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.field = field
        self.remedy = remedy


class Unknown(Refused):
    """There is nothing with this id."""

    status = 404
    type = "not-found"
    title = "There is no such thing"


class NotAllowed(Refused):
    """Somebody else may do this."""

    status = 403
    type = "forbidden"
    title = "You may not do this"
