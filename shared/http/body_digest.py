"""What a request said, as a digest taken on its way in, so that no upload is held in memory for it."""

import hashlib

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADER = "idempotency-key"
_SCOPE_KEY = "medled.body"


class BodyDigest:
    """Digests the body of a request with an Idempotency-Key while the endpoint reads it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or HEADER not in (headers := Headers(scope=scope)):
            await self.app(scope, receive, send)
            return
        digest = scope[_SCOPE_KEY] = _Digest(headers.get("content-type", ""))

        async def digesting() -> Message:
            message = await receive()
            if message["type"] == "http.request":
                digest.update(message.get("body", b""))
                digest.complete = not message.get("more_body", False)
            return message

        await self.app(scope, digesting, send)


async def body_digest(request: Request) -> bytes:
    """Of the query and the whole body, which is read here unless the endpoint has read it already."""
    running: _Digest = request.scope[_SCOPE_KEY]
    if not running.complete:
        await request.body()
    return hashlib.sha256(request.scope["query_string"] + b"\0" + running.digest()).digest()


class _Digest:
    def __init__(self, content_type: str) -> None:
        self.complete = False
        self._raw = hashlib.sha256()
        self._form = _Form.of(content_type)

    def update(self, chunk: bytes) -> None:
        self._raw.update(chunk)
        if self._form is not None:
            try:
                self._form.write(chunk)
            except FormParserError:
                self._form = None  # it is no form; an endpoint that wants one says so

    def digest(self) -> bytes:
        return (self._raw if self._form is None else self._form).digest()


class _Form:
    """Digests the parts of a multipart form: their headers (name, file name, type) and contents.

    Clients choose a new boundary for every request, so the bytes of two equal forms differ.
    """

    def __init__(self, boundary: bytes) -> None:
        self._parts, self._part = hashlib.sha256(), hashlib.sha256()
        self._name, self._value = bytearray(), bytearray()
        parser = MultipartParser(
            boundary,
            {
                "on_header_field": lambda data, start, end: self._name.extend(data[start:end]),
                "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
                "on_header_end": self._end_header,
                "on_headers_finished": lambda: self._part.update(b"\n"),
                "on_part_data": lambda data, start, end: self._part.update(memoryview(data)[start:end]),
                "on_part_end": self._end_part,
            },
        )
        self.write = parser.write

    @classmethod
    def of(cls, content_type: str) -> "_Form | None":
        """None for what is no multipart form."""
        kind, parameters = parse_options_header(content_type)
        boundary = parameters.get(b"boundary")
        if kind != b"multipart/form-data" or not boundary:
            return None
        try:
            return cls(boundary)
        except FormParserError:
            return None

    def digest(self) -> bytes:
        return hashlib.sha256(self._parts.digest() + self._part.digest()).digest()

    def _end_header(self) -> None:
        name, value = bytes(self._name).lower(), bytes(self._value)
        self._part.update(b"%d:%d:%b%b" % (len(name), len(value), name, value))
        self._name.clear()
        self._value.clear()

    def _end_part(self) -> None:
        self._parts.update(self._part.digest())
        self._part = hashlib.sha256()
