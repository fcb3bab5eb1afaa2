"""From bytes to rows: what HR platforms and spreadsheets really send."""

import codecs

import pytest

from services.enrolment.imports.decoding import decode
from services.enrolment.imports.domain import Known
from services.enrolment.imports.mapping import MappingFile, parse_mapping
from services.enrolment.imports.records import open_sheet
from services.enrolment.imports.refusal import FileRefusedError
from services.enrolment.imports.suggesting import LoginColumn
from shared.events import PersonStatus
from tests.enrolment.imports import reading
from tests.enrolment.imports.reading import Checked

HEADER = "Employee ID,Legal First Name,Legal Last Name,Work Email,Supervisory Organization,Manager Employee ID"
ASA = "1,Åsa,Öberg,asa@example.org,Vård - Äldre,2"
BO = "2,Bo,Ek,bo@example.org,Vård,"
TEXT = f"{HEADER}\r\n{ASA}\r\n{BO}\r\n"


def read(
    content: bytes | str, known: dict[str, Known] | None = None, mapping: str = "", separator: str = " - "
) -> Checked:
    told = parse_mapping(mapping) if mapping else MappingFile()
    content = content.encode() if isinstance(content, str) else content
    return reading.read(content, known, mapping=told, separator=separator)


def people(*names: str) -> dict[str, Known]:
    return {who: Known(PersonStatus.active, f"{who}@example.org", None, who) for who in names}


def refusal(content: bytes | str, mapping: str = "") -> FileRefusedError:
    with pytest.raises(FileRefusedError) as refused:
        read(content, mapping=mapping)
    return refused.value


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(TEXT.encode(), id="UTF-8"),
        pytest.param(codecs.BOM_UTF8 + TEXT.encode(), id="UTF-8 with mark"),
        pytest.param(TEXT.encode("utf-16"), id="UTF-16 with mark"),
        pytest.param(codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"), id="UTF-16 big-endian with mark"),
        pytest.param(TEXT.encode("utf-16-le"), id="UTF-16 without mark"),
        pytest.param(TEXT.encode("utf-16-be"), id="UTF-16 big-endian without mark"),
        pytest.param(TEXT.encode("utf-32"), id="UTF-32 with mark"),
        pytest.param(TEXT.encode("latin-1"), id="Latin-1"),
        pytest.param(TEXT.encode("cp1252"), id="Windows-1252"),
        pytest.param(TEXT.replace("\r\n", "\n").encode(), id="LF"),
        pytest.param(TEXT.replace("\r\n", "\r").encode(), id="CR"),
        pytest.param(TEXT.strip().encode(), id="no line end at the end"),
        pytest.param(TEXT.replace(",", ";").encode(), id="semicolons"),
        pytest.param(TEXT.replace(",", "\t").encode("utf-16"), id="tabs in UTF-16, Excel's Unicode text"),
        pytest.param(TEXT.replace(",", "|").encode(), id="pipes"),
        pytest.param(b"sep=;\r\n" + TEXT.replace(",", ";").encode("cp1252"), id="Excel's sep= line"),
        pytest.param(b"\r\n\r\n" + TEXT.encode(), id="blank lines before the header"),
        pytest.param(TEXT.replace("\r\n", "\r\n\r\n,,,,,\r\n").encode(), id="blank rows between"),
        pytest.param(TEXT.replace("\r\n", ",,,\r\n").encode(), id="empty columns at the end"),
        pytest.param(TEXT.replace(HEADER, HEADER.upper().replace(" ", "_")).encode(), id="header in another spelling"),
        pytest.param(TEXT.replace("Åsa", ' "Åsa"'[1:]).replace("Öberg", "  Öberg ").encode(), id="quotes and spaces"),
        pytest.param(TEXT.replace("Öberg", "O\u0308berg").encode(), id="decomposed letters"),
        pytest.param(TEXT.replace("Vård - Äldre", '"Vård -\r\nÄldre"').encode(), id="a line break within quotes"),
    ],
)
def test_the_same_people_come_out_of_every_way_to_write_them(content: bytes) -> None:
    found = read(content)
    assert not found.issues
    asa, bo = found.rows["1"], found.rows["2"]
    assert (asa.given_name, asa.family_name, asa.email, asa.manager) == ("Åsa", "Öberg", "asa@example.org", "2")
    assert asa.unit == ("Vård", "Äldre")
    assert (bo.given_name, bo.unit, bo.manager) == ("Bo", ("Vård",), "")


