"""Pages: the reader's language and time, one navigation, errors in words, nothing unescaped."""

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import MappingProxyType

import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI
from starlette.requests import Request
from starlette.responses import Response

from deploy.services import SERVICES, find_service
from services.feedback.service import SERVICE
from shared.errors import ProblemError
from shared.events.vocabulary import Role
from shared.http.app import Api, create_app
from shared.ids import new_id
from shared.security.principal import Principal, Roles
from shared.security.same_origin import form_guard
from shared.settings import Settings
from shared.web.locale import Formats
from shared.web.navigation import current, entries_for
from shared.web.render import STATIC, Web, render
from shared.web.texts import LANGUAGES, Texts, TextsError
from tests.support.serving import client_of
from tests.support.settings import make_settings

HTML = {"accept": "text/html"}
router = APIRouter(prefix="/feedback")
OFFICER = Principal("person", "person:x", None, "Åsa <b>", "en", MappingProxyType({Role.operator: None}), "Asia/Tokyo")


@router.get("/who/{kind}")
async def who_page(request: Request, kind: str) -> Response:
    who = {"nobody": None, "officer": OFFICER, "plain": Principal("person", "person:y", None, "Bo", "sv")}[kind]
    return render(request, who, "error.html", key="error.404")


@router.get("/problem/{status}")
async def problem(status: int) -> None:
    raise ProblemError(status, "some-kind", "Title", "Detail")


@router.post("/form", dependencies=[Depends(form_guard)])
async def form() -> str:
    return "taken"


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    app: FastAPI = create_app(
        make_settings(Settings, "postgresql://medled@127.0.0.1:1/x"),
        SERVICE,
        Api(title="Test", description="", routers=[router]),
    )
    async with client_of(app) as client:
        yield client


async def test_the_language_is_asked_for_then_remembered_then_ones_own_then_the_browsers_then_swedish(
    client: httpx.AsyncClient,
) -> None:
    async def language(path: str, **headers: str) -> str:
        text = (
            await client.get(path, headers=HTML | {name.replace("_", "-"): value for name, value in headers.items()})
        ).text
        return text.split('<html lang="')[1][:2]

    nobody, officer = "/feedback/who/nobody", "/feedback/who/officer"
    assert await language(nobody) == "sv"
    assert await language(nobody, accept_language="de, en;q=0.8, sv;q=0.5") == "en"
    assert await language(nobody, accept_language="rubbish;q=x,,") == "sv"
    assert await language(officer, accept_language="sv") == "en"
    assert await language(officer, cookie="medled_lang=sv") == "sv"
    assert await language(officer + "?lang=en", cookie="medled_lang=sv") == "en"
    assert await language(nobody + "?lang=xx", accept_language="en-GB") == "en"
    client.cookies.clear()
    answer = await client.get(nobody + "?lang=en", headers=HTML)
    assert "medled_lang=en" in answer.headers["set-cookie"]


async def test_switching_language_keeps_the_rest_of_the_query_and_never_writes_the_path(
    client: httpx.AsyncClient,
) -> None:
    text = (await client.get("/feedback/who/nobody?tab=a%22b&lang=sv", headers=HTML)).text
    assert 'href="?tab=a%22b&amp;lang=en"' in text
    assert "/feedback/who/nobody" not in text


async def test_the_navigation_shows_what_leads_somewhere_for_the_reader(client: httpx.AsyncClient) -> None:
    nobody, plain, officer = [
        (await client.get(f"/feedback/who/{kind}?lang=en", headers=HTML)).text
        for kind in ("nobody", "plain", "officer")
    ]
    assert "Sign in" in nobody
    assert "My co-leadership" not in nobody
    assert "My co-leadership" in plain
    assert "Deliveries" not in plain
    assert "Deliveries" in officer
    assert '<a href="/feedback/" aria-current="page">Feedback</a>' in plain
    assert "Åsa &lt;b&gt;" in officer


