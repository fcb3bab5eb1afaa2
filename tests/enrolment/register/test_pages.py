"""Looking people up: who may, whom they find, what they see, and that it is put on record."""

from collections import Counter
from uuid import UUID

import httpx

from shared.events.vocabulary import Role
from shared.ids import new_id
from tests.enrolment.imports.test_pages import words
from tests.enrolment.imports.test_sending_pages import go_on, send
from tests.enrolment.world import World, ok
from tests.support.signing_in import PEOPLE

PAGE = "/enrolment/people"


async def found(client: httpx.AsyncClient, **query: str) -> list[str]:
    """Whom the search shows, by the address of their page."""
    answer = await client.get(PAGE, params=query, headers={"accept": "text/html", "accept-language": "en"})
    assert answer.status_code == 200, answer.text
    return [part.partition('"')[0] for part in answer.text.split(f'href="{PAGE}/')[1:]]


async def on_record(world: World, action: str = "person.read") -> Counter[UUID]:
    rows = await world.pool.fetch("select subject from audit_log where action = $1", action)
    return Counter(row["subject"] for row in rows)


async def test_people_are_found_by_parts_of_the_name_employee_id_and_unit_and_put_on_record(world: World) -> None:
    office = await world.office()
    anna, asa = await world.person("anna-44", unit=world.north), await world.person("åsa_x", unit=world.south)
    await world.person("per%t")
    assert await found(office) == [], "nobody is shown before something is looked for"
    assert await on_record(world) == {}
    assert await found(office, q="ANNA test") == [str(anna)]
    assert await found(office, q="ÅSA") == [str(asa)]
    assert await found(office, q="44") == [str(anna)]
    assert await found(office, unit="hq sou") == [str(asa)], "a unit is found by its path"
    assert await found(office, q="test", unit="north") == [str(anna)]
    assert len(await found(office, q="%")) == 1, "what means something to the database means itself here"
    assert await found(office, q="a_x") == [str(asa)]
    assert (await on_record(world))[anna] == 3
    assert "Nobody was found." in await words(office, f"{PAGE}?q=nobody")


async def test_a_role_for_some_units_finds_the_people_of_those(world: World) -> None:
    there, _ = await world.person("there", unit=world.north), await world.person("elsewhere", unit=world.south)
    office = await world.office("office", world.north)
    assert await found(office, q="test") == [str(there)]
    assert await found(office, unit="south") == []


async def test_others_look_nobody_up(world: World) -> None:
    chief = await world.person("chief")
    anna = await world.person("anna", manager=chief)
    await world.grant(await world.person("operator"), Role.operator)
    await world.person("colleague")
    for login in ("chief", "operator", "colleague", "anna"):
        assert (await world.client(login).get(PAGE, params={"q": "anna"})).status_code == 403
    for login in ("operator", "colleague"):
        assert (await world.client(login).get(f"{PAGE}/{anna}")).status_code == 403
        assert (await world.client(login).get(f"{PAGE}/{new_id()}")).status_code == 403
    assert await on_record(world) == {}


async def test_many_are_shown_by_page_in_the_order_of_their_names(world: World) -> None:
    office = await world.office()
    everybody = {str(one): name for name in (f"p{n:02}" for n in range(30)) for one in [await world.person(name)]}
    first = await office.get(PAGE, params={"q": "p test"}, headers={"accept": "text/html"})
    rest = first.text.split('rel="next" href="')[1].partition('"')[0].replace("&amp;", "&")
    shown = await found(office, q="p test") + await found(office, **dict(httpx.QueryParams(rest.removeprefix("?"))))
    assert [everybody[each] for each in shown] == [f"p{n:02}" for n in range(30)]
    assert (await office.get(PAGE, params={"q": "p", "cursor": "nonsense"})).status_code == 400


async def test_a_persons_page_says_what_hr_says_where_it_comes_from_and_what_they_take_part_in(world: World) -> None:
    office = await world.office()
    header = "Employee ID,First Name,Last Name,Unit,Business Title,Manager ID,Login\n"
    page = await send(world, office, f"{header}1,Eva,Ek,Care,Chief,,evaek\n2,Bo,Alm,Care - Home,Nurse,1,boalm\n")
    await go_on(world, office, page, "import", {})
    page = await send(world, office, f"{header}1,Eva,Ek,Care,Chief,,evaek\n2,Bo,Alm,Care - Home,Nurse,1,bo\n")
    await go_on(world, office, page, "import", {})
    ids = {row["employee_id"]: row["id"] for row in await world.pool.fetch("select employee_id, id from people")}
    cohort = await world.cohort(office)
    PEOPLE["bo"] = ids["2"]
    await ok(world.client("bo").post("/enrolment/v1/enrolments", json={"cohort_id": cohort}), 201)
    told = await words(office, f"{PAGE}/{ids['2']}")
    for said in (
        "Bo Alm At work", "Nurse, Home", "Employee id 2", "Unit Care › Home", "Manager Eva Ek", "Source other",
        "Last changed people.csv", "The source's last import people.csv", "boalm until", "Leading meetings, Spring",
        "Waiting for an answer",
    ):  # fmt: skip
        assert said in told
    read = await on_record(world)
    assert (read[ids["2"]], read[ids["1"]]) == (1, 1), "the manager's name is read too"
    assert (await on_record(world, "enrolment.read"))[ids["2"]] == 1


async def test_everybody_sees_their_own_page_and_a_manager_those_of_who_reports_to_them(world: World) -> None:
    chief = await world.person("chief")
    anna = await world.person("anna", manager=chief)
    assert "Manager chief Test" in await words(world.client("anna"), f"{PAGE}/{anna}")
    assert (await on_record(world))[anna] == 0, "that is nobody else's business"
    told = await words(world.client("chief"), f"{PAGE}/{anna}")
    assert "anna Test" in told
    assert "None yet." in told
    assert (await on_record(world))[anna] == 1


async def test_a_page_holds_no_more_than_the_role_is_for(world: World) -> None:
    boss = await world.person("big-boss", unit=world.south)
    anna = await world.person("anna", unit=world.north, manager=boss)
    await world.grant(await world.person("hr-person"), Role.hr_integration, world.north)
    told = await words(world.client("hr-person"), f"{PAGE}/{anna}")
    assert "Manager in a unit that your role is not for" in told
    assert "big-boss" not in told
    assert "Enrolments" not in told, "these are for the programme office, the manager and oneself"
    assert (await world.client("hr-person").get(f"{PAGE}/{boss}")).status_code == 403
    assert await ok(world.client("hr-person").get(f"/enrolment/v1/people/{anna}"))


async def test_a_machine_sees_no_enrolments_whether_or_not_the_person_has_a_manager(world: World) -> None:
    cohort = await world.cohort(await world.office())
    headers = {"authorization": f"Bearer {await world.machine('hr', Role.hr_integration)}"}
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(world.app), base_url="http://127.0.0.1:8080", headers=headers
    ) as machine:
        for login, manager in (("alone", None), ("led", await world.person("chief"))):
            person = await world.person(login, manager=manager)
            await ok(world.client(login).post("/enrolment/v1/enrolments", json={"cohort_id": cohort}), 201)
            told = await words(machine, f"{PAGE}/{person}")
            assert f"{login} Test" in told
            assert "Spring" not in told
            assert "Grade" not in told, "HR's grade of somebody is for nobody here"
    assert await on_record(world, "enrolment.read") == {}
