"""When two requests say the same, whatever their bytes."""

from collections.abc import Iterable

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from shared.http.body_digest import BodyDigest, body_digest

CSV = ("people.csv", b"Employee ID\r\n1\r\n--not a boundary\r\n", "text/csv")


async def digest_of(content_type: str, *chunks: bytes, query: bytes = b"") -> bytes:
    """As a request with this body, which comes in these chunks, is digested."""
    found: list[bytes] = []

    async def endpoint(scope: Scope, receive: Receive, send: Send) -> None:
        found.append(await body_digest(Request(scope, receive)))
        await Response()(scope, receive, send)

    messages: list[Message] = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    messages[-1]["more_body"] = False

    async def receive() -> Message:
        return messages.pop(0)

    async def send(_: Message) -> None:
        pass

    headers = [(b"idempotency-key", b"k"), (b"content-type", content_type.encode())]
    await BodyDigest(endpoint)({"type": "http", "headers": headers, "query_string": query}, receive, send)
    return found[0]


async def of_form(fields: dict[str, str], file: tuple[str, bytes, str] = CSV, *, step: int = 0) -> bytes:
    """Of a form as a client sends it, with a boundary of its own; in chunks of `step` bytes."""
    request = httpx.Request("POST", "http://medled", data=fields, files={"file": file})
    body = request.read()
    step = step or len(body)
    return await digest_of(request.headers["content-type"], *cut(body, step))


def cut(body: bytes, step: int) -> Iterable[bytes]:
    return (body[at : at + step] for at in range(0, len(body), step))


async def test_a_form_is_the_same_whatever_its_boundary_and_its_chunks() -> None:
    digests = {await of_form({"source": "hr", "full": "true"}, step=step) for step in (0, 1, 7, 50)}
    assert len(digests) == 1


async def test_every_name_file_name_type_and_content_of_a_form_counts() -> None:
    name, content, kind = CSV
    forms = [
        await of_form({"source": "hr"}),
        await of_form({"source": "hr2"}),
        await of_form({"sources": "hr"}),
        await of_form({}),
        await of_form({"source": "hr", "full": ""}),
        await of_form({"source": "hr"}, ("staff.csv", content, kind)),
        await of_form({"source": "hr"}, (name, content + b"2", kind)),
        await of_form({"source": "hr"}, (name, content, "text/plain")),
    ]
    assert len(set(forms)) == len(forms)


async def test_a_form_that_breaks_off_is_another() -> None:
    whole = b'--x\r\ncontent-disposition: form-data; name="a"\r\n\r\nbody\r\n--x--\r\n'
    kind = "multipart/form-data; boundary=x"
    digests = [await digest_of(kind, whole[:end]) for end in (len(whole), -20, -12, -10)]
    assert len(set(digests)) == len(digests)


@pytest.mark.parametrize(
    "kind",
    ["multipart/form-data", f"multipart/form-data; boundary={'x' * 300}", "multipart/form-data; boundary=x", "", "a/b"],
)
async def test_what_is_no_form_is_its_bytes_and_its_query(kind: str) -> None:
    body = await digest_of(kind, b"not a ", b"form")
    assert body == await digest_of("application/json", b"not a form")
    assert body != await digest_of(kind, b"not a  form")
    assert body != await digest_of(kind, b"not a form", query=b"dry_run=true")
