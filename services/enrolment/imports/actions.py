"""What may be done to an import, whoever asks."""

from datetime import datetime
from uuid import UUID

from services.enrolment.imports.store import ledger, turns
from shared.errors import NotFoundError, RuleError
from shared.events import Role
from shared.postgres.pool import Connection
from shared.security.audit import audit
from shared.security.principal import Principal

IMPORT = "people.import"  # the timer's kind; its key is the import's id
_ENDED = {"refused": "was refused", "failed": "failed"}
MAY_IMPORT = (Role.hr_integration, Role.programme_office)


class ImportEndedError(RuleError):
    """Nothing is left to cancel."""

    type = "import-ended"
    title = "The import has ended"


async def find(conn: Connection, import_id: UUID) -> ledger.Import:
    found = await ledger.find_import(conn, import_id)
    if found is None:
        raise NotFoundError("There is no import with this id.", remedy="Choose one from the list.")
    return found


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
