"""What the front page says, beside what is so."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]


def test_the_table_of_dependencies_is_that_of_pyproject() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = [
        *project["dependencies"],
        *(name for extra in project["optional-dependencies"].values() for name in extra),
    ]
    rows = re.findall(r"^\| ([a-z][a-z0-9-]*) \| (.+) \|$", README.partition("## What it stands on")[2], re.MULTILINE)

    assert [name for name, _ in rows if name != "package"] == [re.split(r"[\[<>=; ]", name)[0] for name in declared]
    assert all(why.strip() for _, why in rows)


def test_the_example_in_the_readme_is_the_one_that_is_tested() -> None:
    shown = README.partition("```python\n")[2].partition("```")[0]
    tested = (ROOT / "examples/consume.py").read_text()
    said_otherwise = ("broker = ", '    "medled.')  # the address and the topics stand in the call

    for line in shown.splitlines():
        assert line in tested or line.startswith(said_otherwise), line


def test_every_command_in_the_readme_exists() -> None:
    from typer.main import get_command

    from deploy.cli import app

    known = get_command(app).list_commands(None)  # type: ignore[attr-defined] # a group, as the app has several commands
    used = set(re.findall(r"^medled ([a-z-]+)", README, re.MULTILINE)) | set(
        re.findall(r"--rm medled ([a-z]+)", README)
    )
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)

    assert used <= set(known)
    assert set(re.findall(r"^make ([a-z]+)", README, re.MULTILINE)) <= set(targets)


@pytest.mark.parametrize("target", ["demo", "up"])
def test_make_takes_the_portals_port(target: str) -> None:
    said = subprocess.run(
        ["make", "--dry-run", "--always-make", target, "PORT=8181"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    assert re.search(rf"medled {target} +--port 8181$", said, re.MULTILINE)
    assert said.count("about a minute") == 1, "silence while packages install looks like a fault"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_documents_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_the_index_of_decisions_lists_them_all() -> None:
    folder = ROOT / "docs/adr"
    listed = re.findall(r"\]\((\d{4}-[a-z-]+\.md)\)", (folder / "README.md").read_text())

    assert listed == sorted(path.name for path in folder.glob("[0-9]*.md"))
