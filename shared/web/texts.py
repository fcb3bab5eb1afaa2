"""Texts of pages and mails: `texts.toml` files, each text in every language, checked when a process starts."""

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from string import Formatter
from typing import Any

LANGUAGES = ("sv", "en")


class TextsError(Exception):
    """A texts file lacks a language, uses different placeholders per language, or repeats a key."""


class Texts:
    """All texts of a process, by key and language."""

    def __init__(self, by_key: Mapping[str, Mapping[str, str]]) -> None:
        self._by_key = by_key

    @classmethod
    def load(cls, paths: Iterable[Path]) -> "Texts":
        """Merge files. Raises TextsError, naming the file and the key."""
        by_key: dict[str, dict[str, str]] = {}
        for path in paths:
            for key, text in _leaves(tomllib.loads(path.read_text(encoding="utf-8"))):
                if key in by_key:
                    raise TextsError(f"{path}: {key} is already defined")
                _check(path, key, text)
                by_key[key] = text
        return cls(by_key)

    def __contains__(self, key: str) -> bool:
        return key in self._by_key

    def get(self, key: str, language: str, /, **values: object) -> str:
        """The text, its `{placeholders}` filled. With `n` it may be two texts: `<key>.one` and `<key>.other`.

        Raises KeyError for a key or a value that is missing.
        """
        if key not in self._by_key and "n" in values:
            key = f"{key}.{'one' if values['n'] == 1 else 'other'}"
        text = self._by_key[key][language if language in LANGUAGES else LANGUAGES[0]]
        return text.format(**values) if values else text


def _leaves(table: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, dict[str, str]]]:
    for name, value in table.items():
        key = f"{prefix}{name}"
        if not isinstance(value, dict):
            raise TextsError(f"{key}: a text is a table with {' and '.join(LANGUAGES)}")
        if any(isinstance(text, str) for text in value.values()):
            yield key, value
        else:
            yield from _leaves(value, f"{key}.")


def _check(path: Path, key: str, text: dict[str, str]) -> None:
    if set(text) != set(LANGUAGES) or not all(text.values()):
        raise TextsError(f"{path}: {key} needs {' and '.join(LANGUAGES)}, has {', '.join(sorted(text)) or 'nothing'}")
    if len({frozenset(_placeholders(words)) for words in text.values()}) > 1:
        raise TextsError(f"{path}: {key} has other placeholders in one language than in the other")


def _placeholders(words: str) -> list[str]:
    return [name for _, name, _, _ in Formatter().parse(words) if name is not None]