@pytest.mark.parametrize(("roles", "shown"), [
    ({}, set()),
    ({Role.operator: None}, {"deliveries"}),
    ({Role.programme_office: None}, {"approvals", "programmes", "people", "imports", "deliveries"}),
    ({Role.hr_integration: None}, {"people", "imports"}),
    ({Role.programme_office: frozenset({new_id()})}, {"approvals", "programmes", "people"}),
])  # fmt: skip
def test_what_concerns_the_whole_organisation_is_shown_to_who_holds_a_role_everywhere(
    roles: Roles, shown: set[str]
) -> None:
    who = Principal("person", "person:x", new_id(), "Bo", roles=roles)
    assert {entry.key for entry in entries_for(who) if entry.roles} == shown


def test_approvals_are_shown_to_who_has_somebody_to_answer_for() -> None:
    plain, manager = (Principal("person", "person:x", new_id(), "Bo", has_reports=has) for has in (False, True))
    assert [entry.key for entry in entries_for(plain)] == ["co_leadership", "feedback", "organisation"]
    assert [entry.key for entry in entries_for(manager)] == ["co_leadership", "approvals", "feedback", "organisation"]


@pytest.mark.parametrize(("path", "key"), [
    ("/", None), ("/organisation", "organisation"), ("/problems/x", None),
    ("/enrolment/me", "co_leadership"), ("/enrolment/approvals", "approvals"),
    ("/enrolment/programmes", "programmes"), ("/enrolment/cohorts/1", "programmes"), ("/feedback/rounds/1", "feedback"),
])  # fmt: skip
def test_a_page_lies_under_one_entry_of_the_navigation(path: str, key: str | None) -> None:
    assert current(path) == key


@pytest.mark.parametrize(("status", "words"), [
    (403, "You do not have access"), (404, "Page not found"), (410, "This link no longer works"),
    (418, "That did not work"), (503, "not available right now"),
])  # fmt: skip
async def test_errors_are_pages_for_browsers_and_problems_for_programs(
    client: httpx.AsyncClient, status: int, words: str
) -> None:
    page = await client.get(f"/feedback/problem/{status}?lang=en", headers=HTML)
    swedish = await client.get(f"/feedback/problem/{status}?lang=sv", headers=HTML)
    program = await client.get(f"/feedback/problem/{status}")
    assert [answer.status_code for answer in (page, swedish, program)] == [status] * 3
    assert words in page.text
    assert words not in swedish.text
    assert program.headers["content-type"] == "application/problem+json"


async def test_a_form_from_elsewhere_is_refused(client: httpx.AsyncClient) -> None:
    assert (await client.post("/feedback/form", headers={"sec-fetch-site": "same-origin"})).status_code == 200
    assert (await client.post("/feedback/form", headers={"origin": "https://evil.example"})).status_code == 403
    page = await client.post("/feedback/form?lang=en", headers=HTML | {"sec-fetch-site": "cross-site"})
    assert "The form came from another site" in page.text


async def test_static_files_may_be_kept_and_their_address_changes_with_them(client: httpx.AsyncClient) -> None:
    page = (await client.get("/feedback/who/nobody", headers=HTML)).text
    address = page.split('rel="stylesheet" href="')[1].split('"')[0]
    answer = await client.get(address)
    assert answer.content == (STATIC / "styles.css").read_bytes()
    assert answer.headers["cache-control"].startswith("public")


def test_dates_and_numbers_are_the_readers() -> None:
    moment = datetime(2026, 3, 1, 22, 30, tzinfo=UTC)
    swedish, tokyo = Formats("sv", "Europe/Stockholm"), Formats("en", "Asia/Tokyo")
    assert (swedish.date(moment), swedish.time(moment)) == ("1 mars 2026", "23:30")
    assert (tokyo.date(moment), tokyo.time(moment)) == ("2 March 2026", "07:30")
    assert swedish.date(date(2026, 3, 1)) == "1 mars 2026"
    assert swedish.weekday(date(2026, 3, 2)) == "måndag 2 mars"
    assert swedish.datetime(moment) == "1 mars 2026 23:30"
    assert (swedish.number(1234.5, 1), tokyo.number(1234.5, 1)) == ("1\xa0234,5", "1,234.5")
    assert (tokyo.number(12345), swedish.percent(0.37)) == ("12,345", "37\xa0%")
    assert swedish.relative(moment + timedelta(days=3), moment) == "om 3 dagar"
    assert tokyo.relative(moment - timedelta(hours=2), moment) == "2 hours ago"
    assert Formats("sv", "Mars/Olympus").time(moment) == "23:30"


