"""What is known about a running embedded stack: `stack.json` in its data directory, written by `medled up`."""

import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import psutil
from pydantic import BaseModel, ConfigDict

DEFAULT_DATA = Path(".medled")
# Nobody else can open a ballot, or make a respondent's link. docker-compose.yml gives them to the same processes.
_HOLDERS = {
    "MEDLED_BALLOT_SECRET": {"feedback-worker"},
    "MEDLED_LINK_SECRET": {"feedback-worker", "notifications-worker"},
}


class NoStackError(RuntimeError):
    """No embedded stack runs here; the message says how to start or name one."""


class Ports(BaseModel):
    """Where one service listens: its API, and its worker's health endpoint."""

    model_config = ConfigDict(frozen=True)

    api: int
    worker: int


class Stack(BaseModel):
    """A running embedded stack. Holds passwords: its file is readable by its owner alone."""

    model_config = ConfigDict(frozen=True)

    version: int = 1
    pid: int
    started_at: datetime
    data: Path
    public_url: str
    oidc_issuer: str
    kafka_bootstrap: str
    kafka_transactions: bool
    databases: Mapping[str, str]
    ports: Mapping[str, Ports]
    pids: Mapping[str, int]
    environment: Mapping[str, str]

    @property
    def spans(self) -> Path:
        """Directory of finished spans, one JSON a line, one file for each process."""
        return self.data / "spans"

    @property
    def mail(self) -> Path:
        """Directory of every mail the sink took, one .eml each."""
        return self.data / "mail"

    @property
    def logs(self) -> Path:
        return self.data / "logs"

    @property
    def clock_file(self) -> Path:
        """Holds the seconds by which all processes shift their clock."""
        return self.data / "clock"

    @property
    def clock_days_ahead(self) -> float:
        """By how many days the clock of this data is shifted; 0 when it is not."""
        try:
            return float(self.clock_file.read_text() or 0) / 86400
        except FileNotFoundError:
            return 0.0

    def environment_for(self, service: str) -> dict[str, str]:
        """The settings of a service's worker, as environment variables: what a command acting for it needs."""
        return {
            **settings_for(f"{service}-worker", self.environment),
            "MEDLED_DATABASE_URL": self.databases[service],
        }


def settings_for(process: str, settings: Mapping[str, str]) -> dict[str, str]:
    """These settings without the secrets that are others'; a process is like `feedback-worker`."""
    return {name: value for name, value in settings.items() if process in _HOLDERS.get(name, {process})}


def named_databases() -> dict[str, str]:
    """Each service's DSN as MEDLED_DATABASES names them, `SERVICE=DSN` separated by spaces; nothing when it is unset.

    For commands about all services of a deployment that `medled up` did not start.
    """
    return dict(pair.split("=", 1) for pair in os.environ.get("MEDLED_DATABASES", "").split() if "=" in pair)


def data_directory(data: Path | None) -> Path:
    """The given directory, or MEDLED_DATA, or ./.medled."""
    return (data or Path(os.environ.get("MEDLED_DATA") or DEFAULT_DATA)).resolve()


def write_stack(stack: Stack) -> None:
    """Make the stack findable; replaces the file at once, readable by its owner alone."""
    write_private(stack.data / "stack.json", stack.model_dump_json(indent=2))


def find_stack(data: Path | None = None) -> Stack:
    """The stack that runs on this data directory; raises `NoStackError`."""
    directory = data_directory(data)
    try:
        stack = Stack.model_validate_json((directory / "stack.json").read_bytes())
    except FileNotFoundError:
        raise NoStackError(
            f"No Medled runs on {directory}. Start it with `medled up`, or name it with --data."
        ) from None
    if not psutil.pid_exists(stack.pid):
        raise NoStackError(f"The Medled on {directory} has ended. Start it again with `medled up`.")
    return stack


def write_private(file: Path, text: str) -> None:
    """Write a file that its owner alone can read, all at once."""
    new = file.with_suffix(".new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as out:
        out.write(text)
    new.replace(file)