def test_characters_that_only_windows_has_are_read_as_windows_means_them() -> None:
    assert read(TEXT.replace("Bo", "Žofie – “Zo”").encode("cp1252")).rows["2"].given_name == "Žofie – “Zo”"


def test_swedish_headers_and_words_are_understood() -> None:
    found = read(
        "Anställningsnummer;Förnamn;Efternamn;E-post;Befattning;Enhet;Chef;Anställningsstatus;Språk;Tidszon\n"
        "7;Åsa;Öberg;asa@example.org;Enhetschef;Vård;8;Tjänstledig;Svenska;europe/stockholm\n"
    )
    assert not found.issues
    asa = found.rows["7"]
    assert (asa.status, asa.locale, asa.time_zone) == (PersonStatus.on_leave, "sv", "Europe/Stockholm")
    assert (asa.title, asa.manager) == ("Enhetschef", "8")


@pytest.mark.parametrize(
    "mapping",
    [
        '[columns]\nemployee_id = "Nr"\nunit = ["Saknas", "Plats"]\n[statuses]\n"Vilar" = "on_leave"\n',
        "columns:\n  employee_id: Nr\n  unit: [Saknas, Plats]\nstatuses:\n  Vilar: on_leave\n",
    ],
    ids=["TOML", "YAML"],
)
def test_a_mapping_file_names_what_is_unusual(mapping: str) -> None:
    found = read("Nr,First Name,Last Name,Plats,Status\n1,Åsa,Öberg,A/B,vilar\n", mapping=mapping, separator="/")
    assert not found.issues
    assert (found.rows["1"].unit, found.rows["1"].status) == (("A", "B"), PersonStatus.on_leave)


def test_a_mapping_file_ends_the_guessing_of_encoding_and_delimiter() -> None:
    content = TEXT.replace(",", ":").encode("cp865")
    found = read(content, mapping='encoding = "cp865"\ndelimiter = ":"\n')
    assert found.rows["1"].given_name == "Åsa"


@pytest.mark.parametrize(
    "mapping",
    [
        '[columns]\nshoe_size = "Skor"\n',
        '[statuses]\n"Borta" = "gone"\n',
        "- a list\n",
        "columns: [\n",
        "delimiter = 7\n",
        "a: 2026-99-99\n",
        "a = " + "9" * 5000,
        "a: " + "9" * 5000,
        "a = " + "[" * 5000,
        "a: " + "[" * 5000,
        "a: &a {x: 1}\nb: *a\n",
        "a: &a {x: 1}\nb: {<<: [*a, *a]}\n",  # thirty such lines stand for a thousand million
    ],
)
def test_a_mapping_file_that_is_wrong_refuses_the_import_and_says_where(mapping: str) -> None:
    assert refusal(TEXT, mapping).code == "mapping"


@pytest.mark.parametrize("content", [b"\0" * 100, b"a\0b,c\n1,2\n", b"\x7fELF\x02\x01,x\n1,2\n", b"a,\x1b[2J\n1,2\n"])
def test_a_header_with_control_characters_is_no_csv_and_is_not_quoted(content: bytes) -> None:
    refused = refusal(content)
    assert refused.code == "not_text"
    assert refused.detail == "This is not a CSV file."
    assert "CSV" in refused.remedy
    assert str(vars(refused)).isprintable()


@pytest.mark.parametrize("content", [b"x" * 200_000, b"[" * 200_000 + b"\n1\n"])
def test_bytes_that_are_no_export_are_refused_in_words_that_can_be_stored(content: bytes) -> None:
    refused = refusal(content)
    assert refused.code in {"missing_columns", "empty"}
    assert "\0" not in str(vars(refused))


def test_an_encoding_that_the_file_is_not_in_is_said() -> None:
    assert refusal(TEXT.encode("latin-1"), 'encoding = "utf-8"').code == "encoding"
    assert refusal(TEXT, 'encoding = "klingon"').code == "encoding"
    assert refusal(TEXT, 'encoding = "undefined"').code == "encoding"
    assert refusal(TEXT, 'encoding = "a\\u0000b"').code == "encoding"


@pytest.mark.parametrize("content", [b"", b"\r\n \n", codecs.BOM_UTF8, HEADER.encode(), HEADER.encode() + b"\r\n\r\n"])
def test_an_empty_file_is_refused(content: bytes) -> None:
    assert refusal(content).code == "empty"


