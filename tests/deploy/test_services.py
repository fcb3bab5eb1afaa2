"""One list of services, and one declaration of each: what there is can be read without starting or setting anything."""

import ast
import importlib
import re
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from deploy.services import SERVICES, find_service
from shared.events.topics import load_topics

ROOT = Path(__file__).resolve().parents[2]


def test_the_list_names_every_service_that_declares_itself() -> None:
    assert set(SERVICES) == {file.parent.name for file in (ROOT / "services").glob("*/service.py")}


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_declared_without_secrets_or_settings(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MEDLED_DATABASE_URL", raising=False)

    service = find_service(name)

    assert (service.name, service.folder) == (name, ROOT / "services" / name)
    assert [each.table for each in service.migrations][-1] == f"schema_migrations_{name}"
    assert service.handlers
    assert service.api.openapi()["paths"]


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_all_that_a_process_of_it_takes(name: str) -> None:
    """Beside what `tests/deploy/test_compose.py` asks for."""
    folder = ROOT / "services" / name
    assert (folder / "__main__.py").is_file()
    assert list((folder / "migrations").glob("*.sql"))
    assert f"medled.{name}.dead-letters.v1" in load_topics()
    [script] = (ROOT / "deploy" / "postgres").glob("*.sh")
    [made] = re.findall("for service in (.*); do", script.read_text(encoding="utf-8"))
    assert name in made.split()
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    assert f"services.{name}" in {each for contract in contracts for each in contract.get("containers", ())}


def test_the_kernel_reaches_no_service_and_nothing_that_starts_it_by_name_or_path() -> None:
    names = {"services", "deploy", *SERVICES}
    reached = {
        f"{file.relative_to(ROOT)}:{line}: {text}"
        for file in (ROOT / "shared").rglob("*.py")
        if file.name != "navigation.py"  # its entries are areas of the one origin, not services
        for line, text in _strings(file)
        if text in names or text.startswith(("services.", "services/", "deploy.", "deploy/"))
    }
    assert reached == set()


@pytest.mark.parametrize("name", SERVICES)
def test_a_timer_is_scheduled_in_the_capability_that_handles_it(name: str) -> None:
    service = find_service(name)
    handled = {kind: folder for folder in service.folder.iterdir() for kind in _declared_timers(folder)}
    assert handled.keys() == service.timers.keys()

    scheduled = {
        (kind, file.relative_to(service.folder).parts[0])
        for file in service.folder.rglob("*.py")
        for kind in _kinds_in(file)
    }
    assert {(kind, where) for kind, where in scheduled if kind in handled} == {
        (kind, folder.name) for kind, folder in handled.items()
    }


def _declared_timers(capability: Path) -> Sequence[str]:
    """The kinds that its `timers()` handles."""
    if not (capability / "handlers.py").is_file():
        return ()
    module = importlib.import_module(f"services.{capability.parent.name}.{capability.name}.handlers")
    return tuple(module.timers()) if hasattr(module, "timers") else ()


def _kinds_in(file: Path) -> Iterator[str]:
    """The timers that a module schedules: what the names given to `schedule` and `schedule_many` stand for."""
    calls = [node for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    given = [call.args[1] for call in calls if ast.unparse(call.func).split(".")[-1] in {"schedule", "schedule_many"}]
    module = importlib.import_module(".".join(file.relative_to(ROOT).with_suffix("").parts)) if given else None
    for kind in given:
        try:
            yield eval(ast.unparse(kind), vars(module))  # noqa: S307 - a name in our own source
        except NameError:
            assert ast.unparse(kind) == "due.kind"  # a handler that has its own timer come again


def _strings(file: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value
