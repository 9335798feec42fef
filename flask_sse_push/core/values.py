"""What callers and strangers give: taken as what it is, and shown so that it does no harm."""

from __future__ import annotations

__all__ = ["number_of", "printable", "shown", "text_of"]


def text_of(value: object) -> str | None:
    """
    Return the characters of an instance of ``str``, or of a subclass, as a ``str`` itself; ``None`` for
    anything else.

    A subclass may override each method with one that lies, also differently each time, and any object may say
    by its ``__class__`` that it is a ``str``. What was checked is what is sent only if no method of theirs is
    asked.
    """
    kind = type(value)
    if kind is str:
        return value  # type: ignore[return-value]
    return str.__str__(value) if issubclass(kind, str) else None


def number_of(value: object) -> int | None:
    """
    Return the number of an instance of ``int``, or of a subclass, as an ``int`` itself; ``None`` for anything
    else.

    A ``bool`` is something else. See :func:`text_of`.
    """
    kind = type(value)
    if kind is int:
        return value  # type: ignore[return-value]
    if issubclass(kind, int) and kind is not bool:
        return int.__index__(value)  # type: ignore[arg-type]
    return None


def shown(value: object, most: int = 160) -> str:
    """
    Return a value for a message: its ``repr``, shortened, and printable whatever class it is of.

    Args:
        value (object): Anything at all. A text or a number is shown as what it is, not as its class would
            have it.
        most (int): Characters.
    """
    text, number = text_of(value), number_of(value)
    honest = text if text is not None else number if number is not None else value
    try:
        said = text_of(repr(honest))
    except Exception:  # noqa: BLE001  # the class is the caller's, and the message must come all the same
        said = None
    said = printable(said) if said is not None else "a value that cannot be shown"
    return said if len(said) <= most else said[: most - 3] + "..."


def printable(text: str) -> str:
    """
    Return a text of somebody else's so that a terminal only shows it.

    Controls (also those of C1), separators of lines and marks of direction are escaped as Python writes them.
    """
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)
