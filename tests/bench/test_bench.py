"""Every benchmark runs and says what its goal is. How fast it is, is no matter here: the machine is shared."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.__main__ import BENCHES
from deploy.embedded.kafka import KafkaUnavailableError, jars
from tests.support.skipping import skip

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", BENCHES)
def test_a_benchmark_measures_ours_beside_its_limit(name: str, tmp_path: Path) -> None:
    try:
        jars()
    except KafkaUnavailableError as missing:
        skip(str(missing))
    command = [sys.executable, "-m", "bench", name, "--quick", "--rounds", "1", "--results", str(tmp_path)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert name in ended.stdout
    result = json.loads((tmp_path / f"{name}.json").read_text())
    assert {"name", "ours", "limit", "ratio", "unit", "goal", "peers", "rounds", "machine", "versions"} <= result.keys()
    assert result["name"] == name
    assert len(result["rounds"]) == 1
    assert min(result["ours"], result["limit"], result["ratio"]) > 0
