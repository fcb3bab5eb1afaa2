"""Programmes over HTTP."""

from typing import Any

import pytest

from shared.events import ProgrammePublished, ProgrammeRetired
from shared.ids import new_id
from tests.enrolment.world import GROUP, MEETING, TITLE, World, ok, refused

URL = "/enrolment/v1/programmes"
PLAN: dict[str, Any] = {"title": TITLE, "milestones": [MEETING, GROUP]}


async def test_a_draft_is_edited_published_and_then_never_changes(world: World) -> None:
    office = await world.office()
    draft = await ok(office.post(URL, json={"title": TITLE}), 201)
    version = f"{URL}/{draft['programme_id']}/versions/1"
    assert (draft["version"], draft["status"], draft["milestones"]) == (1, "draft", [])

    edited = await ok(office.put(version, json=PLAN))
    assert [milestone["key"] for milestone in edited["milestones"]] == ["first_meeting", "working_group"]
    assert (await ok(office.post(f"{version}/publish")))["status"] == "published"

    await refused(office.put(version, json={"title": TITLE}), 409, "version-is-not-a-draft")
    await refused(office.post(f"{version}/publish"), 409, "version-is-not-a-draft")
    [event] = await world.events(ProgrammePublished)
    assert [milestone.key for milestone in event.milestones] == ["first_meeting", "working_group"]
    assert event.milestones[0].feedback.days_open == 14


async def test_a_new_version_is_a_draft_beside_the_published_one(world: World) -> None:
    office = await world.office()
    programme = f"{URL}/{(await ok(office.post(URL, json=PLAN), 201))['programme_id']}"
    await refused(office.post(f"{programme}/versions", json=PLAN), 409, "draft-exists")
    await ok(office.post(f"{programme}/versions/1/publish"))
    second = await ok(office.post(f"{programme}/versions", json=PLAN | {"milestones": [GROUP]}), 201)
    assert (second["version"], second["status"]) == (2, "draft")

    versions = (await ok(office.get(programme)))["versions"]
    assert [(each["version"], each["status"], len(each["milestones"])) for each in versions] == [
        (1, "published", 2),
        (2, "draft", 1),
    ]
    [summary] = (await ok(office.get(URL)))["items"]
    assert (summary["newest_version"], summary["published_version"]) == (2, 1)


async def test_a_version_retires_once(world: World) -> None:
    office = await world.office()
    version = f"{URL}/{(await ok(office.post(URL, json=PLAN), 201))['programme_id']}/versions/1"
    await refused(office.post(f"{version}/retire"), 409, "version-is-not-published")
    await ok(office.post(f"{version}/publish"))
    assert (await ok(office.post(f"{version}/retire")))["status"] == "retired"
    await refused(office.post(f"{version}/retire"), 409, "version-is-not-published")
    assert len(await world.events(ProgrammeRetired)) == 1


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "title"),
        ({"title": {"sv": "Bara svenska"}}, "title.en"),
        ({"title": {"sv": "", "en": "x"}}, "title.sv"),
        ({"title": TITLE, "colour": "blue"}, "colour"),
        ({"title": TITLE, "milestones": [MEETING | {"practices": ["juggling"]}]}, "milestones.0.practices.0"),
        ({"title": TITLE, "milestones": [MEETING | {"key": "Not a key!"}]}, "milestones.0.key"),
        ({"title": TITLE, "milestones": [MEETING | {"title": {"en": "No Swedish"}}]}, "milestones.0.title.sv"),
        (
            {"title": TITLE, "milestones": [MEETING | {"feedback": MEETING["feedback"] | {"groups": ["neighbours"]}}]},
            "milestones.0.feedback.groups.0",
        ),
        (
            {"title": TITLE, "milestones": [MEETING | {"feedback": MEETING["feedback"] | {"days_open": 0}}]},
            "milestones.0.feedback.days_open",
        ),
    ],
)
async def test_a_plan_that_is_not_right_is_refused_with_the_field(
    world: World, body: dict[str, Any], field: str
) -> None:
    office = await world.office()
    problem = await refused(office.post(URL, json=body), 422, "invalid-request")
    assert [error["field"] for error in problem["errors"]] == [field]
    assert (await ok(office.get(URL)))["items"] == []


async def test_a_rule_that_a_plan_breaks_names_the_field_too(world: World) -> None:
    office = await world.office()
    problem = await refused(office.post(URL, json={"title": TITLE, "milestones": [GROUP, GROUP]}), 422, "invalid")
    assert problem["errors"][0]["field"] == "milestones"
    draft = await ok(office.post(URL, json={"title": TITLE}), 201)
    problem = await refused(office.post(f"{URL}/{draft['programme_id']}/versions/1/publish"), 422, "invalid")
    assert problem["remedy"] == "Add a milestone to the draft."


async def test_only_the_programme_office_of_the_whole_organisation_writes_programmes(world: World) -> None:
    office = await world.office()
    programme = f"{URL}/{(await ok(office.post(URL, json=PLAN), 201))['programme_id']}"
    await world.person("anna")
    north = await world.office("north-office", world.north)
    for stranger in (world.client("anna"), north):
        for sending in (
            stranger.post(URL, json=PLAN),
            stranger.post(f"{programme}/versions", json=PLAN),
            stranger.put(f"{programme}/versions/1", json=PLAN),
            stranger.post(f"{programme}/versions/1/publish"),
            stranger.post(f"{programme}/versions/1/retire"),
        ):
            await refused(sending, 403, "forbidden")
    assert (await ok(world.client("anna").get(programme)))["versions"][0]["status"] == "draft"


async def test_an_unknown_programme_or_version_is_not_found(world: World) -> None:
    office = await world.office()
    programme = (await ok(office.post(URL, json=PLAN), 201))["programme_id"]
    for method, path in (
        ("GET", f"{URL}/{new_id()}"),
        ("POST", f"{URL}/{new_id()}/versions/1/publish"),
        ("POST", f"{URL}/{programme}/versions/7/publish"),
        ("POST", f"{URL}/{programme}/versions/7/retire"),
    ):
        await refused(office.request(method, path), 404, "not-found")
    await refused(office.post(f"{URL}/{new_id()}/versions", json=PLAN), 404, "not-found")
    await refused(office.get(f"{URL}/not-an-id"), 422, "invalid-request")


async def test_the_list_is_paged_by_cursor(world: World) -> None:
    office = await world.office()
    made = [(await ok(office.post(URL, json={"title": TITLE}), 201))["programme_id"] for _ in range(5)]
    seen: list[str] = []
    cursor: str | None = None
    while True:
        page = await ok(office.get(URL, params={"limit": 2} | ({"cursor": cursor} if cursor else {})))
        seen += [item["id"] for item in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert seen == made
    await refused(office.get(URL, params={"cursor": "nonsense"}), 400, "invalid-cursor")


async def test_the_same_request_again_makes_no_second_programme(world: World) -> None:
    office = await world.office()
    key = {"Idempotency-Key": "one"}
    first = await ok(office.post(URL, json=PLAN, headers=key), 201)
    assert await ok(office.post(URL, json=PLAN, headers=key), 201) == first
    await refused(office.post(URL, json={"title": TITLE}, headers=key), 422, "idempotency-key-reused")
    assert len((await ok(office.get(URL)))["items"]) == 1
