"""`medled trace`: everything that one request led to, in all processes, as a tree."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from deploy.output import DataOption, JsonOption, fail, say, show_json, table
from deploy.stack import data_directory

_BATCH = "messaging.batch.message_count"
_TRACE_ID = re.compile(r"[0-9a-f]{8,32}")


@dataclass(slots=True)
class Node:
    """A span and what happened under it. `batches`: spans of other traces that link to it, since they carried it or
    since it goes on there; `repeats`: how often the same record was delivered again.
    """

    span: dict[str, Any]
    children: list["Node"] = field(default_factory=list)
    batches: list[dict[str, Any]] = field(default_factory=list)
    repeats: int = 0

    def as_json(self) -> dict[str, Any]:
        """The span with its tree below."""
        return self.span | {
            "linked_from": self.batches,
            "delivered_again": self.repeats,
            "children": [child.as_json() for child in self.children],
        }


def trace(
    trace_id: Annotated[
        str, typer.Argument(help="As in logs, `events tail` and the portal; its first 8 digits or more will do.")
    ],
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print one trace of the embedded stack, running or ended: when each span began, how long it took, and where.

    Exit status: 0, 1 when nothing is known of that trace.
    """
    wanted = trace_id.strip().lower()
    if not _TRACE_ID.fullmatch(wanted):
        fail("A trace id is 32 hexadecimal digits, of which the first 8 or more are needed.", status=2)
    directory = data_directory(data) / "spans"
    wanted = _in_full(directory, wanted)
    roots = tree(read_spans(directory, wanted), wanted)
    if not roots:
        fail(f"Nothing is known of trace {wanted} in {directory}. Spans are written within a second of their end.")
    if as_json:
        show_json({"trace_id": wanted, "roots": [root.as_json() for root in roots]})
    else:
        _show(wanted, roots)


def _in_full(directory: Path, start: str) -> str:
    """The one trace id in these spans that begins so; as it is when there is none."""
    if len(start) == 32:
        return start
    needle = re.compile(rb'"trace_id": ?"(' + start.encode() + rb'[0-9a-f]*)"')
    found = {match for file in directory.glob("*.jsonl") for match in needle.findall(file.read_bytes())}
    if len(found) > 1:
        fail(f"{len(found)} traces begin with {start}. Give more of its digits.", status=2)
    return found.pop().decode() if found else start


def read_spans(directory: Path, trace_id: str) -> list[dict[str, Any]]:
    """The spans of this trace and those that link to it. A line that is still being written is left out."""
    needle = trace_id.encode()
    return [
        json.loads(line)
        for file in sorted(directory.glob("*.jsonl"))
        for line in file.read_bytes().splitlines(keepends=True)
        if needle in line and line.endswith(b"\n")
    ]


def tree(spans: Sequence[dict[str, Any]], trace_id: str) -> list[Node]:
    """The spans without a parent here, each with what is below it, in the order they began.

    A parent may be elsewhere: in a caller's own tracing, or in a process that died before it wrote the span.
    """
    nodes = {span["span_id"]: Node(span) for span in spans if span["trace_id"] == trace_id}
    below: dict[str | None, list[Node]] = defaultdict(list)
    for node in sorted(nodes.values(), key=lambda node: node.span["start"]):
        parent = node.span["parent_id"]
        below[parent if parent in nodes else None].append(node)
    for span_id, node in nodes.items():
        node.children = list(_without_repeats(below[span_id]))
    for span in spans:
        if span["trace_id"] != trace_id:
            for link in span["links"]:
                if link["trace_id"] == trace_id and link["span_id"] in nodes:
                    nodes[link["span_id"]].batches.append(
                        {"trace_id": span["trace_id"], "name": span["name"], "service": span["service"]}
                        | {"batch": _BATCH in span["attributes"]}
                    )
    return below[None]


def _without_repeats(nodes: Sequence[Node]) -> Iterator[Node]:
    """What a record led to, once for each consumer: delivered again (a broker filled anew), it is handled again."""
    first: dict[tuple[Any, ...], Node] = {}
    for node in nodes:
        message = node.span["attributes"].get("messaging.message.id")
        key = (message, node.span["service"], node.span["name"])
        if message is not None and (known := first.setdefault(key, node)) is not node and not node.children:
            known.repeats += 1
        else:
            yield node


def _show(trace_id: str, roots: Sequence[Node]) -> None:
    spans = [node.span for root in roots for node, _ in _walk(root)]
    begin, end = min(span["start"] for span in spans), max(span["end"] for span in spans)
    services = sorted({_place(span) for span in spans})
    say(f"trace {trace_id}: {len(spans)} spans in {_duration(end - begin)}, by {', '.join(services)}\n")
    rows = [row for root in roots for node, depth in _walk(root) for row in _rows(node, "  " * depth, begin)]
    table(("began", "took", "where", "what"), rows)


def _rows(node: Node, indent: str, begin: int) -> Iterator[tuple[str, str, str, str]]:
    span = node.span
    words = [f"{indent}{span['name']}"]
    if span["status"] == "error":
        words.append(f"FAILED {span['error'] or ''}")
    if node.repeats:
        words.append(f"(delivered again {node.repeats} times)" if node.repeats > 1 else "(delivered again)")
    words += [
        f"({'in a batch' if batch['batch'] else 'goes on apart'}: trace {batch['trace_id']})" for batch in node.batches
    ]
    times = f"+{_duration(span['start'] - begin)}", _duration(span["end"] - span["start"])
    yield *times, _place(span), "  ".join(words)
    for link in span["links"]:
        yield "", "", "", f"{indent}  linked to span {link['span_id']} of trace {link['trace_id']}"


def _place(span: dict[str, Any]) -> str:
    return str(span["service"]).removeprefix("medled-")


def _walk(node: Node, depth: int = 0) -> Iterator[tuple[Node, int]]:
    yield node, depth
    for child in node.children:
        yield from _walk(child, depth + 1)


def _duration(nanoseconds: int) -> str:
    milliseconds = nanoseconds / 1e6
    return f"{milliseconds:.1f} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.2f} s"