@pytest.mark.parametrize("start", [b"PK\x03\x04", b"\xd0\xcf\x11\xe0", b"\x1f\x8b\x08", b"%PDF-1.7"])
def test_what_is_no_text_is_named(start: bytes) -> None:
    found = refusal(start + bytes(range(256)) * 10)
    assert found.code == "not_text"
    assert "CSV" in found.remedy


@pytest.mark.parametrize("again", ["Work Email", "work_email", " WORK  EMAIL"])
def test_two_columns_for_one_thing_refuse_the_file_and_are_both_named(again: str) -> None:
    found = refusal(f"{HEADER},{again}\n{ASA},other@example.org\n")
    assert found.code == "duplicate_columns"
    assert f"Columns 4 (Work Email) and 7 ({again.strip()})" in found.detail
    assert "email" in found.detail
    assert "rename" in found.remedy


def test_two_columns_of_a_name_that_is_not_used_are_only_told() -> None:
    found = read(f"\n{HEADER},Note,Room,note,NOTE,,\n{ASA},a,b,c,d,,\n")
    assert found.rows.keys() == {"1"}
    [issue] = [issue for issue in found.issues if issue.code == "duplicate_columns"]
    assert (issue.severity, issue.line, issue.column) == ("warning", 2, "Note")
    assert "7 (Note), 9 (note) and 10 (NOTE)" in issue.detail


def test_a_mapping_file_can_choose_another_column_than_the_one_that_stands_twice() -> None:
    text = f"{HEADER},Work Email,Mail\n{ASA},x@example.org,y@example.org\n"
    found = read(text, mapping='columns.email = "Mail"')
    assert found.rows["1"].email == "y@example.org"
    assert [issue.severity for issue in found.issues if issue.code == "duplicate_columns"] == ["warning"]


def test_missing_columns_refuse_the_file_and_name_those_found() -> None:
    found = refusal("Employee ID,Name,Department\n1,Åsa Öberg,Vård\n")
    assert found.code == "missing_columns"
    for words in ("given_name", "family_name", "Legal First Name", "Employee ID, Name, Department"):
        assert words in found.detail
    assert "unit" not in found.detail.split("Columns found")[0]
    assert "mapping file" in found.remedy


def test_a_row_of_another_width_costs_that_row_and_keeps_its_person() -> None:
    found = read(f"{HEADER}\n1,Åsa,Öberg\n{BO}\n3,a,b,c,d,e,f,g\n", people("1", "2", "3"))
    assert found.rows.keys() == {"2"}
    assert found.kept == {"1", "3"}
    assert [(issue.severity, issue.line, issue.employee_id) for issue in found.issues] == [
        ("error", 2, "1"), ("error", 4, "3"),
    ]  # fmt: skip
    assert "3 values where the header has 6" in found.issues[0].detail


def test_an_unclosed_quote_costs_its_own_row_and_not_the_rest_of_the_file() -> None:
    rest = "".join(f"{n},Bo,Ek,{n}@example.org,Vård,\n" for n in range(100, 400))
    found = read(f'{HEADER}\n1,"Åsa,Öberg,a@example.org,Vård,2\n{rest}', people("1"))
    assert len(found.rows) == 300
    assert found.kept == {"1"}
    assert [(issue.code, issue.line) for issue in found.issues] == [("bad_row", 2)]


def test_a_quote_within_a_quoted_value_costs_its_own_row() -> None:
    found = read(f'{HEADER}\n1,"Åsa "Å" Ö",Öberg,a@example.org,Vård,2\n{BO}\n', people("1"))
    assert found.rows.keys() == {"2"}
    assert found.kept == {"1"}


def test_many_bad_quotes_do_not_make_reading_slow() -> None:
    bad = "".join(f'{n},"Bo,Ek,{n}@example.org,Vård,x"y\n' for n in range(5_000))
    assert read(f"{HEADER}\n{bad}").issues.total == 5_000


def test_damaged_utf8_costs_the_rows_it_stands_in_and_leaves_other_letters_alone() -> None:
    content = TEXT.encode().replace(b"Bo", b"B\xff") + "3,Örjan,Åhs,o@example.org,Vård,\n".encode()
    found = read(content, people("2"))
    assert found.rows["1"].given_name == "Åsa"
    assert found.kept == {"2"}
    assert [(issue.code, issue.line, issue.column) for issue in found.issues] == [("damaged", 3, "Legal First Name")]


