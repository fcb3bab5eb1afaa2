"""The command line says what it does, exits honestly, and finds the stack by itself."""

import asyncio
import json
import os
import socket
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest
from typer.testing import CliRunner

from deploy.cli import app
from deploy.embedded.process import free_port
from deploy.local import Options, running
from deploy.stack import NoStackError, Stack, find_stack, write_stack
from shared.events.topics import load_topics
from tests.support.databases import Databases


def _stack(data: Path, **fields: object) -> Stack:
    defaults: dict[str, object] = {
        "pid": os.getpid(),
        "started_at": datetime.now(UTC),
        "data": data,
        "public_url": "http://127.0.0.1:1",
        "oidc_issuer": "http://127.0.0.1:1/issuer",
        "kafka_bootstrap": "127.0.0.1:1",
        "kafka_transactions": False,
        "databases": {},
        "ports": {},
        "pids": {},
        "environment": {},
    }
    return Stack.model_validate(defaults | fields)


@pytest.mark.parametrize("command", [[], *([name.name] for name in app.registered_commands)])
def test_every_command_explains_itself(command: list[str]) -> None:
    result = CliRunner().invoke(app, [*command, "--help"])
    assert result.exit_code == 0
    assert "--help" in result.output


def test_the_stack_is_found_by_option_environment_or_in_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("given", "named", ".medled"):
        (tmp_path / name).mkdir()
        write_stack(_stack(tmp_path / name))
    monkeypatch.chdir(tmp_path)
    assert find_stack().data.name == ".medled"
    monkeypatch.setenv("MEDLED_DATA", str(tmp_path / "named"))
    assert find_stack().data.name == "named"
    assert find_stack(tmp_path / "given").data.name == "given"


def test_a_stack_that_was_killed_is_not_taken_for_a_running_one(tmp_path: Path) -> None:
    write_stack(_stack(tmp_path, pid=2**22 + 1))
    with pytest.raises(NoStackError, match="has ended"):
        find_stack(tmp_path)


def test_what_holds_passwords_is_for_its_owner_alone(tmp_path: Path) -> None:
    write_stack(_stack(tmp_path))
    assert (tmp_path / "stack.json").stat().st_mode & 0o777 == 0o600


def test_a_taken_port_is_said_plainly(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = CliRunner().invoke(app, ["up", "--data", str(tmp_path), "--port", str(port)])
    assert result.exit_code == 1
    assert f"Port {port} is taken by another program; choose another with --port." in result.output
    assert "Traceback" not in result.output


def test_a_second_stack_on_the_same_data_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import deploy.local

    monkeypatch.setattr(deploy.local, "_start", lambda options, *_: _stack(options.data))
    with running(Options(data=tmp_path, port=18080), lambda _: None):
        result = CliRunner().invoke(app, ["up", "--data", str(tmp_path), "--port", "18081"])
    assert result.exit_code == 1
    assert f"Medled runs on {tmp_path} already (process {os.getpid()}, http://127.0.0.1:18080)" in result.output


def test_a_database_that_is_away_is_said_plainly(tmp_path: Path) -> None:
    dsn = "postgresql://admin:hemligt@127.0.0.1:1/postgres"
    result = CliRunner().invoke(
        app, ["up", "--data", str(tmp_path), "--port", str(free_port()), "--database", dsn, "--broker", "127.0.0.1:1"]
    )
    assert result.exit_code == 1
    assert "The databases cannot be made on 127.0.0.1" in result.output
    assert "hemligt" not in result.output


async def test_migrate_brings_one_database_up_to_date(own_postgres: Databases) -> None:
    dsn = own_postgres.server.dsn()
    result = CliRunner().invoke(app, ["migrate", "portal", "--database", dsn, "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.output) == {"migrated": ["portal"]}
    conn = await asyncpg.connect(dsn)
    assert await conn.fetchval("select count(*) > 0 from schema_migrations_portal")
    await conn.close()


def test_migrate_refuses_a_service_that_does_not_exist() -> None:
    result = CliRunner().invoke(app, ["migrate", "payroll"])
    assert result.exit_code == 2
    assert "There is no service payroll" in result.output


def test_topics_lists_what_is_declared_without_a_broker() -> None:
    result = CliRunner().invoke(app, ["topics", "--list", "--json"])
    assert result.exit_code == 0
    assert {topic["name"] for topic in json.loads(result.output)} == set(load_topics())


def test_a_broker_that_is_away_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["topics"])
    assert result.exit_code == 1
    assert "No Medled runs on" in result.output


def test_doctor_without_a_stack_finds_nothing_wrong(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["doctor", "--data", str(tmp_path), "--json"])
    states = {finding["what"]: finding["state"] for finding in json.loads(result.output)}
    assert states["python"] == "ok"
    assert states["stack"] == "note"


def test_doctor_fails_when_a_part_of_the_stack_is_away(tmp_path: Path) -> None:
    write_stack(_stack(tmp_path, databases={"portal": "postgresql://nobody@127.0.0.1:1/x"}))
    result = CliRunner().invoke(app, ["doctor", "--data", str(tmp_path)])
    assert result.exit_code == 1
    assert "portal database" in result.output


def _medled(*words: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    """The command as it is installed, with no settings but these."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MEDLED_")}
    program = Path(sys.executable).with_name("medled")
    return subprocess.run(
        [program, *words], env=inherited | settings, capture_output=True, text=True, timeout=60, check=False
    )


def test_a_wrong_setting_is_named_and_its_value_is_not_told(tmp_path: Path) -> None:
    ended = _medled("token", "--role", "stream_reader", "--name", "x", "--data", str(tmp_path),
                    MEDLED_SESSION_SECRET="hunter2short", MEDLED_KAFKA_SECURITY_PROTOCOL="hunter3")  # fmt: skip
    assert "hunter" not in ended.stdout + ended.stderr
    topics = _medled("topics", "--data", str(tmp_path), MEDLED_KAFKA_BOOTSTRAP="127.0.0.1:1",
                     MEDLED_KAFKA_SECURITY_PROTOCOL="hunter3")  # fmt: skip
    assert (topics.returncode, "MEDLED_KAFKA_SECURITY_PROTOCOL" in topics.stderr) == (2, True)
    assert "hunter" not in topics.stdout + topics.stderr


async def test_doctor_examines_the_deployment_that_is_named(database: Databases, broker: str) -> None:
    dsn = await database("portal")
    ended = await asyncio.to_thread(
        lambda: _medled("doctor", "--json", MEDLED_DATABASES=f"portal={dsn}", MEDLED_KAFKA_BOOTSTRAP=broker,
                        MEDLED_KAFKA_TRANSACTIONS="false")
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert {finding["state"] for finding in json.loads(ended.stdout)} == {"ok"}
    away = await asyncio.to_thread(
        lambda: _medled("doctor", MEDLED_DATABASES="portal=postgresql://nobody@127.0.0.1:1/x",
                        MEDLED_KAFKA_BOOTSTRAP="127.0.0.1:1")
    )  # fmt: skip
    assert away.returncode == 1
