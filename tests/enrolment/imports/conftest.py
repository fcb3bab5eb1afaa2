"""An import as the worker runs it, on a real database, without the HTTP API in front."""

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from services.enrolment.imports.actions import IMPORT
from services.enrolment.imports.handlers import run_imports
from services.enrolment.imports.importing import Options
from services.enrolment.imports.store import ledger
from shared.clock import Clock
from shared.ids import new_id
from shared.postgres.pool import Pool, create_pool
from shared.postgres.transaction import transaction
from shared.settings import Settings
from shared.timers import Timers, schedule
from tests.support.databases import Databases
from tests.support.settings import make_settings

NOW = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)


@dataclass
class Importer:
    """Sends files and looks at what became of them."""

    pool: Pool

    async def send(self, content: str | bytes, **options: Any) -> UUID:
        content = content.encode() if isinstance(content, str) else content
        import_id = new_id()
        chosen = Options(**options)
        async with transaction(self.pool) as conn:
            await ledger.add_import(
                conn, import_id, source=chosen.source, options=asdict(chosen), file_name=None, content=content,
                requested_by="machine:hr", now=NOW,
            )  # fmt: skip
            await schedule(conn, IMPORT, str(import_id), NOW)
        return import_id

    async def __call__(self, content: str | bytes, **options: Any) -> ledger.Import:
        """Send the file, let the worker's timers run it, and return the ended import."""
        import_id = await self.send(content, **options)
        await Timers(self.pool, Clock(), {IMPORT: run_imports(self.pool)}).tick()
        found = await self.find(import_id)
        assert found.status in ("done", "refused"), found
        return found

    async def find(self, import_id: UUID) -> ledger.Import:
        """The import as it stands."""
        found = await ledger.find_import(self.pool, import_id)  # type: ignore[arg-type] # one statement needs no transaction
        assert found is not None
        return found

    async def people(self) -> dict[str, dict[str, Any]]:
        """Everybody by employee id, with the manager's employee id and the unit's name."""
        rows = await self.pool.fetch(
            """
            select p.*, m.employee_id as manager, u.name as unit from people p
            join units u on u.id = p.unit_id left join people m on m.id = p.manager_id
            """
        )
        return {row["employee_id"]: dict(row) for row in rows}

    async def events(self) -> Counter[str]:
        """How many of each type are in the outbox, which is emptied: only what comes next counts next time."""
        rows = await self.pool.fetch("delete from outbox returning type")
        return Counter(row["type"].removeprefix("medled.").removesuffix(".v1") for row in rows)


@pytest.fixture
async def pool(database: Databases) -> AsyncIterator[Pool]:
    settings = make_settings(Settings, await database("enrolment"))
    pool = await create_pool(settings, name="test")
    yield pool
    await pool.close()


@pytest.fixture
async def importer(pool: Pool) -> Importer:
    return Importer(pool)
