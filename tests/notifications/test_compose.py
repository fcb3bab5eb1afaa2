"""What a recipient reads, and what nobody can smuggle into a mail."""

import email
import email.policy
from email.message import EmailMessage
from typing import Any
from uuid import UUID

import pytest

from services.notifications.addresses import AddressError, envelope_address
from services.notifications.channels.mail.compose import one_line, texts
from services.notifications.channels.store.queue import Mail
from services.notifications.kinds.every import KINDS, WORTH_TELLING
from services.notifications.kinds.kind import Kind
from shared.security.invitation_tokens import token_for
from tests.notifications.factories import COMPOSER, LINK_SECRET, NOW, mail

EVERY_TEXT: list[tuple[str, dict[str, Any]]] = [
    *[("invitation", {"group": group}) for group in ("self", "manager", "peer", "led", "customer")],
    *[("enrolment_active", {"promoted": promoted}) for promoted in (True, False)],
    *[("enrolment_ended", {"how": how}) for how in ("expired", "withdrawn")],
    *[("round_withheld", {"reason": reason}) for reason in WORTH_TELLING],
    *[("sign_in_changed", {"change": change}) for change in ("replaced", "ended")],
    *[
        ("teams_changed", {"import_id": "i", "teams": teams, "unit_ids": [], "may_read": may_read})
        for teams in ("1-4", "5-9", "10+")
        for may_read in (True, False)
    ],
    *[(kind.name, {}) for kind in KINDS.values() if len(kind.texts) == 1],
]


def read(claimed: Mail) -> EmailMessage:
    parsed = email.message_from_bytes(COMPOSER.compose(claimed, now=NOW).message, policy=email.policy.SMTP)
    assert isinstance(parsed, EmailMessage)
    assert not parsed.defects
    return parsed


def body(claimed: Mail, subtype: str) -> str:
    part = read(claimed).get_body((subtype,))
    assert part is not None
    return str(part.get_content())


@pytest.mark.parametrize("locale", ["sv", "en"])
@pytest.mark.parametrize(("kind", "params"), EVERY_TEXT)
def test_every_kind_of_mail_is_written_in_both_languages_with_no_place_left_open(
    kind: str, params: dict[str, Any], locale: str
) -> None:
    base = mail(kind)
    claimed = mail(kind, locale=locale, params={**base.params, **params})
    for text in (body(claimed, "plain"), body(claimed, "html"), read(claimed)["Subject"]):
        assert "{" not in text.partition("<style>")[0] + text.partition("</style>")[2]
        assert "None" not in text
    assert ("Hej Åsa" if locale == "sv" else "Hello Åsa") in body(claimed, "plain")
    assert read(claimed)["Content-Language"] == locale


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_every_text_of_every_kind_is_there_and_says_different_things_in_swedish_and_english(kind: Kind) -> None:
    for text in kind.texts:
        for part in ("subject", "body", "action"):
            sv, en = (texts().get(f"{kind.name}.{text}.{part}", locale) for locale in ("sv", "en"))
            assert sv
            assert en
            assert sv != en


def test_every_text_there_is_has_been_written_out() -> None:
    assert {(kind, KINDS[kind].text({**mail(kind).params, **params})) for kind, params in EVERY_TEXT} == {
        (kind.name, text) for kind in KINDS.values() for text in kind.texts
    }


def test_an_invitation_says_who_asks_until_when_and_carries_the_single_use_link() -> None:
    claimed = mail()
    token = token_for(LINK_SECRET, UUID(claimed.params["invitation_id"]))
    url = f"https://medled.example.org/feedback/r/{token}?lang=sv"
    assert read(claimed)["Subject"] == "Kim Larsson vill gärna ha din återkoppling"
    for subtype in ("plain", "html"):
        text = body(claimed, subtype)
        assert url in text
        assert "16 mars 2026" in text


def test_a_manager_is_told_that_the_answers_are_attributable() -> None:
    claimed = mail(locale="en", params={**mail().params, "group": "manager"})
    assert "will see that the answers are yours" in body(claimed, "plain")
    assert "nobody can see what you answered" in body(mail(locale="en"), "plain")


def test_headers_tell_machines_that_this_is_automatic_and_which_message_it_is() -> None:
    claimed = mail()
    message = read(claimed)
    assert message["Message-ID"] == claimed.message_id
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["From"] == "Medled <no-reply@example.org>"
    assert message["Date"].datetime == NOW
    assert message["To"].addresses[0].display_name == "Åsa"


def test_names_are_escaped_in_html() -> None:
    claimed = mail(person="<script>alert(1)</script> & Co", recipient_name='"><img src=x>')
    html = body(claimed, "html")
    assert "<script>" not in html
    assert "<img" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; Co" in html


def test_braces_in_a_name_are_only_braces() -> None:
    claimed = mail(person="{recipient.__class__} {until}")
    assert "{recipient.__class__} {until}" in body(claimed, "plain")


@pytest.mark.parametrize(
    "name",
    ["Kim\r\nBcc: v@example.org", "Kim\nBcc: v@example.org", "Kim\u2028Bcc: v@example.org", "Kim\x00\x0b"],
)
def test_a_name_with_line_breaks_adds_no_header(name: str) -> None:
    claimed = mail(person=name, recipient_name=name)
    envelope = COMPOSER.compose(claimed, now=NOW)
    head = envelope.message.partition(b"\r\n\r\n")[0]
    assert b"\r\nBcc" not in head
    assert read(claimed)["Bcc"] is None
    assert envelope.recipient == "asa.oberg@example.org"


def test_a_very_long_name_is_folded_within_what_smtp_takes() -> None:
    envelope = COMPOSER.compose(mail(person="Åsa-Märta " * 40, recipient_name="Ö" * 200), now=NOW)
    assert max(len(line) for line in envelope.message.split(b"\r\n")) <= 100
    assert read(mail(recipient_name="Ö" * 200))["To"].addresses[0].display_name.replace(" ", "") == "Ö" * 200
    assert read(mail(person="=?utf-8?b?SGFoYQ==?= Larsson"))["Subject"].startswith("=?utf-8?b?SGFoYQ==?= Larsson")
    assert b"\n" not in envelope.message.replace(b"\r\n", b"")


@pytest.mark.parametrize(
    "address",
    ["", "nobody", "@example.org", "a@", "a b@example.org", "a@b>\r\nRCPT TO:<c@d", "å@example.org", "a@b@example.org",
     "a,b@example.org", "<a@example.org>", "a@exa mple.org", "a@" + "x" * 300 + ".org"],
)  # fmt: skip
def test_an_address_that_would_change_the_envelope_is_refused_without_being_repeated(address: str) -> None:
    with pytest.raises(AddressError) as refused:
        envelope_address(address)
    assert not address or address not in str(refused.value)


def test_a_domain_with_swedish_letters_goes_out_in_ascii() -> None:
    assert envelope_address("asa@räksmörgås.se") == "asa@xn--rksmrgs-5wao1o.se"


def test_one_line_keeps_what_people_are_called() -> None:
    assert one_line("  Åsa   \t Öberg\u200b ") == "Åsa Öberg"


def test_an_unknown_time_zone_does_not_stop_a_mail() -> None:
    assert "mars 2026" in body(mail(time_zone="Mars/Olympus"), "plain")
