"""Who is known of a source before an import, and what tells that a file says nothing new of them."""

from collections.abc import Iterable, Sequence
from hashlib import sha256
from uuid import UUID

from services.enrolment.imports.checking import Known
from services.enrolment.imports.columns import FieldName
from shared.events import PersonStatus
from shared.postgres.pool import Connection

_AT_A_TIME = 2_000  # rows fetched in one round trip
_STATUSES = {status.value: status for status in PersonStatus}
_APART = "\x1f"  # in no value of a file

_MANAGER = "case when m.source = p.source then m.employee_id else coalesce(e'\\x1f' || p.manager_id, '') end"
# What every file says, or leaves as it is for everybody; and what it says where it has the column.
_ALWAYS = "coalesce(p.login, ''), p.given_name, p.family_name, p.unit_id::text, p.status"
_TOLD: dict[FieldName, str] = {
    "manager": _MANAGER,
    "email": "coalesce(p.email, '')",
    "title": "coalesce(p.title, '')",
    "grade": "coalesce(p.grade, '')",
    "locale": "p.locale",
    "time_zone": "p.time_zone",
}  # fmt: skip


def comparable(columns: Iterable[FieldName]) -> list[FieldName]:
    """Those of a file's columns whose values a fingerprint holds after the five of everybody, in that order."""
    named = set(columns)
    return [name for name in _TOLD if name in named]


def fingerprint(login: str | None, given: str, family: str, unit_id: str, status: str, *told: str) -> bytes:
    """What `known_people` gives of somebody of whom all this holds, and of nobody else; `told` as `comparable` says."""
    text = _APART.join((login or "", given, family, unit_id, status, *told))
    return sha256(text.encode()).digest()[:16]


async def known_people(
    conn: Connection, source: str, columns: Sequence[FieldName]
) -> tuple[dict[str, UUID], dict[str, Known]]:
    """Everybody ever known of a source, by employee id: their ids, and what is known, with the fingerprint of what
    these `comparable` columns hold.
    """
    ids: dict[str, UUID] = {}
    known: dict[str, Known] = {}
    managers: dict[str | None, str | None] = {}  # each told once in memory, not once for each of their people
    values = ", ".join([_ALWAYS, *(_TOLD[name] for name in columns)])
    cursor = await conn.cursor(
        f"""
        select p.employee_id, p.id, p.status, p.email, m.employee_id as manager, p.login,
               substr(sha256(convert_to(concat_ws(e'\\x1f', {values}), 'UTF8')), 1, 16)
        from people p left join people m on m.id = p.manager_id
        where p.source = $1
        """,  # noqa: S608 - constants of this module
        source,
    )
    while rows := await cursor.fetch(_AT_A_TIME):
        for who, person_id, status, email, manager, login, print_ in rows:
            ids[who] = person_id
            known[who] = Known(
                _STATUSES[status],
                email,
                managers.setdefault(manager, manager),
                who if login == who else login,  # one text in memory instead of two
                print_,
            )
    return ids, known
