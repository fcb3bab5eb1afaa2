"""Sending an HR export to the import API, and showing how far it is."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import httpx

from deploy.console import api
from deploy.output import fail, note
from shared.events import Role

ENDED = ("done", "refused", "failed", "cancelled")
_POLL_SECONDS = 0.2
_SAY_SECONDS = 10.0  # between two lines of progress where no terminal shows a bar


async def send_and_follow(file: Path, form: dict[str, str], data: Path | None) -> dict[str, Any]:
    """Send a file to the import API and show its progress until it has ended; what the API then tells of it."""
    async with api(Role.hr_integration, data) as client:
        content = await asyncio.to_thread(file.read_bytes)
        files = {"file": (file.name, content, "text/csv")}
        sent = answer_of(await client.post("/enrolment/v1/imports", files=files, data=form))
        return await _follow(client, sent["id"])


async def _follow(client: httpx.AsyncClient, import_id: str) -> dict[str, Any]:
    with _progress() as show:
        while True:
            found = answer_of(await client.get(f"/enrolment/v1/imports/{import_id}"))
            show(found)
            if found["status"] in ENDED:
                return found
            await asyncio.sleep(_POLL_SECONDS)


@contextmanager
def _progress() -> Iterator[Callable[[dict[str, Any]], None]]:
    """A bar on a terminal; elsewhere a line for each phase, and one now and then while it lasts."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines()
        return
    columns = (
        TextColumn("{task.description:<11}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("queued", total=100)
        yield lambda found: progress.update(task, description=found["phase"], completed=found["percent"])


class _Lines:
    """Progress in plain lines."""

    def __init__(self) -> None:
        self._phase = ""
        self._said_at = 0.0

    def __call__(self, found: dict[str, Any]) -> None:
        now = time.monotonic()
        if found["phase"] == self._phase and now - self._said_at < _SAY_SECONDS:
            return
        self._phase, self._said_at = found["phase"], now
        note(f"import {found['id']}: {found['phase']}, {found['percent']} %")


def answer_of(response: httpx.Response) -> dict[str, Any]:
    """What the API answered; ends the command with its words when it refused."""
    try:
        answer: dict[str, Any] = response.json()
    except ValueError:
        fail(f"The API answered {response.status_code}: {response.text[:200]}")
    if not response.is_success:
        _fail_with(answer)
    return answer


def _fail_with(problem: dict[str, Any]) -> NoReturn:
    details = [f"{error['field']}: {error['detail']}" for error in problem.get("errors", [])] or [
        str(problem.get("detail"))
    ]
    fail(f"{problem.get('title')}: {'; '.join(details)} {problem.get('remedy') or ''}".strip())