def page_of(tmp_path: Path, source: str) -> str:
    templates = tmp_path / "templates"
    templates.mkdir()
    (templates / "test.html").write_text("{% import 'macros.html' as ui %}" + source)
    return Web([tmp_path]).html("test.html", "sv")


def test_figures_are_drawn_with_their_interval_and_hidden_ones_say_why(tmp_path: Path) -> None:
    html = page_of(tmp_path, "{{ ui.figure('Leda möten', 3.5, 3, 4, 7) }}{{ ui.hidden_figure('Dialog', 5) }}")
    assert 'aria-label="Leda möten: 3,5, osäkerhet 3,0 till 4,0, 7 svar"' in html
    assert '<rect class="interval" x="100.0" y="7" width="50.0"' in html
    assert "Färre än 5 svar" in html
    assert "style=" not in html  # our content security policy refuses inline styles


def test_a_refused_form_leads_from_its_summary_to_each_field(tmp_path: Path) -> None:
    html = page_of(
        tmp_path,
        """{% set errors = {"title": "Skriv en <rubrik>"} %}{{ ui.error_summary(errors) }}
        {{ ui.field("title", "Rubrik", hint="Kort", errors=errors) }}
        {{ ui.radios("scale", "Hur ofta?", [(1, "Sällan")], 1) }}""",
    )
    assert '<a href="#title">Skriv en &lt;rubrik&gt;</a>' in html
    assert 'id="title"' in html
    assert 'aria-describedby="title-hint title-error" aria-invalid="true"' in html
    assert 'value="1" checked' in html


def test_every_text_is_there_in_both_languages_with_the_same_placeholders() -> None:
    issuer = [STATIC.parents[2] / "deploy/issuer"]
    for rooms in [(), issuer, *(find_service(name).page_folders for name in SERVICES)]:
        assert "app.name" in Web(rooms).texts
    assert set(LANGUAGES) == {"sv", "en"}


@pytest.mark.parametrize("name", SERVICES)
def test_no_template_hides_another_of_its_service_or_a_shared_one(name: str) -> None:
    rooms = [*find_service(name).page_folders, STATIC.parent]
    templates = [path.name for room in rooms for path in (room / "templates").glob("*.html")]
    assert sorted(templates) == sorted(set(templates))


@pytest.mark.parametrize(("source", "complaint"), [
    ('[a]\nsv = "x"', "a needs sv and en"),
    ('[a]\nsv = "x"\nen = ""', "a needs sv and en"),
    ('[a.b]\nsv = "x"\nen = "x"\nde = "x"', "a.b needs sv and en"),
    ('[a]\nsv = "{n} svar"\nen = "answers"', "placeholders"),
    ('a = "x"', "a: a text is a table"),
])  # fmt: skip
def test_a_text_that_lacks_a_language_stops_the_start(tmp_path: Path, source: str, complaint: str) -> None:
    (tmp_path / "texts.toml").write_text(source)
    with pytest.raises(TextsError, match=complaint):
        Web([tmp_path])


def test_a_key_defined_twice_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "texts.toml").write_text('[nav.feedback]\nsv = "x"\nen = "x"')
    with pytest.raises(TextsError, match=r"nav\.feedback is already defined"):
        Web([tmp_path])


def test_a_text_may_have_a_form_for_one_and_one_for_many() -> None:
    texts = Texts(
        {
            "answers.one": {"sv": "{n} svar", "en": "{n} answer"},
            "answers.other": {"sv": "{n} svar", "en": "{n} answers"},
        }
    )
    assert [texts.get("answers", "en", n=n) for n in (1, 2)] == ["1 answer", "2 answers"]
    with pytest.raises(KeyError):
        texts.get("nothing", "en")
