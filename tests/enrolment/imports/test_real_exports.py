"""Two full exports of one real organisation, half a year apart. They are not shipped; the numbers are known."""

import os
from pathlib import Path

import pytest

from tests.enrolment.imports.conftest import Importer

DATA = Path(os.environ.get("MEDLED_REAL_DATA") or Path(__file__).parents[4] / "shared" / "data")
FIRST, SECOND = DATA / "hr-export-2011-03-31.csv", DATA / "hr-export-2011-09-30.csv"

# Data that exists in one place only: its absence is no gap in what CI promises to run.
pytestmark = pytest.mark.skipif(not FIRST.exists(), reason=f"the real exports are not in {DATA}; set MEDLED_REAL_DATA")


async def test_half_a_year_of_a_real_organisation_gives_exactly_the_known_changes(importer: Importer) -> None:
    first = await importer(FIRST.read_bytes())
    assert first.status == "done"
    assert first.counts["joined"] == first.counts["rows"] == 13_094
    assert first.report is not None
    assert first.report["issues"] == []
    events = await importer.events()
    units = events.pop("unit.state")
    assert units == first.counts["new_units"] > 100
    assert events == {"person.state": 13_094, "person.provisioned": 13_094}

    again = await importer(FIRST.read_bytes())
    assert (again.status, again.counts["unchanged"]) == ("done", 13_094)
    assert await importer.events() == {}

    refused = await importer(SECOND.read_bytes())
    assert refused.status == "refused"
    assert refused.report is not None
    assert "2,613 of 13,094 people (20.0 %)" in refused.report["refusal"]["detail"]
    assert "1,309 (10 %)" in refused.report["refusal"]["detail"]
    assert await importer.events() == {}

    second = await importer(SECOND.read_bytes(), max_deactivations="25%")
    assert second.status == "done"
    counts = second.counts
    assert (counts["joined"], counts["deactivated"], counts["manager_changed"]) == (2_466, 2_613, 283)
    assert counts["unchanged"] == 10_198
    events = await importer.events()
    assert events["person.provisioned"] == 2_466
    assert events["person.deactivated"] == 2_613
    assert events["person.manager_changed"] == 283
    assert events["person.moved"] == counts["moved"] == 1
    assert events["person.state"] == 2_466 + 2_613 + 283
    assert events["unit.state"] == counts["new_units"]
    assert sum(events.values()) == 2 * (2_466 + 2_613 + 283) + 1 + counts["new_units"]  # and nothing else

    third = await importer(SECOND.read_bytes())
    assert (third.status, third.counts["unchanged"]) == ("done", 12_947)
    assert await importer.events() == {}
