"""Roles and tokens over HTTP."""

from datetime import timedelta
from typing import Any

import httpx
import pytest

from shared.events import AccessState, Role
from shared.ids import new_id
from tests.enrolment.world import ORIGIN, World, ok, refused

GRANTS, TOKENS, ACCESS = "/enrolment/v1/grants", "/enrolment/v1/tokens", "/enrolment/v1/access"
PROTECTED = "/enrolment/v1/people"


async def an_operator(world: World) -> httpx.AsyncClient:
    await world.grant(await world.person("operator"), Role.operator)
    return world.client("operator")


async def with_token(world: World, token: str) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(world.app), base_url=ORIGIN) as machine:
        return await machine.get(PROTECTED, headers={"authorization": f"Bearer {token}"})


async def on_record(world: World) -> list[str]:
    return [row["action"] for row in await world.pool.fetch("select action from audit_log order by id")]


async def test_a_granted_role_holds_at_once_is_told_and_put_on_record(world: World) -> None:
    operator = await an_operator(world)
    anna = await world.person("anna")
    await refused(world.client("anna").get(PROTECTED), 403, "forbidden")
    order = {"person_id": str(anna), "role": "programme_office"}
    holder = await ok(operator.post(GRANTS, json=order), 201)
    assert (holder["principal"], holder["roles"]) == (f"person:{anna}", {"programme_office": None})
    await ok(world.client("anna").get(PROTECTED))
    [state] = await world.events(AccessState)
    assert (state.principal, state.roles, state.person_id) == (f"person:{anna}", {"programme_office": None}, anna)
    assert "access.granted" in await on_record(world)
    await ok(operator.post(GRANTS, json=order), 201)
    assert len(await world.events(AccessState)) == 1  # the second time changed nothing


async def test_a_revoked_role_ends_at_once_and_leaves_a_tombstone(world: World) -> None:
    operator = await an_operator(world)
    anna = await world.person("anna")
    await ok(operator.post(GRANTS, json={"person_id": str(anna), "role": "hr_integration"}), 201)
    await ok(world.client("anna").get(PROTECTED))
    held = await ok(operator.delete(GRANTS, params={"person_id": str(anna), "role": "hr_integration"}))
    assert held["roles"] == {}
    await refused(world.client("anna").get(PROTECTED), 403, "forbidden")
    rows = await world.pool.fetch("select payload is null from outbox where key = $1 order by seq", f"person:{anna}")
    assert [row[0] for row in rows] == [False, True]
    await refused(operator.delete(GRANTS, params={"person_id": str(anna), "role": "hr_integration"}), 404, "not-held")


async def test_a_role_for_units_is_granted_and_revoked_unit_by_unit(world: World) -> None:
    operator = await an_operator(world)
    anna = str(await world.person("anna"))
    for unit in (world.north, world.south):
        order = {"person_id": anna, "role": "programme_office", "unit_id": str(unit)}
        holder = await ok(operator.post(GRANTS, json=order), 201)
    assert holder["roles"] == {"programme_office": sorted([str(world.north), str(world.south)])}
    params = {"person_id": anna, "role": "programme_office", "unit_id": str(world.north)}
    assert (await ok(operator.delete(GRANTS, params=params)))["roles"] == {"programme_office": [str(world.south)]}


async def test_an_office_grants_within_its_units_and_makes_no_operators(world: World) -> None:
    local = await world.office("local", world.north)
    anna = str(await world.person("anna"))
    order: dict[str, Any] = {"person_id": anna, "role": "programme_office"}
    await ok(local.post(GRANTS, json=order | {"unit_id": str(world.north)}), 201)
    await refused(local.post(GRANTS, json=order | {"unit_id": str(world.south)}), 403, "forbidden")
    await refused(local.post(GRANTS, json=order), 403, "forbidden")
    office = await world.office()
    await refused(office.post(GRANTS, json=order | {"role": "operator"}), 403, "forbidden")
    await refused(office.post(TOKENS, json={"name": "x", "role": "operator"}), 403, "forbidden")


async def test_an_operator_of_one_unit_makes_none_elsewhere_whatever_else_they_hold(world: World) -> None:
    both = await world.person("both")
    await world.grant(both, Role.programme_office)
    await world.grant(both, Role.operator, world.north)
    order = {"person_id": str(both), "role": "operator"}
    await refused(world.client("both").post(GRANTS, json=order), 403, "forbidden")
    await refused(world.client("both").post(TOKENS, json={"name": "x", "role": "operator"}), 403, "forbidden")
    await refused(world.client("both").delete(GRANTS, params=order), 403, "forbidden")
    await ok(world.client("both").post(GRANTS, json=order | {"unit_id": str(world.north)}), 201)


