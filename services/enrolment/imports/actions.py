"""What may be done to an import, whoever asks."""

from datetime import datetime, timedelta
from uuid import UUID

from services.enrolment.imports.options import ImportOptions
from services.enrolment.imports.queries import find
from services.enrolment.imports.store import kept_files, ledger, turns
from shared import timers
from shared.errors import RuleError
from shared.ids import new_id
from shared.postgres.pool import Connection
from shared.security.audit import audit
from shared.security.principal import Principal

IMPORT = "people.import"  # the timer's kind; its key is the import's id
FORGET_FILES = "people.import.files"  # likewise
KEPT_FOR = timedelta(hours=24)
_ENDED = {"refused": "was refused", "failed": "failed"}


class ImportEndedError(RuleError):
    """Nothing is left to cancel."""

    type = "import-ended"
    title = "The import has ended"


class FileNotKeptError(RuleError):
    """Whoever wants to go on with an import has to send its file again."""

    type = "import-file-not-kept"
    title = "The file is no longer kept"


class ImportFollowedError(RuleError):
    """A file is imported by one at a time: who comes second, and wants something else, is told."""

    type = "import-followed"
    title = "Somebody has gone on with the file in another way"


class ImportOvertakenError(RuleError):
    """Importing an older file over a newer one would put back what the newer one changed."""

    type = "import-overtaken"
    title = "A newer file has been imported"


async def send(
    conn: Connection, who: Principal, options: ImportOptions, *, content: bytes, file_name: str | None, now: datetime
) -> ledger.Import:
    """Have a file imported."""
    return await _add(conn, who, options, content=content, file_name=file_name, now=now, kept_until=None)


async def send_to_look_at(
    conn: Connection, who: Principal, options: ImportOptions, *, content: bytes, file_name: str | None, now: datetime
) -> ledger.Import:
    """Have a file tried without changing anything, and keep it for a day, for `go_on`."""
    await kept_files.forget_older(conn, options.source, who.id, now)
    kept_until = now + KEPT_FOR
    added = await _add(
        conn, who, options.model_copy(update={"dry_run": True}), content=content, file_name=file_name, now=now,
        kept_until=kept_until,
    )  # fmt: skip
    await timers.schedule(conn, FORGET_FILES, str(added.id), kept_until)
    return added


async def _add(
    conn: Connection, who: Principal, options: ImportOptions, *, content: bytes, file_name: str | None, now: datetime,
    kept_until: datetime | None,
) -> ledger.Import:  # fmt: skip
    added = await ledger.add_import(
        conn, new_id(), source=options.source, options=options.model_dump(), file_name=file_name, content=content,
        requested_by=who.id, now=now, kept_until=kept_until,
    )  # fmt: skip
    await timers.schedule(conn, IMPORT, str(added.id), now)
    return added


async def go_on(conn: Connection, who: Principal, import_id: UUID, options: ImportOptions, *, now: datetime) -> UUID:
    """Have the file of an import that has ended imported in another way; which import follows.

    The same wish again leads to the import that followed the first one: a file is imported by one at a time.
    Raises NotFoundError, FileNotKeptError, ImportFollowedError for another wish, and ImportOvertakenError for a wish
    to import for real what was looked at before a newer file of its source was imported.
    """
    await kept_files.hold(conn, import_id)
    found = await find(conn, import_id)
    if found.followed_by is not None:
        followed = await find(conn, found.followed_by)
        if ImportOptions.model_validate(followed.options) != options:
            raise ImportFollowedError("The file was read again in another way.", remedy="See the later report.")
        return followed.id
    if not found.can_go_on:
        raise FileNotKeptError("The file is kept for a day after it was sent.", remedy="Send it again.")
    if not options.dry_run and await kept_files.is_overtaken(conn, found):
        raise ImportOvertakenError(
            "After this file was looked at, another one of its source was imported.",
            remedy="Look again at what it would change now.",
        )
    follower = new_id()
    await kept_files.take_along(conn, import_id, follower, options=options.model_dump(), requested_by=who.id, now=now)
    await timers.schedule(conn, IMPORT, str(follower), now)
    return follower


async def discard(conn: Connection, who: Principal, import_id: UUID, *, now: datetime) -> None:
    """Forget the file of an import that has ended, before its time; safe to ask again.

    Raises NotFoundError, or what `cancel` does when it has not ended.
    """
    await kept_files.hold(conn, import_id)
    found = await find(conn, import_id)
    if not found.has_ended:
        await cancel(conn, who, import_id, now=now)
    elif found.has_file:
        await kept_files.forget(conn, import_id)
        await audit(conn, who, "import.discarded", import_id, now)


async def cancel(conn: Connection, who: Principal, import_id: UUID, *, now: datetime) -> ledger.Import:
    """End an import that waits at once, one that is worked on as soon as its worker looks; safe to ask again.

    Nothing of it is kept. Raises NotFoundError, or ImportEndedError when it has ended another way.
    """
    found = await find(conn, import_id)
    # Who works for a source holds it, so what nobody holds nobody works on, whatever the state says.
    is_idle = await turns.take_source(conn, found.source)
    asked = await turns.end_by_hand(conn, import_id, who.id, now, also_running=is_idle) or await turns.ask_to_end(
        conn, import_id, who.id
    )
    found = await find(conn, import_id)
    if found.cancelled_by is None:
        raise _nothing_to_cancel(found)
    if asked:
        await audit(conn, who, "import.cancelled", import_id, now)
    return found


def _nothing_to_cancel(ended: ledger.Import) -> ImportEndedError:
    if ended.status != "done":
        return ImportEndedError(f"It {_ENDED[ended.status]}, and changed nothing.", remedy="There is nothing to undo.")
    if ended.options["dry_run"]:
        return ImportEndedError("It was a dry run, and changed nothing.", remedy="There is nothing to undo.")
    return ImportEndedError(
        "What the file says holds now.", remedy="What it changed is undone by importing the last good file again."
    )
