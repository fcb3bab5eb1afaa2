"""Logs: one stream whoever writes, with the trace, without what is private."""

import json
import logging
import os
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog
from opentelemetry import trace

from shared.observability import logs, tracing

Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Iterator[Lines]:
    """Logging as JSON, and the lines written since the last look."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    logs.setup("json", "medled-feedback-api")
    yield lambda: [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


def test_a_line_says_when_where_and_how_bad(lines: Lines) -> None:
    structlog.get_logger("services.feedback").warning("round closed", round_id="r1", answers=3)
    (line,) = lines()
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "round closed", "round_id": "r1", "answers": 3, "level": "warning", "logger": "services.feedback",
        "service": "medled-feedback-api", "instance": f"{socket.gethostname()}:{os.getpid()}",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["uvicorn.error", "some.library"])
def test_the_standard_librarys_loggers_write_the_same_lines(lines: Lines, name: str) -> None:
    logging.getLogger(name).info("listening on %s", 8080)
    (line,) = lines()
    assert (line["event"], line["logger"], line["level"]) == ("listening on 8080", name, "info")


def test_a_line_within_a_trace_carries_its_ids(lines: Lines) -> None:
    context = tracing.context_from("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", None)
    with trace.use_span(trace.get_current_span(context)):
        structlog.get_logger().info("in it")
        logging.getLogger("x").warning("in it too")
    assert {(line["trace_id"], line["span_id"]) for line in lines()} == {
        ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")
    }


def test_a_row_that_postgres_quotes_is_hidden_with_all_its_lines(lines: Lines) -> None:
    quoted = "value too long\nDETAIL:  Failing row contains (Anna,\nhas said\n\nthis).\nHINT:  shorten it"
    logging.getLogger("x").warning("%s", quoted)
    (line,) = lines()
    assert line["event"] == "value too long\nDETAIL: [hidden]\nHINT:  shorten it"


@pytest.mark.parametrize(
    ("text", "private"),
    [
        ("could not reach anna.berg@example.org now", "anna.berg"),
        ("Authorization: Bearer abc.def-ghi", "abc.def"),
        ("used mlt_0123abcDEF", "0123abcDEF"),
        ("cookie eyJhbGciOi.eyJzdWIi.c2ln", "eyJzdWIi"),
        ("duplicate key\nDETAIL:  Key (login)=(anna) already exists.", "anna"),
    ],
)
def test_tokens_addresses_and_rows_quoted_by_postgres_are_hidden(lines: Lines, text: str, private: str) -> None:
    structlog.get_logger().info(text)
    structlog.get_logger().info("x", detail=text)
    logging.getLogger("x").warning("%s", text)
    try:
        raise ValueError(text)
    except ValueError:
        structlog.get_logger().exception("failed")
    written = json.dumps(lines())
    assert private not in written
    assert "ValueError" in written


@pytest.mark.parametrize("key", ["token", "access_token", "smtp_password", "email", "given_name", "Authorization"])
def test_values_under_a_private_name_are_hidden(lines: Lines, key: str) -> None:
    structlog.get_logger().info("x", **{key: "Anna"})
    assert lines()[0][key] == "[hidden]"


def test_paths_are_not_logged_by_the_web_server(lines: Lines) -> None:
    logging.getLogger("uvicorn.access").info('%s - "%s %s" %d', "10.0.0.1", "GET", "/answer/s3cret", 200)
    assert lines() == []


def test_setting_up_twice_writes_each_line_once(lines: Lines) -> None:
    logs.setup("json", "medled-feedback-api")
    logging.getLogger("x").warning("once")
    assert len(lines()) == 1


def test_the_console_format_is_for_people(lines: Lines, capsys: pytest.CaptureFixture[str]) -> None:
    logs.setup("console", "medled-feedback-api")
    structlog.get_logger().info("round closed", email="anna@example.org")
    written = capsys.readouterr().err
    assert "round closed" in written
    assert "anna" not in written


def test_a_library_that_repeats_itself_is_heard_once_and_our_own_lines_always() -> None:
    sparse = logs.Sparse(seconds=60)

    def passes(name: str, message: str) -> bool:
        return sparse.filter(logging.LogRecord(name, logging.ERROR, "", 0, message, (), None))

    assert [passes("aiokafka.conn", "Unable to connect to %s") for _ in range(3)] == [True, False, False]
    assert passes("aiokafka.conn", "Something else")
    assert all(passes("shared.messaging.relay", "broker unavailable") for _ in range(3))
