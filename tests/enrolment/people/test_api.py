"""People over HTTP: who may see whom, and that it is put on record."""

from shared.events import Role
from shared.ids import new_id
from tests.enrolment.world import World, ok, refused

URL = "/enrolment/v1/people"


async def on_record(world: World) -> list[tuple[str, str]]:
    rows = await world.pool.fetch(
        "select a.principal, p.login from audit_log a join people p on p.id = a.subject order by p.login"
    )
    return [tuple(row) for row in rows]


async def test_people_see_themselves_and_it_is_nobodys_business(world: World) -> None:
    anna = await world.person("anna")
    seen = await ok(world.client("anna").get(f"{URL}/{anna}"))
    assert (seen["login"], seen["status"], seen["unit_id"]) == ("anna", "active", str(world.hq))
    assert await on_record(world) == []


async def test_a_manager_sees_who_reports_to_them_and_it_is_put_on_record(world: World) -> None:
    chief = await world.person("chief")
    anna = await world.person("anna", manager=chief)
    await ok(world.client("chief").get(f"{URL}/{anna}"))
    assert await on_record(world) == [(f"person:{chief}", "anna")]


async def test_colleagues_do_not_see_each_other(world: World) -> None:
    anna = await world.person("anna")
    await world.person("bo", manager=anna)
    await refused(world.client("bo").get(f"{URL}/{anna}"), 403, "forbidden")
    assert await on_record(world) == []


async def test_an_office_sees_the_people_of_its_units_only(world: World) -> None:
    there, elsewhere = await world.person("there", unit=world.north), await world.person("elsewhere", unit=world.south)
    office = await world.office("office", world.north)
    await ok(office.get(f"{URL}/{there}"))
    await refused(office.get(f"{URL}/{elsewhere}"), 403, "forbidden")
    assert [each["login"] for each in (await ok(office.get(URL)))["items"]] == ["there"]


async def test_everybody_is_listed_by_page_and_each_one_put_on_record(world: World) -> None:
    logins = ["a", "b", "c"]
    await world.people(logins)
    office = await world.office()
    first = await ok(office.get(URL, params={"limit": 2}))
    second = await ok(office.get(URL, params={"limit": 2, "cursor": first["next"]}))
    assert sorted(item["login"] for item in first["items"] + second["items"]) == [*logins, "office"]
    assert sorted(login for _, login in await on_record(world)) == logins
    await refused(office.get(URL, params={"cursor": "nonsense"}), 400, "invalid-cursor")


async def test_who_is_unknown_is_not_found_by_those_who_may_look(world: World) -> None:
    office = await world.office()
    await refused(office.get(f"{URL}/{new_id()}"), 404, "not-found")
    await world.person("anna")
    await refused(world.client("anna").get(f"{URL}/{new_id()}"), 403, "forbidden")
    await refused(office.get(f"{URL}/nobody"), 422, "invalid-request")


async def test_other_roles_see_nobody(world: World) -> None:
    await world.grant(await world.person("reader"), Role.operator)
    await refused(world.client("reader").get(URL), 403, "forbidden")
