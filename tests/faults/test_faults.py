"""Every fault once, on real parts, each ending in what `medled verify` says; and proof that it would say otherwise."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.embedded.kafka import KafkaBroker
from deploy.embedded.postgres import EmbeddedPostgres
from tests.faults.scenarios import DOUBLING, FAULTS, LOSING
from tests.faults.stage import stage
from tests.support.databases import Databases

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(150)]


@pytest.fixture(scope="module")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Databases]:
    """On a server of their own, since one fault kills it."""
    server = EmbeddedPostgres(tmp_path_factory.mktemp("faults-postgres"), durable=False)
    server.start()
    yield Databases(server)
    server.child.kill()


@pytest.mark.parametrize("fault", FAULTS)
async def test_nothing_is_lost_or_doubled_when(
    fault: str, kafka_server: KafkaBroker, databases: Databases, tmp_path: Path
) -> None:
    async with stage(kafka_server, databases, tmp_path) as ground:
        outcome = await FAULTS[fault](ground)
        assert outcome.sound, outcome.report


@pytest.mark.parametrize("mistake", DOUBLING)
async def test_a_doubling_is_caught_when(
    mistake: str, kafka_server: KafkaBroker, databases: Databases, tmp_path: Path
) -> None:
    async with stage(kafka_server, databases, tmp_path) as ground:
        report = (await DOUBLING[mistake](ground)).report
        assert report.doubled > 0
        assert report.lost == 0


@pytest.mark.parametrize("mistake", LOSING)
async def test_a_loss_is_caught_when(
    mistake: str, kafka_server: KafkaBroker, databases: Databases, tmp_path: Path
) -> None:
    async with stage(kafka_server, databases, tmp_path) as ground:
        report = (await LOSING[mistake](ground)).report
        assert report.lost > 0
        assert report.doubled == 0
