"""One list of services, and one declaration of each: what there is can be read without starting or setting anything."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.services import SERVICES, find_service

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


def _strings(file: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value