@pytest.mark.parametrize(
    ("change", "status", "kind"),
    [
        ({"person_id": str(new_id())}, 404, "not-found"),
        ({"unit_id": str(new_id())}, 404, "not-found"),
        ({"role": "king"}, 422, "invalid-request"),
        ({"role": "manager"}, 422, "invalid-request"),
        ({"everywhere": True}, 422, "invalid-request"),
    ],
)
async def test_a_grant_that_cannot_be_is_refused(world: World, change: dict[str, Any], status: int, kind: str) -> None:
    operator = await an_operator(world)
    order = {"person_id": str(await world.person("anna")), "role": "programme_office"} | change
    await refused(operator.post(GRANTS, json=order), status, kind)
    assert await world.events(AccessState) == []


async def test_people_without_a_role_grant_nothing_and_see_no_holders(world: World) -> None:
    anna = await world.person("anna")
    client = world.client("anna")
    await refused(client.post(GRANTS, json={"person_id": str(anna), "role": "operator"}), 403, "forbidden")
    await refused(client.post(TOKENS, json={"name": "x", "role": "stream_reader"}), 403, "forbidden")
    await refused(client.get(ACCESS), 403, "forbidden")


async def test_a_token_opens_until_it_is_withdrawn_and_is_stored_nowhere(world: World) -> None:
    operator = await an_operator(world)
    issued = await ok(operator.post(TOKENS, json={"name": "HR platform", "role": "hr_integration", "days": 1}), 201)
    token, principal = issued["token"], issued["holder"]["principal"]
    assert (await with_token(world, token)).status_code == 200
    for table in ("access", "outbox", "idempotency_keys", "audit_log"):
        rows = await world.pool.fetch(f"select t::text from {table} t")
        assert not any(token in row[0] or token.encode().hex() in row[0] for row in rows)
    assert (await operator.delete(f"{TOKENS}/{principal}")).status_code == 204
    assert (await with_token(world, token)).status_code == 401
    await refused(operator.delete(f"{TOKENS}/{principal}"), 404, "not-held")
    assert [action for action in await on_record(world) if "token" in action] == ["token.issued", "token.withdrawn"]


async def test_a_token_ends_by_itself(world: World) -> None:
    operator = await an_operator(world)
    issued = await ok(operator.post(TOKENS, json={"name": "HR", "role": "hr_integration", "days": 1}), 201)
    world.pass_time(timedelta(days=1, seconds=1))
    assert (await with_token(world, issued["token"])).status_code == 401


async def test_an_order_for_a_token_sent_again_does_not_show_it_again(world: World) -> None:
    operator = await an_operator(world)
    order = {"name": "HR", "role": "hr_integration"}
    headers = {"idempotency-key": "k"}
    first = await ok(operator.post(TOKENS, json=order, headers=headers), 201)
    again = await ok(operator.post(TOKENS, json=order, headers=headers), 201)
    assert again == {"token": None, "holder": first["holder"]}
    assert await world.pool.fetchval("select count(*) from access where kind = 'machine'") == 1


async def test_a_token_for_units_is_issued_by_who_holds_them(world: World) -> None:
    local = await world.office("local", world.north)
    order = {"name": "Wall", "role": "stream_reader"}
    await ok(local.post(TOKENS, json=order | {"unit_ids": [str(world.north)]}), 201)
    await refused(local.post(TOKENS, json=order | {"unit_ids": [str(world.north), str(world.south)]}), 403, "forbidden")
    await refused(local.post(TOKENS, json=order), 403, "forbidden")
    await refused(local.post(TOKENS, json=order | {"unit_ids": []}), 422, "invalid-request")


async def test_holders_are_listed_by_page_without_their_hashes(world: World) -> None:
    operator = await an_operator(world)
    await ok(operator.post(TOKENS, json={"name": "HR", "role": "hr_integration"}), 201)
    first = await ok(operator.get(ACCESS, params={"limit": 1}))
    second = await ok(operator.get(ACCESS, params={"limit": 1, "cursor": first["next"]}))
    assert [page["items"][0]["kind"] for page in (first, second)] == ["machine", "person"]
    assert second["next"] is None
    assert "token_hash" not in first["items"][0]


async def test_looking_at_what_others_hold_is_put_on_record(world: World) -> None:
    operator = await an_operator(world)
    await ok(operator.get(ACCESS))
    assert "access.read" not in await on_record(world)
    await world.grant(await world.person("anna"), Role.hr_integration)
    await ok(operator.get(ACCESS))
    assert (await on_record(world)).count("access.read") == 1
