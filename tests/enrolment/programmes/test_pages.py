"""A programme is written, published and versioned on pages, without a script and without the API."""

import re

import httpx
import pytest

from shared.events import ProgrammePublished, ProgrammeRetired
from shared.events.vocabulary import Practice
from shared.ids import new_id
from tests.enrolment.forms import PAGE, Form, follow, form_at, form_in, page, words
from tests.enrolment.world import GROUP, MEETING, TITLE, World, ok

PROGRAMMES = "/enrolment/programmes"
API = "/enrolment/v1/programmes"
READY = f"{PROGRAMMES}/new?start=leading_without_a_title"


def a_meeting(form: Form) -> Form:
    """A new programme of one milestone, filled in."""
    return form.fill(
        title__sv="Att leda möten",
        title__en="Leading meetings",
        milestones__0__title__sv="Jag har lett ett möte",
        milestones__0__title__en="I have led a meeting",
        milestones__0__practices=["leading_meetings", "dialogue_decisions"],
        milestones__0__feedback="yes",
        milestones__0__feedback__groups=["self", "peer"],
        milestones__0__feedback__days_open="10",
    )


async def drafted(office: httpx.AsyncClient, **plan: object) -> str:
    """A draft made over the API; its programme."""
    made = await ok(office.post(API, json={"title": TITLE, "milestones": [MEETING, GROUP]} | plan), 201)
    return str(made["programme_id"])


