"""May these schemas follow those, for consumers that have the old ones and for records that were written by them?"""

import copy
import json
from collections.abc import Mapping
from typing import Any

from jsoncompat import check_compat

Schema = dict[str, Any]


def problems(old: Mapping[str, Schema], new: Mapping[str, Schema]) -> list[str]:
    """Every event of `old` that is gone or incompatible in `new`, with the direction that breaks."""
    found = [f"{name}: is gone" for name in old if name not in new]
    for name in sorted(old.keys() & new.keys()):
        before, after = _bare(old[name]), _bare(new[name])
        if not check_compat(_text(_closed(before)), _text(after), "deserializer"):
            found.append(f"{name}: what was written before can no longer be read")
        if not check_compat(_text(before), _text(_closed(after)), "serializer"):
            found.append(f"{name}: consumers of the last release cannot read what is written now")
        found += _lost_fields(name, before, after)
    return found


def _lost_fields(name: str, old: Schema, new: Schema) -> list[str]:
    """Fields that outsiders may use. Optional ones too, which a validator would let go."""
    return [f"{name}: the field {path} is gone" for path in sorted(_fields(old) - _fields(new))]


def _fields(schema: Schema) -> set[str]:
    models = {"": schema} | {f"{name}.": model for name, model in schema.get("$defs", {}).items()}
    return {f"{prefix}{field}" for prefix, model in models.items() for field in model.get("properties", {})}


def _closed(schema: Schema) -> Schema:
    """As its writer sees it: no other fields. Only the writer's side is closed, since readers ignore what is new."""
    closed = copy.deepcopy(schema)
    for model in (closed, *closed.get("$defs", {}).values()):
        if "properties" in model:
            model["additionalProperties"] = False
    return closed


def _bare(schema: Schema) -> Schema:
    return {key: value for key, value in schema.items() if key != "$id"}


def _text(schema: Schema) -> str:
    return json.dumps(schema)
