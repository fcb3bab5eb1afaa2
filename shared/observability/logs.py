"""Logs: structlog and the standard library's as one stream on stderr, every line with its trace id."""

import logging
import os
import re
import socket
import sys
import time
from typing import Literal

import structlog
from opentelemetry import trace
from structlog.types import EventDict, Processor, WrappedLogger

# Nothing here writes such values on purpose; libraries do, in their messages and in the errors they raise.
_PRIVATE_KEYS = re.compile(
    r"(?i)token|secret|password|authorization|cookie|email|^to$|address|given_name|family_name|ballot"
)
_PRIVATE_TEXT = (
    # Postgres quotes the offending row, whose texts may have lines of their own.
    (
        re.compile(r"(?ims)^(\s*DETAIL:).*?(?=^\s*(?:HINT|CONTEXT):|^The above exception|^During handling of|\Z)"),
        r"\1 [hidden]\n",
    ),
    (re.compile(r"[\w.+%-]+@[\w-]+(\.[\w-]+)+"), "[address]"),
    (re.compile(r"\bmlt_[\w-]+"), "[token]"),
    (re.compile(r"(?i)\bbearer\s+[\w.~+/=-]+"), "Bearer [token]"),
    (re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]*"), "[token]"),
)
_HIDDEN = "[hidden]"


def instance() -> str:
    """Which process this is: the machine or container it runs on, and its process id there."""
    return f"{socket.gethostname()}:{os.getpid()}"


def setup(log_format: Literal["json", "console"], service: str) -> None:
    """Route every logger of this process through one formatter. Safe to call again."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _in_trace,
        structlog.processors.format_exc_info,
        structlog.processors.UnicodeDecoder(),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared[:3],
            structlog.stdlib.PositionalArgumentsFormatter(),
            *shared[3:],
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = _ToStderr()
    handler.setFormatter(_formatter(log_format, service, shared))
    handler.addFilter(Sparse())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.INFO)
    _tame_libraries()


class Sparse(logging.Filter):
    """Lets each message of aiokafka's through once in a while: with Kafka away it repeats itself many times a second.

    Our own loops tell of the outage in their words; nothing but repetition is lost.
    """

    def __init__(self, seconds: float = 10.0) -> None:
        super().__init__()
        self._seconds = seconds
        self._told: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is written."""
        if not record.name.startswith("aiokafka"):
            return True
        message, moment = (record.name, str(record.msg)), time.monotonic()
        if moment - self._told.get(message, -self._seconds) < self._seconds:
            return False
        self._told[message] = moment
        return True


class _ToStderr(logging.Handler):
    """Writes to whatever stderr is now: it may be replaced after the setup, as under pytest."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            print(self.format(record), file=sys.stderr, flush=True)  # noqa: T201 - this is where lines come out
        except Exception:  # noqa: BLE001 - a line that cannot be written must not stop the work it tells of
            self.handleError(record)


def _formatter(log_format: str, service: str, shared: list[Processor]) -> logging.Formatter:
    here = instance()

    def named(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        return {**event, "service": service, "instance": here}

    line: list[Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta, named, without_private]
    if log_format == "json":
        line.append(structlog.processors.JSONRenderer(ensure_ascii=False, default=str))
    else:
        line.append(structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()))
    return structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=line)


def _tame_libraries() -> None:
    for name in ("uvicorn", "uvicorn.error", "uvicorn.asgi"):
        logger = logging.getLogger(name)
        logger.handlers = []
        logger.propagate = True
        logger.setLevel(logging.NOTSET)  # the root's, whatever a server was told before
    access = logging.getLogger("uvicorn.access")  # writes raw paths, and a path can hold a link's token
    access.handlers = []
    access.propagate = False
    access.disabled = True
    for name in ("httpx", "httpcore", "asyncio", "aiokafka", "faststream", "mail.log"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _in_trace(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    span = trace.get_current_span().get_span_context()
    if span.is_valid:
        event["trace_id"] = f"{span.trace_id:032x}"
        event["span_id"] = f"{span.span_id:016x}"
    return event


def without_private(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Hide tokens, addresses and rows that Postgres quotes, whoever wrote the line."""
    for key, value in event.items():
        if _PRIVATE_KEYS.search(key):
            event[key] = _HIDDEN
        elif isinstance(value, str):
            event[key] = _clean(value)
    return event


def _clean(text: str) -> str:
    for pattern, instead in _PRIVATE_TEXT:
        text = pattern.sub(instead, text)
    return text