async def versions(office: httpx.AsyncClient, programme: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = (await ok(office.get(f"{API}/{programme}")))["versions"]
    return found


async def test_a_programme_is_written_reviewed_and_published_on_pages(world: World) -> None:
    office = await world.office()
    assert "There are no programmes yet" in await page(office, PROGRAMMES)

    kept = await a_meeting(await form_at(office, f"{PROGRAMMES}/new")).press(office, "save")
    assert "The draft has been saved" in await follow(office, kept)
    [made] = (await ok(office.get(API)))["items"]
    [version] = await versions(office, made["id"])
    assert version["title"] == {"sv": "Att leda möten", "en": "Leading meetings"}
    assert version["milestones"] == [
        {
            "key": "i_have_led_a_meeting",
            "title": {"sv": "Jag har lett ett möte", "en": "I have led a meeting"},
            "practices": ["leading_meetings", "dialogue_decisions"],
            "feedback": {"kind": "milestone", "groups": ["self", "peer"], "days_open": 10},
        }
    ]

    publishing = f"{PROGRAMMES}/{made['id']}/versions/1/publish"
    asked = await page(office, publishing)
    assert "I have led a meeting Jag har lett ett möte" in asked, "both languages are read before"
    assert "trains 2 of the twelve practices" in asked
    published = await (await form_at(office, publishing, "publish")).press(office)
    assert "The version has been published" in await follow(office, published)
    [event] = await world.events(ProgrammePublished)
    assert event.title.sv == "Att leda möten"


async def test_the_ready_made_programme_fills_the_form_and_trains_all_twelve_practices(world: World) -> None:
    office = await world.office()
    assert "Leading without a manager's title" in await page(office, PROGRAMMES)
    kept = await (await form_at(office, READY)).press(office, "save")
    assert "The programme trains all twelve practices" in await follow(office, kept)
    [made] = (await ok(office.get(API)))["items"]
    [version] = await versions(office, made["id"])
    assert version["title"] == {"sv": "Leda utan chefstitel", "en": "Leading without a manager's title"}
    milestones = version["milestones"]
    assert isinstance(milestones, list)
    assert {practice for each in milestones for practice in each["practices"]} == set(Practice)
    assert all(each["title"]["sv"] != each["title"]["en"] for each in milestones)


async def test_rows_are_added_moved_and_removed_by_buttons_and_nothing_typed_is_lost(world: World) -> None:
    office = await world.office()
    form = form_in(await a_meeting(await form_at(office, f"{PROGRAMMES}/new")).press(office, "add"))
    form.fill(milestones__1__title__sv="Andra", milestones__1__title__en="Second")
    assert form["milestones.1.feedback.days_open"] == "14"
    form = form_in(await form.press(office, "up.1"))
    assert [form[f"milestones.{nth}.title.en"] for nth in (0, 1)] == ["Second", "I have led a meeting"]
    assert form.values("milestones.1.practices") == ["leading_meetings", "dialogue_decisions"]
    assert form.values("milestones.1.feedback.groups") == ["self", "peer"]
    assert form["milestones.1.feedback.days_open"] == "10"
    form = form_in(await form.press(office, "down.0"))
    form = form_in(await form.press(office, "remove.1"))
    assert form["milestones.0.title.en"] == "I have led a meeting"
    assert form.values("milestones.1.key") == []
    assert form["title.sv"] == "Att leda möten"
    for nonsense in ("remove.7", "up.x", "banana", "up." + "1" * 5000):
        assert form_in(await form.press(office, nonsense))["milestones.0.title.en"] == "I have led a meeting"
    assert (await ok(office.get(API)))["items"] == [], "nothing is kept before it is saved"


async def test_what_is_wrong_stands_beside_its_field_and_what_was_typed_is_kept(world: World) -> None:
    office = await world.office()
    form = a_meeting(await form_at(office, f"{PROGRAMMES}/new")).fill(
        title__en="  ",
        title__sv="x" * 201,
        milestones__0__title__sv="",
        milestones__0__practices=[],
        milestones__0__feedback__groups=[],
        milestones__0__feedback__days_open="1000",
    )
    refused = await form.press(office, "save")
    assert refused.status_code == 422
    for name, message in {
        "title.sv": "Write at most 200 characters on one line",
        "title.en": "Write the programme&#39;s name in English",
        "milestones.0.title.sv": "Milestone 1: write it in Swedish",
        "milestones.0.practices": "Milestone 1: choose at least one practice that it trains",
        "milestones.0.feedback.groups": "Milestone 1: choose who is asked",
        "milestones.0.feedback.days_open": "Milestone 1: write how many days the round is open, 1 to 365",
    }.items():
        assert f'<a href="#{name}">{message}</a>' in refused.text
        assert f'id="{name}"' in refused.text
        assert re.search(rf'id="{re.escape(name)}-error">.*{re.escape(message)}</p>', refused.text)
    again = form_in(refused)
    assert again["milestones.0.title.en"] == "I have led a meeting"
    assert again["milestones.0.feedback.days_open"] == "1000"
    assert again["title.sv"] == "x" * 201
    assert (await ok(office.get(API)))["items"] == []


async def test_a_form_pressed_twice_makes_one_programme_and_one_version(world: World) -> None:
    office = await world.office()
    form = a_meeting(await form_at(office, f"{PROGRAMMES}/new"))
    first, second = await form.press(office, "save"), await form.press(office, "save")
    assert (first.status_code, second.status_code) == (303, 303)
    assert first.headers["location"] == second.headers["location"]
    [made] = (await ok(office.get(API)))["items"]

    changed = await form.fill(title__en="Leading other meetings").press(office, "save")
    assert changed.status_code == 422
    assert "This form was saved once before, with something else in it" in words(changed)
    assert len((await ok(office.get(API)))["items"]) == 1
    assert (await form_in(changed).press(office, "save")).status_code == 303
    assert len((await ok(office.get(API)))["items"]) == 2

    at = f"{PROGRAMMES}/{made['id']}/versions"
    publishing = await form_at(office, f"{at}/1/publish", "publish")
    for _ in range(2):
        assert "The version has been published" in await follow(office, await publishing.press(office))
    following = await form_at(office, f"{at}/new")
    for _ in range(2):
        assert "The draft has been saved" in await follow(office, await following.press(office, "save"))
    editing = (await form_at(office, f"{at}/2/edit")).fill(title__en="Edited")
    for _ in range(2):
        assert "The draft has been saved" in await follow(office, await editing.press(office, "save"))
    assert [each["status"] for each in await versions(office, made["id"])] == ["published", "draft"]


async def test_a_new_version_begins_as_the_newest_and_keeps_the_keys_of_its_milestones(world: World) -> None:
    office = await world.office()
    programme = await drafted(office)
    at = f"{PROGRAMMES}/{programme}/versions"
    assert (await office.get(f"{at}/new", headers=PAGE)).headers["location"] == f"{at}/1/edit", "there is a draft"
    await ok(office.post(f"{API}/{programme}/versions/1/publish"))
    assert "never changes" in await page(office, f"{PROGRAMMES}/{programme}")
    sent_back = await office.get(f"{at}/1/edit", headers=PAGE)
    assert "can no longer be changed" in await follow(office, sent_back)

    form = form_in(await (await form_at(office, f"{at}/new")).press(office, "add"))
    form.fill(milestones__2__title__sv="Tredje", milestones__2__title__en="Led a meeting: First meeting!")
    form.fill(milestones__2__practices=["improving"])
    assert "The draft has been saved" in await follow(office, await form.press(office, "save"))
    first, second = await versions(office, programme)
    assert [each["key"] for each in second["milestones"]] == [  # type: ignore[attr-defined]
        "first_meeting", "working_group", "led_a_meeting_first_meeting",
    ]  # fmt: skip
    assert first["milestones"] == [MEETING, GROUP | {"feedback": None}]
    assert "Version 1" in await page(office, f"{PROGRAMMES}/{programme}?version=1")


async def test_milestones_that_read_alike_get_keys_of_their_own(world: World) -> None:
    office = await world.office()
    form = form_in(await a_meeting(await form_at(office, f"{PROGRAMMES}/new")).press(office, "add"))
    form.fill(milestones__1__title__sv="Igen", milestones__1__title__en="I have led a meeting!")
    form.fill(milestones__1__practices=["improving"])
    form = form_in(await form.press(office, "add"))
    form.fill(milestones__2__title__sv="På svenska", milestones__2__title__en="会議")
    form.fill(milestones__2__practices=["improving"])
    assert (await form.press(office, "save")).status_code == 303
    [made] = (await ok(office.get(API)))["items"]
    [version] = await versions(office, made["id"])
    keys = [each["key"] for each in version["milestones"]]  # type: ignore[attr-defined]
    assert keys == ["i_have_led_a_meeting", "i_have_led_a_meeting_2", "milestone"]


async def test_of_two_who_edit_one_draft_the_second_is_told_and_loses_nothing(world: World) -> None:
    anna, bo = await world.office("anna"), await world.office("bo")
    programme = await drafted(anna)
    edit = f"{PROGRAMMES}/{programme}/versions/1/edit"
    annas, bos = (await form_at(anna, edit)).fill(title__en="Anna's"), (await form_at(bo, edit)).fill(title__en="Bo's")
    assert (await annas.press(anna, "save")).status_code == 303
    told = await bos.press(bo, "save")
    assert told.status_code == 409
    assert "Somebody else has changed the programme since you opened it" in words(told)
    [version] = await versions(anna, programme)
    assert version["title"] == TITLE | {"en": "Anna's"}
    assert form_in(told)["title.en"] == "Bo's"
    assert (await form_in(told).press(bo, "save")).status_code == 303, "who has been told may decide"
    [version] = await versions(anna, programme)
    assert version["title"] == TITLE | {"en": "Bo's"}

    publishing = await form_at(anna, f"{PROGRAMMES}/{programme}/versions/1/publish", "publish")
    assert (await (await form_at(bo, edit)).fill(title__en="Later").press(bo, "save")).status_code == 303
    assert "Somebody else has changed the programme" in await follow(anna, await publishing.press(anna))
    assert await world.events(ProgrammePublished) == [], "nothing is published that nobody has read"


async def test_who_edits_a_draft_that_is_published_meanwhile_can_keep_it_as_a_new_version(world: World) -> None:
    anna, bo = await world.office("anna"), await world.office("bo")
    programme = await drafted(anna)
    form = (await form_at(bo, f"{PROGRAMMES}/{programme}/versions/1/edit")).fill(title__en="Bo's")
    await ok(anna.post(f"{API}/{programme}/versions/1/publish"))
    told = await form.press(bo, "save")
    assert told.status_code == 409
    assert "becomes a new version" in words(told)
    assert (await form_in(told).press(bo, "save")).status_code == 303
    assert [each["version"] for each in await versions(anna, programme)] == [1, 2]

    late = (await form_at(bo, f"{PROGRAMMES}/{programme}/versions/2/edit")).fill(title__en="Bo's again")
    late.action = late.action.replace("/2/edit", "/new")  # as if it had been opened before there was a draft
    told = await late.press(bo, "save")
    assert "There is already a draft" in words(told)
    assert form_in(told).action.endswith("/versions/2/edit")


async def test_who_writes_a_next_version_is_told_of_one_that_was_published_meanwhile(world: World) -> None:
    anna, bo = await world.office("anna"), await world.office("bo")
    programme = await drafted(anna)
    await ok(anna.post(f"{API}/{programme}/versions/1/publish"))
    bos = (await form_at(bo, f"{PROGRAMMES}/{programme}/versions/new")).fill(title__en="Bo's")
    theirs = {"title": TITLE | {"en": "Anna's"}, "milestones": [MEETING]}
    await ok(anna.post(f"{API}/{programme}/versions", json=theirs), 201)
    await ok(anna.post(f"{API}/{programme}/versions/2/publish"))
    bos = form_in(await bos.press(bo, "add"))
    told = await form_in(await bos.press(bo, "remove.2")).press(bo, "save")
    assert told.status_code == 409
    assert "Somebody else has changed the programme since you opened it" in words(told)
    assert "Read the newest version" in words(told)
    assert "replaces the draft" not in words(told)
    assert [each["version"] for each in await versions(anna, programme)] == [1, 2], "nothing of theirs is lost unread"
    assert form_in(told)["title.en"] == "Bo's"
    assert (await form_in(told).press(bo, "save")).status_code == 303, "who has been told may decide"
    assert [each["title"]["en"] for each in await versions(anna, programme)] == [  # type: ignore[index]
        "Leading meetings", "Anna's", "Bo's",
    ]  # fmt: skip


async def test_a_version_retires_after_a_question(world: World) -> None:
    office = await world.office()
    programme = await drafted(office)
    await ok(office.post(f"{API}/{programme}/versions/1/publish"))
    asking = f"{PROGRAMMES}/{programme}/versions/1/retire"
    assert "Do you want to retire version 1 of Leading meetings?" in await page(office, asking)
    assert await world.events(ProgrammeRetired) == []
    retired = await (await form_at(office, asking, "retire")).press(office)
    assert "The version has been retired" in await follow(office, retired)
    assert len(await world.events(ProgrammeRetired)) == 1


async def test_only_the_whole_organisations_office_writes_and_everybody_reads(world: World) -> None:
    office = await world.office()
    programme = await drafted(office)
    await world.person("anna")
    anna, of_north = world.client("anna"), await world.office("north", world.north)
    at = f"{PROGRAMMES}/{programme}/versions"
    form = await form_at(office, f"{at}/1/edit")
    for nobody in (anna, of_north):
        for path in (f"{PROGRAMMES}/new", f"{at}/new", f"{at}/1/edit", f"{at}/1/publish", f"{at}/1/retire"):
            assert "You do not have access" in await page(nobody, path, 403)
            assert (await nobody.post(path, data=dict(form.fields), headers=PAGE)).status_code == 403
        read = (await nobody.get(f"{PROGRAMMES}/{programme}", headers=PAGE)).text
        assert "Leading meetings" in read
        assert f"{at}/1/edit" not in read
        assert "/programmes/new" not in (await nobody.get(PROGRAMMES, headers=PAGE)).text
    [version] = await versions(office, programme)
    assert (version["status"], version["title"]) == ("draft", TITLE)


async def test_a_form_from_another_site_or_about_nothing_changes_nothing(world: World) -> None:
    office = await world.office()
    form = a_meeting(await form_at(office, f"{PROGRAMMES}/new"))
    foreign = await office.post(form.action, data=dict(form.fields), headers=PAGE | {"sec-fetch-site": "cross-site"})
    assert foreign.status_code == 403
    for path in (f"{new_id()}", f"{new_id()}/versions/new", f"{new_id()}/versions/1/edit"):
        assert "Page not found" in await page(office, f"{PROGRAMMES}/{path}", 404)
    form.action = f"{PROGRAMMES}/{new_id()}/versions/1/edit"
    assert (await form.press(office, "save")).status_code == 404
    assert (await ok(office.get(API)))["items"] == []


@pytest.mark.parametrize("field", ["milestones.0.key", "milestones.0.feedback.kind"])
async def test_what_no_browser_sends_is_refused_too(world: World, field: str) -> None:
    office = await world.office()
    form = a_meeting(await form_at(office, f"{PROGRAMMES}/new")).fill(**{field.replace(".", "__"): "Not a code!"})
    assert (await form.press(office, "save")).status_code == 422
    many = [("milestones.0.practices", "improving")] * 4000
    sent = await office.post(form.action, data={"milestones.0.practices": [value for _, value in many]}, headers=PAGE)
    assert sent.status_code == 400
    assert (await ok(office.get(API)))["items"] == []