@pytest.mark.parametrize(
    ("row", "column", "code"),
    [
        ("1,,Öberg,a@example.org,Vård,2", "Legal First Name", "no_name"),
        ("1,Åsa, ,a@example.org,Vård,2", "Legal Last Name", "no_name"),
        ("1,-,–,a@example.org,Vård,2", "Legal First Name", "no_name"),
        ("1,Åsa,Öberg,a@example.org, ,2", "Supervisory Organization", "no_unit"),
        ("1,Å\x00sa,Öberg,a@example.org,Vård,2", "Legal First Name", "unprintable"),
        ("1,Åsa,Öberg,a@example.org,V\u202eård,2", "Supervisory Organization", "unprintable"),
        (f"1,{'Å' * 201},Öberg,a@example.org,Vård,2", "Legal First Name", "too_long"),
        (f"1,Åsa,Öberg,a@example.org,{' - '.join(['x'] * 21)},2", "Supervisory Organization", "deep_unit"),
    ],
)
def test_a_value_that_a_person_cannot_do_without_costs_the_row(row: str, column: str, code: str) -> None:
    found = read(f"{HEADER}\n{row}\n{BO}\n", people("1", "2"))
    assert found.rows.keys() == {"2"}
    assert found.kept == {"1"}
    [issue] = found.issues
    assert (issue.severity, issue.line, issue.column, issue.code) == ("error", 2, column, code)
    assert issue.remedy


@pytest.mark.parametrize("email", ["asa", "asa@", "asa@example", "a b@example.org", "Åsa <a@example.org>", "a@b@c.se"])
def test_a_useless_address_is_a_warning_and_leaves_the_address_as_it_was(email: str) -> None:
    found = read(f"{HEADER}\n1,Åsa,Öberg,{email},Vård,2\n")
    assert found.rows["1"].email is None
    assert [(issue.severity, issue.code, issue.column) for issue in found.issues] == [
        ("warning", "bad_email", "Work Email")
    ]


def test_an_empty_address_means_that_there_is_none() -> None:
    assert read(f"{HEADER}\n1,Åsa,Öberg,,Vård,2\n").rows["1"].email == ""


def test_the_same_address_twice_is_nobodys_and_both_lines_are_told() -> None:
    found = read(f"{HEADER}\n1,Åsa,Öberg,Same@example.org,Vård,2\n2,Bo,Ek,same@EXAMPLE.org,Vård,\n")
    assert [found.rows[who].email for who in "12"] == [None, None]
    assert [(issue.code, issue.line) for issue in found.issues] == [("duplicate_email", 2), ("duplicate_email", 3)]
    assert "line 3" in found.issues[0].detail


def test_contradicting_rows_of_one_employee_id_cost_each_other() -> None:
    found = read(f"{HEADER}\n{ASA}\n{BO}\n1,Eva,Lind,eva@example.org,Vård,2\n", people("1"))
    assert found.rows.keys() == {"2"}
    assert found.kept == {"1"}
    assert [(issue.severity, issue.line) for issue in found.issues] == [("error", 2), ("error", 4)]


def test_the_same_row_twice_is_only_told() -> None:
    found = read(f"{HEADER}\n{ASA}\n{ASA}\n{BO}\n")
    assert found.rows.keys() == {"1", "2"}
    assert [(issue.severity, issue.code, issue.line) for issue in found.issues] == [
        ("warning", "duplicate_employee_id", 3)
    ]


def test_a_header_in_the_middle_of_joined_files_is_no_person() -> None:
    found = read(f"{HEADER}\n{ASA}\n{HEADER}\n{BO}\n")
    assert found.rows.keys() == {"1", "2"}
    assert [issue.code for issue in found.issues] == ["header_again"]
    assert found.unidentified == []


def test_a_row_without_employee_id_is_told_by_its_address_or_stays_unidentified() -> None:
    found = read(f"{HEADER}\n,Åsa,Öberg,1@example.org,Vård,2\n,Eva,Lind,eva@example.org,Vård,2\n{BO}\n", people("1"))
    assert found.kept == {"1"}
    assert found.unidentified == [3]
    assert [(issue.code, issue.line, issue.column) for issue in found.issues] == [
        ("no_employee_id", 2, "Employee ID"), ("no_employee_id", 3, "Employee ID"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("Active", "active"),
        ("", "active"),
        ("On Leave", "on_leave"),
        ("ON-LEAVE", "on_leave"),
        ("föräldraledig", "on_leave"),
    ],
)
def test_a_status_is_understood_in_both_languages(word: str, status: str) -> None:
    assert read(f"{HEADER},Worker Status\n{ASA},{word}\n").rows["1"].status == status


