"""`medled hr`: people from the HR platform."""

import asyncio
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import httpx
import typer

from deploy import hr_import
from deploy.output import DataOption, JsonOption, fail, say, show_json, table

app = typer.Typer(help="People from the HR platform.", no_args_is_help=True)

_KINDS = {
    "joined": "joined", "left": "left", "returned": "returned", "moved": "moved to another unit",
    "manager": "get a new manager", "changed": "change in other ways",
}  # fmt: skip
_COUNTS = {
    "rows": "rows in the file", "rows_with_errors": "rows with errors (not used)", "warnings": "warnings",
    "joined": "new people", "deactivated": "people who leave", "reactivated": "people who are back",
    "manager_changed": "get a new manager", "moved": "move to another unit", "changed": "other changes",
    "unchanged": "unchanged", "kept_as_they_were": "known people left unchanged: their row has an error",
    "left_before": "left before Medled knew of them: not included",
    "without_login": "without a login in the file: the employee id is used", "new_units": "new units",
    "teams_changed": "teams that change much at once",
}  # fmt: skip


@app.callback()
def hr() -> None:
    """People from the HR platform."""


@app.command(name="import")
def import_(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="A full export, CSV.")],
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would change.")] = False,
    max_deactivations: Annotated[
        str, typer.Option(help="Refuse a file that deactivates more: a share or a number of people.")
    ] = "10%",
    allow_overlap: Annotated[
        bool, typer.Option("--allow-overlap", help="Import it even if most who join are known from another source.")
    ] = False,
    mapping: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="TOML or YAML: what your columns and words are called."),
    ] = None,
    source: Annotated[str, typer.Option(help="Which HR platform it is from.")] = "hr",
    separator: Annotated[str, typer.Option(help="Between the levels of a unit's path.")] = " - ",
    partial: Annotated[bool, typer.Option("--partial", help="People missing from the file have not left.")] = False,
    default_language: Annotated[str, typer.Option(help="For people of whom the file says none.")] = "sv",
    default_time_zone: Annotated[str, typer.Option(help="For people of whom the file says none.")] = "Europe/Stockholm",
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Import an HR export through enrolment's API, show its progress, and print the report.

    Uses MEDLED_TOKEN at MEDLED_PUBLIC_URL when set, else the embedded stack. Exit status: 0 when it was applied (rows
    with errors are listed and skipped), 1 when it was refused, failed or was cancelled.
    """
    from deploy.console import public_url
    from services.enrolment.imports.domain import Cap

    options: dict[str, str] = {
        "dry_run": str(dry_run), "max_deactivations": max_deactivations, "allow_overlap": str(allow_overlap),
        "source": source, "unit_separator": separator, "full": str(not partial),
        "default_locale": default_language, "default_time_zone": default_time_zone,
    }  # fmt: skip
    try:
        Cap.parse(max_deactivations)
    except ValueError as wrong:
        fail(f"--max-deactivations: {wrong}.", status=2)
    form = options | ({"mapping": mapping.read_text(encoding="utf-8")} if mapping is not None else {})
    try:
        ended = asyncio.run(hr_import.send_and_follow(file, form, data))
    except httpx.HTTPError as error:
        fail(f"The API cannot be reached: {str(error) or type(error).__name__}")
    if as_json:
        show_json(ended)
    else:
        _print(ended)
        page = f"{public_url(data)}/enrolment/imports/{ended['id']}"
        say(f"This report is kept at {page}, and medled hr show {ended['id']} prints it.")
    if ended["status"] != "done":
        raise typer.Exit(1)


@app.command(name="list")
def list_(data: DataOption = None, as_json: JsonOption = False) -> None:
    """The newest imports, and what became of each."""
    found = _ask("GET", "/enrolment/v1/imports", data)["items"]
    if as_json:
        show_json(found)
    elif found:
        rows = [(i["id"], i["source"], _minute(i), _state(i)) for i in found]
        table(("import", "source", "sent (UTC)", "state"), rows)
    else:
        say("Nothing was imported yet: medled hr import FILE")


@app.command()
def show(
    import_id: Annotated[UUID, typer.Argument(help="The import, as `medled hr list` has it.")],
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """How far an import is, and its report when it has ended. Reading a report is on record."""
    found = _ask("GET", f"/enrolment/v1/imports/{import_id}", data)
    if as_json:
        show_json(found)
    else:
        say(f"{found['file_name'] or 'A file'} from {found['source']}, sent {_minute(found)} UTC: {_state(found)}")
        if found["status"] in hr_import.ENDED:
            _print(found)


@app.command()
def cancel(
    import_id: Annotated[UUID, typer.Argument(help="The import, as `medled hr list` has it.")],
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """End an import that waits or runs. Nothing of it is kept. Exit status: 1 when it had ended already."""
    found = _ask("POST", f"/enrolment/v1/imports/{import_id}/cancel", data)
    if as_json:
        show_json(found)
    else:
        ended = found["status"] == "cancelled"
        say("Cancelled; nothing was changed." if ended else "It ends as soon as its worker looks, within seconds.")


def _minute(found: dict[str, Any]) -> str:
    return str(found["created_at"])[:16].replace("T", " ")


def _state(found: dict[str, Any]) -> str:
    state = f"{found['phase']}, {found['percent']} %" if found["status"] == "running" else str(found["status"])
    return f"{state} (dry run)" if found["dry_run"] else state


def _ask(method: str, path: str, data: Path | None) -> dict[str, Any]:
    from deploy.console import api
    from shared.events import Role

    async def ask() -> dict[str, Any]:
        async with api(Role.hr_integration, data) as client:
            return hr_import.answer_of(await client.request(method, path))

    try:
        return asyncio.run(ask())
    except httpx.HTTPError as error:
        fail(f"The API cannot be reached: {str(error) or type(error).__name__}")


def _print(ended: dict[str, Any]) -> None:
    report, counts = ended["report"] or {}, ended["counts"]
    if read := report.get("file"):
        guessed = " (a guess: check the names below)" if read["encoding_guessed"] else ""
        delimiter = {"\t": "tab"}.get(read["delimiter"], read["delimiter"])
        say(f"Read as {read['encoding']}{guessed}, columns separated by {delimiter}.")
        if read["unused_columns"]:
            say(f"Columns not used: {', '.join(read['unused_columns'])}")
    if counts:
        told = [*filter(counts.get, _COUNTS), *sorted(counts.keys() - _COUNTS.keys())]
        table(("", ""), [(_COUNTS.get(name, name.replace("_", " ")), f"{counts[name]:,}") for name in told])
    for kind, words in _KINDS.items():
        _print_people(words, report.get("difference", {}).get(kind, []))
    _print_teams(report.get("teams", []))
    _print_issues(report)
    for text in report.get("notes", []):
        say(text)
    say(_outcome(ended, report.get("refusal") or report.get("failure")))


def _print_people(words: str, people: list[dict[str, Any]]) -> None:
    if not people:
        return
    say(f"\nFirst of those who {words}:")
    rows = []
    for person in people[:10]:
        fields = (
            f"{name}: {was['before'] or 'none'} -> {was['after'] or 'none'}" for name, was in person["fields"].items()
        )
        rows.append((person["employee_id"], person["name"], "; ".join(fields)))
    table(("id", "name", "what"), rows)


def _print_teams(teams: list[dict[str, Any]]) -> None:
    if not teams:
        return
    say("\nTeams that change much at once; the programme office is told when the file is imported:")
    rows = [
        (t["employee_id"], t["name"], "; ".join(t["units"]), f"{t['changed']:,}", f"{t['before']:,} -> {t['after']:,}")
        for t in teams[:10]
    ]
    table(("manager", "name", "units", "changed", "people"), rows)


def _print_issues(report: dict[str, Any]) -> None:
    issues = report.get("issues", [])
    if not issues:
        return
    say("")
    shown = [(i["line"], i["column"] or "", i["severity"], f"{i['detail']} {i['remedy']}") for i in issues[:50]]
    table(("line", "column", "", "what to put right"), shown)
    if hidden := len(issues) - len(shown) + report.get("more_issues", 0):
        say(f"... and {hidden:,} more; --json lists them.")


def _outcome(ended: dict[str, Any], why: dict[str, Any] | None) -> str:
    if ended["status"] != "done":
        reason = f" {why['detail']} {why['remedy']}" if why is not None else ""
        return f"\n{ended['status'].capitalize()}, nothing was changed.{reason}"
    return "\nA dry run: nothing was changed." if ended["dry_run"] else "\nDone."
