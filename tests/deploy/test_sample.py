"""The sample that the demo plays."""

from deploy.demo.sample import load_programme


def test_the_cohorts_are_named_truly_whenever_the_demo_runs() -> None:
    names = [cohort["name"] for cohort in load_programme()["cohorts"].values()]
    assert names == ["Grupp A", "Grupp B"]  # no seasons: their dates follow from the day of the demo
