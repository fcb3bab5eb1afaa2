"""How commands speak to people."""

import pytest

from deploy.output import many, table


def test_a_table_stands_in_columns_without_blanks_behind_its_lines(capsys: pytest.CaptureFixture[str]) -> None:
    table(
        ("who", "times", "why"),
        [("Åsa", 7, "short"), ("界", "", f"long enough to be cut or folded {'x' * 200}"), ("[b]Bo[/b]", 1200, "")],
    )
    assert capsys.readouterr().out.splitlines() == [
        "who        times  why",
        "Åsa            7  short",
        f"界                long enough to be cut or folded {'x' * 200}",
        "[b]Bo[/b]   1200",
    ]


def test_an_empty_table_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    table(("who", "why"), [])
    assert capsys.readouterr().out == ""


def test_one_is_no_plural() -> None:
    assert [many(count, "record") for count in (0, 1, 2)] == ["0 records", "1 record", "2 records"]
