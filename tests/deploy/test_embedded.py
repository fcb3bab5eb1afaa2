"""The servers of the embedded stack, and that none of them outlives the process that started it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import asyncpg
import psutil
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from deploy.embedded.kafka import KafkaBroker
from deploy.embedded.postgres import EmbeddedPostgres
from deploy.embedded.process import Child, StartFailedError, free_port, wait_until_listening
from deploy.embedded.tansu import TansuBroker
from tests.support.databases import Databases


def _wait_until(condition: object, seconds: float = 10) -> bool:
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


_PARENT = """
import sys, time
from pathlib import Path
from deploy.embedded.postgres import EmbeddedPostgres
from deploy.embedded.tansu import TansuBroker
directory = Path(sys.argv[1])
postgres, broker = EmbeddedPostgres(directory / "postgres", durable=False), TansuBroker(directory / "broker")
postgres.start(); broker.start()
print(postgres.child.pid, broker.child.pid, flush=True)
time.sleep(60)
"""


def test_a_killed_parent_takes_its_servers_with_it(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _PARENT, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=Path.cwd()
    ) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 2
        assert all(psutil.pid_exists(pid) for pid in pids)
        family = [process for pid in pids for process in psutil.Process(pid).children(recursive=True)]
        parent.kill()
    assert _wait_until(lambda: not any(map(_alive, pids)) and not any(map(_alive, [p.pid for p in family])))


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def test_postgres_keeps_committed_data_when_killed_and_started_again(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path, durable=True)
    server.start()
    conn = await asyncpg.connect(server.dsn())
    await conn.execute("create table kept as select 42 as answer")
    conn.terminate()
    server.kill()
    server.start()
    conn = await asyncpg.connect(server.dsn())
    assert await conn.fetchval("select answer from kept") == 42
    await conn.close()
    server.stop()
    assert server.child.returncode == 0


async def test_postgres_with_a_password_lets_nobody_in_without_it(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path, password="wide open: no / at all", durable=False)
    server.start()
    await (await asyncpg.connect(server.dsn())).close()
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(server.dsn(password="guess"))
    server.stop()


async def test_postgres_lower_cases_swedish_letters(postgres: EmbeddedPostgres) -> None:
    conn = await asyncpg.connect(postgres.dsn())
    assert await conn.fetchval("select lower('ÅÄÖ')") == "åäö"
    await conn.close()


async def test_two_databases_of_a_test_share_nothing(database: Databases) -> None:
    first, second = await database("portal"), await database("portal")
    conn = await asyncpg.connect(first)
    await conn.execute("create table only_here (id int)")
    await conn.close()
    conn = await asyncpg.connect(second)
    assert await conn.fetchval("select to_regclass('only_here')") is None
    await conn.close()


async def _produce_and_read(bootstrap: str, *, idempotent: bool) -> bytes | None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=idempotent)
    await producer.start()
    await producer.send_and_wait("medled.enrolment.v1", b"hej", key=b"k")
    await producer.stop()
    consumer = AIOKafkaConsumer("medled.enrolment.v1", bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    record = await consumer.getone()
    await consumer.stop()
    value: bytes | None = record.value
    return value


async def test_the_memory_broker_carries_records(broker: str) -> None:
    assert await _produce_and_read(broker, idempotent=False) == b"hej"


async def test_a_wiped_memory_broker_has_forgotten_its_topics(tansu: TansuBroker) -> None:
    from shared.messaging.topic_admin import ensure_topics

    tansu.wipe()
    report = await ensure_topics(tansu.bootstrap)
    assert report.present == ()


@pytest.mark.kafka
async def test_apache_kafka_carries_records_of_an_idempotent_producer(kafka: str) -> None:
    assert await _produce_and_read(kafka, idempotent=True) == b"hej"


@pytest.mark.kafka
async def test_apache_kafka_keeps_its_topics_when_killed_and_forgets_them_when_wiped(kafka_server: KafkaBroker) -> None:
    from shared.messaging.topic_admin import ensure_topics

    kafka_server.kill()
    kafka_server.start()
    assert (await ensure_topics(kafka_server.bootstrap)).created == ()
    kafka_server.wipe()
    assert (await ensure_topics(kafka_server.bootstrap)).present == ()


def test_a_frozen_child_holds_still_until_thawed(tmp_path: Path) -> None:
    count = "import itertools, sys, time\nfor n in itertools.count(): print(n, flush=True); time.sleep(0.005)"
    child = Child(name="counter", command=[sys.executable, "-c", count], log=tmp_path / "log")
    child.start()
    assert _wait_until(lambda: child.tail(1) != "")
    child.freeze()
    time.sleep(0.1)
    held = child.tail(1)
    time.sleep(0.1)
    assert child.tail(1) == held
    child.thaw()
    assert _wait_until(lambda: child.tail(1) != held)
    child.kill()
    assert child.returncode == -signal.SIGKILL


def test_a_child_that_ignores_the_request_to_end_is_killed(tmp_path: Path) -> None:
    stubborn = "import signal, time\nsignal.signal(15, signal.SIG_IGN)\nprint('on', flush=True)\ntime.sleep(60)"
    child = Child(name="stubborn", command=[sys.executable, "-c", stubborn], log=tmp_path / "log")
    child.start()
    assert _wait_until(lambda: child.tail() == "on")
    child.stop(grace=0.2)
    assert child.returncode == -signal.SIGKILL


def test_a_child_that_does_not_come_up_says_what_it_said(tmp_path: Path) -> None:
    child = Child(name="broken", command=[sys.executable, "-c", "raise SystemExit('no license')"], log=tmp_path / "log")
    child.start()
    with pytest.raises(StartFailedError, match=r"broken ended with status 1.*\n.*no license"):
        wait_until_listening(child, free_port(), timeout=10)


def test_a_child_is_not_in_the_process_group_that_ctrl_c_reaches(tmp_path: Path) -> None:
    child = Child(name="sleeper", command=["sleep", "60"], log=tmp_path / "log")
    child.start()
    assert os.getpgid(child.pid) != os.getpgrp()
    child.kill()


def test_a_family_whose_members_come_and_go_is_frozen_and_thawed_all_the_same(tmp_path: Path) -> None:
    busy = Child(name="busy", command=["sh", "-c", "while :; do sleep 0.001; done"], log=tmp_path / "log")
    busy.start()
    try:
        for _ in range(150):
            busy.thaw()
        assert busy.running
    finally:
        busy.kill()