@pytest.mark.parametrize("word", ["Terminated", "inaktiv", "Retired", "Slutat"])
def test_who_is_said_to_have_left_is_no_row_but_has_left(word: str) -> None:
    found = read(f"{HEADER},Worker Status\n{ASA},{word}\n{BO},Active\n")
    assert found.left == {"1"}
    assert found.rows.keys() == {"2"}


def test_a_status_nobody_knows_costs_the_row_and_says_how_to_explain_it() -> None:
    found = read(f"{HEADER},Worker Status\n{ASA},Sabbatical\n{BO},Active\n", people("1"))
    assert found.kept == {"1"}
    assert found.issues[0].column == "Worker Status"
    assert '"Sabbatical" =' in found.issues[0].remedy


@pytest.mark.parametrize(
    ("text", "locale"),
    [("sv", "sv"), ("en-GB", "en-GB"), ("en_gb", "en-GB"), ("SV-se", "sv-SE"), ("English (United Kingdom)", "en-GB"),
     ("Swedish", "sv"), ("svenska", "sv")],
)  # fmt: skip
def test_a_language_is_read_as_tags_and_as_words(text: str, locale: str) -> None:
    assert read(f"{HEADER},Preferred Language\n{ASA},{text}\n").rows["1"].locale == locale


@pytest.mark.parametrize("column", ["Preferred Language", "Time Zone"])
def test_a_language_or_time_zone_nobody_knows_is_a_warning(column: str) -> None:
    found = read(f"{HEADER},{column}\n{ASA},Mars/Olympus?\n")
    assert found.rows.keys() == {"1"}
    assert [(issue.severity, issue.column) for issue in found.issues] == [("warning", column)]


def test_a_national_identity_number_is_never_taken_for_an_employee_id() -> None:
    assert "employee_id" in refusal("Personnummer,Förnamn,Efternamn,Enhet\n19800101-1234,Åsa,Öberg,Vård\n").detail


_PEOPLE = (("1", "Åsa", "Öberg"), ("2", "Bo", "Ek"), ("3", "Cilla", "Dahl"))


def suggested(**columns: tuple[str, str, str]) -> str | None:
    """What is suggested for a file of three people with these columns beside the needed ones."""
    rows = [",".join(each) for each in zip(*columns.values(), strict=True)]
    lines = [f"{','.join(who)},Vård,{more}" for who, more in zip(_PEOPLE, rows, strict=True)]
    header = f"Employee ID,First Name,Last Name,Unit,{','.join(columns)}"
    sheet = open_sheet(decode("\n".join([header, *lines, ""]).encode()).lines, MappingFile())
    column = LoginColumn(sheet.header)
    assert len(list(column.over(sheet.records()))) == 3
    return column.name()


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(("asaobe", "boek", "cildah"), id="made from the name"),
        pytest.param(("AO0001", "BE0002", "CD0003"), id="initials and a number"),
        pytest.param((r"CORP\asao", r"CORP\boek", r"CORP\cild"), id="with a domain"),
        pytest.param(("asa@corp.local", "bo@corp.local", "cilla@corp.local"), id="user principal names"),
    ],
)
def test_a_column_of_user_names_is_suggested_as_the_login(values: tuple[str, str, str]) -> None:
    mail = ("x1@example.org", "x2@example.org", "x3@example.org")
    assert suggested(Position=("P-01", "P-02", "P-03"), Konto=values, Email=mail) == "Konto"


def test_the_part_of_the_address_before_the_at_is_suggested_and_else_the_address() -> None:
    mail = ("x1@example.org", "x2@example.org", "x3@example.org")
    assert suggested(Email=mail, Konto=("x1", "x2", "x3"), Alias=("asa", "bo", "cilla")) == "Konto"
    assert suggested(Email=mail) == "Email"


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(("19800101-1234", "19790202-2345", "19780303-3456"), id="national identity numbers"),
        pytest.param(("P-001", "P-002", "P-003"), id="ids of something else"),
        pytest.param(("asaobe", "asaobe", "cildah"), id="two alike"),
        pytest.param(("asaobe", "", ""), id="mostly empty"),
        pytest.param(("Åsa Öberg", "Bo Ek", "Cilla Dahl"), id="names"),
    ],
)
def test_nothing_else_is_suggested_as_the_login(values: tuple[str, str, str]) -> None:
    assert suggested(Something=values) is None


def test_where_a_column_is_read_as_the_login_none_is_suggested() -> None:
    assert suggested(Login=("a1", "b2", "c3"), Konto=("asaobe", "boek", "cildah")) is None
