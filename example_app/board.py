"""The board: one short text that everybody sees and anybody may change."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypedDict

from .store import Store

__all__ = ["MAX_TEXT_LENGTH", "Board", "Note", "check_note"]

MAX_TEXT_LENGTH = 280
"""Characters."""

_TAG = re.compile(r"[A-Za-z0-9-]{1,32}")


class Note(TypedDict):
    """What stands on the board."""

    text: str
    """At most ``MAX_TEXT_LENGTH`` characters; empty for a clean board."""
    tag: str
    """Chosen by the writer, who knows the own note by it when it comes back; empty before the first one."""


def check_note(value: Any) -> Note:
    """
    Return a note that came from outside, if it is one.

    Args:
        value (Any): Decoded JSON.

    Raises:
        ValueError: It is something else; the message is for the reader of the page.
    """
    if not isinstance(value, dict) or set(value) != {"text", "tag"}:
        raise ValueError('Send a JSON object with "text" and "tag".')
    text, tag = value["text"], value["tag"]
    if not isinstance(text, str) or len(text) > MAX_TEXT_LENGTH:
        raise ValueError(f'"text" must be a text of at most {MAX_TEXT_LENGTH} characters.')
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError('"text" holds half of a character. Send whole ones.')
    if not isinstance(tag, str) or not _TAG.fullmatch(tag):
        raise ValueError('"tag" must be 1 to 32 letters, digits or hyphens.')
    return {"text": text, "tag": tag}


class Board:
    """
    Holds the note for pages that open later. Thread-safe.

    Args:
        store (Store): Keeps the note.
        publish (Callable[[Note], object]): Called with each note, in the order in which they replace each
            other.
    """

    def __init__(self, store: Store, publish: Callable[[Note], object]) -> None:
        self._store = store
        self._publish = publish

    @property
    def note(self) -> Note:
        """What stands there now."""
        with self._store.read() as database:
            row = database.execute("SELECT text, tag FROM notes").fetchone()
        text, tag = row or ("", "")
        return {"text": text, "tag": tag}

    def write(self, note: Note) -> None:
        """Replace the note, and tell everybody."""
        # Published inside: two writers at once must not end with a board that differs from the last event.
        with self._store.transaction() as database:
            self._publish(note)
            database.execute("INSERT OR REPLACE INTO notes VALUES (1, :text, :tag)", note)
