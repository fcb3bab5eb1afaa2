"""What is read at once, lines and columns, says what each line and each record says by itself."""

from hypothesis import given, settings
from hypothesis import strategies as st

from services.enrolment.imports.columns import read_header
from services.enrolment.imports.mapping import MappingFile
from services.enrolment.imports.records import Record, open_sheet
from services.enrolment.imports.rows import RowReader

NAMES = (
    "Employee ID", "First Name", "Last Name", "Organisation", "Email", "Title", "Grade", "Manager ID", "Status",
    "Language", "Time Zone", "Login",
)  # fmt: skip
GOOD = ("7", "Åsa", "Öberg", "Care - Home", "asa@example.org", "Nurse", "G1", "8", "Active", "sv", "Europe/Paris", "as")
ODD = ["", " ", "-", "a  b", " a", "a ", "a|b", "a |b", "\t", "x" * 400, "\ufffd", "\u200b", "O\u0308", "a\0b", "a@b"]

LINES = ["1,a,b,c", '"1","a","b","c"', '1,"a', 'b",c,d', ",,,", "", "1,a", "1,a,b,c,,", '1,"a""",b,c', '1,a"b,c,d']


def cells() -> st.SearchStrategy[list[str]]:
    """Mostly sound records; and now and then the header again."""
    return st.tuples(*(st.just(cell) | st.just(cell) | st.sampled_from(ODD) for cell in GOOD)).map(list)


@settings(deadline=None, max_examples=100)
@given(st.lists(cells() | st.just(list(GOOD)) | st.just(list(NAMES)), max_size=12))
def test_records_that_are_read_together_say_what_each_says_by_itself(fields: list[list[str]]) -> None:
    records = [Record(line, each) for line, each in enumerate(fields, 2)]
    together, alone = (RowReader(read_header(NAMES, {}, 1), " - ", ()) for _ in range(2))
    assert together.read(records) == [alone.read_alone(record) for record in records]
    assert list(together.issues) == list(alone.issues)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.sampled_from(LINES), max_size=12))
def test_lines_that_are_read_together_are_the_records_that_each_is_by_itself(lines: list[str]) -> None:
    endless = "x" * 600_000  # too much to be read with others

    def read(*more: str) -> list[Record]:
        text = [f"{line}\r\n" for line in ("Employee ID,First Name,Last Name,Organisation", "9,a,b,c", *lines, *more)]
        return list(open_sheet(text, MappingFile()).records())

    assert read() == read(endless)[:-1]
