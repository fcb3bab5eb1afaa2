"""A service as the kernel is told of it: a name and where its files lie. What it does, its `service.py` declares."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Migrations:
    """Files that dbmate applies in order. `table` holds which of them a database has, so it never changes."""

    table: str
    folder: Path


@dataclass(frozen=True, kw_only=True)
class Service:
    """name: of its folder, processes, database and addresses. folder: its package.

    stands_on: migrations of the shared modules whose tables it keeps, beside those that every service has.
    """

    name: str
    folder: Path
    stands_on: Sequence[Migrations] = ()

    @property
    def migrations(self) -> Sequence[Migrations]:
        """What makes its database after what every service has, in order."""
        own = Migrations(f"schema_migrations_{self.name}", self.folder / "migrations")
        return [each for each in (*self.stands_on, own) if each.folder.is_dir()]

    @property
    def page_folders(self) -> Sequence[Path]:
        """Where `templates/` and `texts.toml` may lie: its package, and each capability."""
        return [self.folder, *sorted(path for path in self.folder.iterdir() if path.is_dir())]
